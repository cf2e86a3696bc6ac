"""The command line: `strataflow`. Each module holds the commands of one subject; this one puts them together.

Nothing heavy is imported here or at the top of a command's module: `--help` and completion answer at once, and a
command pays for the database, the engine or the validator only when it uses them.
"""

from __future__ import annotations

from typing import NoReturn

import typer

from . import database, definitions, inspect, run, worker
from .errors import CommandGroup

__all__ = ["app", "main"]

app = typer.Typer(
    name="strataflow",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Durable workflows on SQL: a definition in JSON runs to its end, whatever crashes on the way.",
)
for module in (run, inspect, worker, definitions, database):
    module.add_to(app)


def main() -> NoReturn:
    """Entry of the console script and of `python -m strataflow`."""
    app()
    raise SystemExit(0)
