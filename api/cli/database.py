"""`db upgrade`, `db check`, `doctor`, `executors`: the surroundings of workflows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .commands import Adder
from .errors import FAILED, OK
from .options import DB_DEFAULT, Db, Imports, Json, make_options
from .output import brief, emit_json, note, say
from .target import at_server

if TYPE_CHECKING:
    from ...executors.entry import ExecutorEntry
    from ...services.checks import Check
    from ...services.container import Options

__all__ = ["add_to"]

_MARKS: Final = {"ok": "✔", "warn": "!", "fail": "✘"}
_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(executors, "executors http --import tasks.py")
    add(doctor, "doctor --db postgresql://me@db/flows")
    group = add.group("db", "Check or upgrade the database's schema.")
    group(upgrade, "db upgrade --db postgresql://me@db/flows")
    group(check, "db check")


def upgrade(*, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Bring a database to the schema of this release.

    Makes the SQLite file, or the tables in Postgres, if they are not there. Safe to call at any time, by anybody.
    """
    from ...services.schema_service import upgrade_schema

    options = make_options(db)
    state = upgrade_schema(options.url)
    if json:
        emit_json(state)
    else:
        say(f"The database has schema {state['current']}.")


def check(*, db: Db = DB_DEFAULT, json: Json = False) -> int:
    """Say whether a database has the schema of this release.

    Exit code 1 if it has not. Changes nothing.
    """
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
    """Check that everything is well, and say what to do.

    Looks at database, engines, waiting work and executors, and changes nothing. Exit code 1 if a check fails.
    """
    from ...services.checks import worst

    checks = _checks(make_options(db, imports))
    if json:
        emit_json({"status": worst(checks), "checks": [each.as_json() for each in checks]})
    else:
        _print_checks(checks)
    return FAILED if worst(checks) == "fail" else OK


def _checks(options: Options) -> list[Check]:
    target = at_server()
    if target is not None:
        from ...services.remote.container import connected

        with connected(target) as services:
            return services.checks()
    from ...services.container import make_registry
    from ...services.doctor import diagnose

    return list(diagnose(options.url, make_registry(options)))


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
    """List the executors that definitions can call here.

    A star marks what the node's `with` must have. Plugins that could not be loaded are named on stderr. With --json
    each executor has the JSON Schema of its `with`.
    """
    from ...services.container import make_registry

    registry = make_registry(make_options(DB_DEFAULT, imports))
    found = registry.list_executors(domain)
    if json:
        problems = [{"name": p.name, "source": p.source, "message": p.message} for p in registry.problems]
        emit_json({"executors": [_executor_json(entry) for entry in found], "problems": problems})
        return
    _print_executors(found)
    for problem in registry.problems:
        note(f"warning: {problem.name} ({problem.source}): {problem.message}")


def _print_executors(entries: list[ExecutorEntry]) -> None:
    from rich.text import Text

    from .output import console

    out = console()
    for entry in entries:
        out.print(Text.assemble((entry.name, "bold"), "  ", (_fields(entry), "cyan")), soft_wrap=True)
        out.print(Text(f"    {brief(entry.description, 500)}", style="dim"), soft_wrap=True)


def _executor_json(entry: ExecutorEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "domain": entry.domain,
        "description": entry.description,
        "async": entry.is_async,
        "schema": entry.config_schema,
    }


def _fields(entry: ExecutorEntry) -> str:
    """Names of the configuration's members; those that must be there have a star."""
    schema = entry.config_schema
    required = set(schema.get("required", ()))
    names = [f"{name}*" if name in required else name for name in schema.get("properties", {})]
    return f"{{{', '.join(names)}}}" if names else ""
