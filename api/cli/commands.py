"""How a function becomes a command: its docstring is the help, an example stands below it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer

__all__ = ["Adder"]


class Adder:
    """Adds commands to one group, under one heading of its help."""

    def __init__(self, app: typer.Typer, panel: str | None = None) -> None:
        self.app = app
        self.panel = panel

    def __call__(self, function: Callable[..., Any], example: str, *, name: str | None = None) -> None:
        """Add a command; `example` follows `strataflow`."""
        self.app.command(
            name,
            help=_paragraphs(function.__doc__ or ""),
            epilog=f"Example: strataflow {example}",
            rich_help_panel=self.panel,
        )(function)

    def group(self, name: str, text: str) -> Adder:
        """Add a group of commands."""
        inner = typer.Typer(no_args_is_help=True, help=text)
        self.app.add_typer(inner, name=name, rich_help_panel=self.panel)
        return Adder(inner)


def _paragraphs(text: str) -> str:
    """A docstring whose lines are broken for the editor, broken for the terminal instead."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))
