"""The command line: `strataflow`. Each module holds the commands of one subject; this one puts them together.

Nothing heavy is imported here or at the top of a command's module: `--help` and completion answer at once, and a
command pays for the database, the engine or the validator only when it uses them.
"""

from __future__ import annotations

from typing import Annotated, Final, NoReturn

import typer

from . import (
    alerts,
    configuring,
    database,
    definitions,
    events,
    explaining,
    formatting,
    inspect,
    lifecycle,
    limits,
    logs,
    queues,
    run,
    schedules,
    secrets,
    serving,
    stats,
    triggers,
    upkeep,
    webhooks,
    worker,
)
from .commands import Adder
from .errors import CommandGroup
from .output import say
from .settings import load, use

__all__ = ["app", "main"]

#: Modules under the heading that `--help` gives their commands.
_PANELS: Final = {
    "Run": (run, worker, serving),
    "Change": (lifecycle,),
    "Start by itself": (schedules, triggers),
    "Look": (inspect, explaining, logs, events),
    "Define": (definitions, formatting),
    "Operate": (queues, limits, alerts, secrets, webhooks, stats, upkeep, database, configuring),
}

app = typer.Typer(
    name="strataflow",
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: strataflow run flow.json --set day=2026-11-20",
)
for panel, modules in _PANELS.items():
    for module in modules:
        module.add_to(Adder(app, panel))


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if wanted:
        from importlib.metadata import version

        say(f"strataflow {version('strataflow')}")
        raise typer.Exit


@app.callback()
def strataflow(
    context: typer.Context,
    *,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            envvar="STRATAFLOW_CONFIG",
            metavar="FILE",
            help="Settings; without it strataflow.toml of the current folder, if it is there.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere, as STRATAFLOW_DEBUG=1 does.")
    ] = False,
) -> None:
    """Durable workflows on SQL: a definition in JSON runs to its end, whatever crashes on the way."""
    del version, debug  # seen to before this is called
    found = load(config)
    use(context, found, quietly=context.invoked_subcommand == "config")  # which tells what is wrong by itself


def main() -> NoReturn:
    """Run the command line of this process; the entry of the console script and of `python -m strataflow`."""
    app()
    raise SystemExit(0)
