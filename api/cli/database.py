"""`db upgrade`, `db check`, `doctor`, `executors`: the surroundings of workflows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .errors import FAILED, OK
from .options import DB_DEFAULT, Db, Imports, Json, make_options
from .output import brief, emit_json, note, print_table, say

if TYPE_CHECKING:
    from ...services.checks import Check

__all__ = ["add_to"]

_MARKS: Final = {"ok": "✔", "warn": "!", "fail": "✘"}
_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command(epilog="Example: strataflow executors http --import tasks.py")(executors)
    app.command(epilog="Example: strataflow doctor --db postgresql://me@db/flows")(doctor)
    db = typer.Typer(no_args_is_help=True, help="The database's schema.")
    db.command(epilog="Example: strataflow db upgrade --db postgresql://me@db/flows")(upgrade)
    db.command(epilog="Example: strataflow db check")(check)
    app.add_typer(db, name="db")


def upgrade(*, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Bring a database to the schema of this release; makes the SQLite file, or the tables in Postgres."""
    from ...services.schema_service import upgrade_schema

    options = make_options(db)
    state = upgrade_schema(options.url)
    if json:
        emit_json(state)
    else:
        say(f"The database has schema {state['current']}.")


def check(*, db: Db = DB_DEFAULT, json: Json = False) -> int:
    """Say whether a database has the schema of this release. Exit code 1 if it has not."""
    from ...services.schema_service import schema_state

    state = schema_state(make_options(db).url)
    if json:
        emit_json(state)
    else:
        words = {
            "current": f"The database has schema {state['current']}, which is up to date.",
            "missing": f"The database has no schema; `strataflow db upgrade` makes {state['head']}.",
            "older": f"The database has schema {state['current']}; `strataflow db upgrade` makes it {state['head']}.",
            "newer": f"The database has schema {state['current']}, newer than {state['head']}: upgrade strataflow.",
        }
        say(words[state["state"]])
    return OK if state["state"] == "current" else FAILED


def doctor(*, imports: Imports = None, db: Db = DB_DEFAULT, json: Json = False) -> int:
    """Check database, engines, waiting work and executors, and say what to do. Exit code 1 if something fails."""
    from ...services.checks import worst
    from ...services.container import make_registry
    from ...services.doctor import diagnose

    options = make_options(db, imports)
    checks = list(diagnose(options.url, make_registry(options)))
    if json:
        emit_json({"status": worst(checks), "checks": [each.as_json() for each in checks]})
    else:
        _print_checks(checks)
    return FAILED if worst(checks) == "fail" else OK


def _print_checks(checks: list[Check]) -> None:
    from rich.text import Text

    from .output import console

    out = console()
    for each in checks:
        mark = Text(_MARKS[each.level], style=_STYLES[each.level])
        out.print(Text.assemble(mark, f" {each.name:12} ", each.message), soft_wrap=True)
        if each.hint and each.level != "ok":
            out.print(Text(f"  {'':12} {each.hint}", style="dim"), soft_wrap=True)


def executors(
    domain: Annotated[str | None, typer.Argument(metavar="DOMAIN", help="Only of this domain.")] = None,
    *,
    imports: Imports = None,
    json: Json = False,
) -> None:
    """List the executors that definitions can call here, and plugins that could not be loaded.

    With --json each has the JSON Schema of its configuration, the node's `with`.
    """
    from ...services.container import make_registry

    registry = make_registry(make_options(DB_DEFAULT, imports))
    found = registry.list_executors(domain)
    if json:
        problems = [{"name": p.name, "source": p.source, "message": p.message} for p in registry.problems]
        emit_json({"executors": [_executor_json(entry) for entry in found], "problems": problems})
        return
    print_table(["NAME", "WITH", "DESCRIPTION"], ([e.name, _fields(e), brief(e.description)] for e in found))
    for problem in registry.problems:
        note(f"warning: {problem.name} ({problem.source}): {problem.message}")


def _executor_json(entry: Any) -> dict[str, Any]:
    return {
        "name": entry.name,
        "domain": entry.domain,
        "description": entry.description,
        "async": entry.is_async,
        "schema": entry.config_schema,
    }


def _fields(entry: Any) -> str:
    """Names of the configuration's members; those that must be there have a star."""
    schema = entry.config_schema
    required = set(schema.get("required", ()))
    return ", ".join(f"{name}*" if name in required else name for name in schema.get("properties", {}))
