"""`register`, `definitions`, `validate`, `schema`, `graph`: the commands around definitions."""

from __future__ import annotations

import typer

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
