"""How a function becomes a command: its docstring is the help, an example stands below it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer

from .target import LOCAL, with_server, without_server

__all__ = ["Adder"]


class Adder:
    """Adds commands to one group, under one heading of its help."""

    def __init__(self, app: typer.Typer, panel: str | None = None, prefix: str = "") -> None:
        self.app = app
        self.panel = panel
        #: What stands before the names of its commands.
        self.prefix = prefix

    def __call__(self, function: Callable[..., Any], example: str, *, name: str | None = None) -> None:
        """Add a command; `example` follows `strataflow`. It takes `--server` unless `LOCAL` says why it does not."""
        why = LOCAL.get(f"{self.prefix}{name or function.__name__.replace('_', '-')}")
        function = with_server(function) if why is None else without_server(function, why)
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
        return Adder(inner, prefix=f"{name} ")


def _paragraphs(text: str) -> str:
    """A docstring whose lines are broken for the editor, broken for the terminal instead."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))
