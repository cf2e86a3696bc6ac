"""`register`, `definitions`, `validate`, `schema`, `graph`: the commands around definitions."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...services.checks import many
from .commands import Adder
from .door import reading
from .errors import OK, USAGE
from .options import DB_DEFAULT, Db, Imports, Json, make_options
from .output import brief, emit_json, local_time, note, print_table, say

if TYPE_CHECKING:
    from ...engine.errors import Problem
    from ...repositories.definitions import StoredDefinition
    from ...services.documents import Checked

__all__ = ["add_to"]

Files = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Definitions, JSON or YAML.")]


class Format(StrEnum):
    """What `graph` can draw."""

    MERMAID = "mermaid"
    SVG = "svg"
    DOT = "dot"


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(validate, "validate flows/*.json")
    add(register, "register flow.json --activate")
    add(definitions, "definitions --activate billing.nightly@3")
    add(graph, "graph flow.json --format svg > flow.svg")
    add(diff, "diff billing.nightly@3 billing.nightly@4")
    add(schema, "schema > strataflow.schema.json")


def validate(files: Files, *, imports: Imports = None, json: Json = False) -> int:
    """Check definitions and print every problem.

    Each problem comes with its place and what to do. Needs no database. Executors of your own are known by --import, or
    when their package is installed. Exit code 2 if a definition would be refused.
    """
    from ...engine.errors import EngineError, Problem
    from ...services.container import offline
    from ...services.documents import Checked

    workflows = offline(make_options(DB_DEFAULT, imports))
    found: list[tuple[Path, Checked]] = []
    for file in files:
        try:
            found.append((file, workflows.validate(file)))
        except EngineError as exc:
            found.append((file, Checked((Problem("", "unreadable", exc.message, exc.hint),))))
    if json:
        emit_json([_checked_json(file, checked) for file, checked in found])
    else:
        for file, checked in found:
            _print_checked(file, checked)
    return OK if all(checked.valid for _, checked in found) else USAGE


def _checked_json(file: Path, checked: Checked) -> dict[str, Any]:
    return {
        "file": str(file),
        "name": checked.name,
        "valid": checked.valid,
        "problems": [
            {
                "pointer": problem.pointer,
                "code": problem.code,
                "message": problem.message,
                "hint": problem.hint,
                "severity": problem.severity,
            }
            for problem in checked.problems
        ],
    }


def _print_checked(file: Path, checked: Checked) -> None:
    if checked.plan is not None:
        say(f"{file}: {checked.name} is valid, {many(len(checked.plan.nodes), 'node')}.")
    else:
        note(f"{file}: {many(len(checked.problems), 'problem')}")
    for problem in checked.problems:
        _print_problem(problem)


def _print_problem(problem: Problem) -> None:
    mark = "warning, " if problem.severity == "warning" else ""
    note(f"  {problem.pointer or '/'}: {problem.message} [{mark}{problem.code}]")
    if problem.hint:
        note(f"      {problem.hint}")


def register(
    files: Files,
    *,
    activate: Annotated[
        bool, typer.Option("--activate", help="Make them the versions that `start NAME` and flows take.")
    ] = False,
    imports: Imports = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Check and store definitions.

    The same content is stored once; other content becomes a new version of its name.
    """
    with reading(make_options(db, imports, create=True)) as services:
        found = [services.workflows.register(file, activate=activate) for file in files]
    for each in found:
        for warning in each.warnings:
            note(f"warning: {each.name}: {warning}")
    rows = [
        {"id": each.id, "name": each.name, "version": each.version, "hash": each.hash, "active": each.active}
        for each in found
    ]
    if json:
        emit_json(rows)
    else:
        for each in found:
            say(f"{each.name}@{each.version}{' is active' if each.active else ''}")


def definitions(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only of this name.")] = None,
    *,
    activate: Annotated[
        str | None,
        typer.Option("--activate", metavar="NAME@VERSION", help="Make this the active version first."),
    ] = None,
    deprecate: Annotated[
        str | None, typer.Option("--deprecate", metavar="NAME@VERSION", help="Start it only by its number.")
    ] = None,
    archive: Annotated[
        str | None, typer.Option("--archive", metavar="NAME@VERSION", help="Start it no more.")
    ] = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """List stored definitions; choose active versions, retire old ones.

    Running instances keep their version, whatever becomes of it.
    """
    with reading(make_options(db)) as services:
        for reference, state in ((deprecate, "deprecated"), (archive, "archived")):
            if reference is not None:
                retired = services.workflows.retire(reference, state)
                note(f"{retired.name}@{retired.version} is {retired.state}.")
                name = name or retired.name
        if activate is not None:
            chosen = services.workflows.activate(activate)
            note(f"{chosen.name}@{chosen.version} is active.")
            name = name or chosen.name
        found = list(services.workflows.definitions(name))
    if json:
        emit_json([_definition_json(each) for each in found])
    else:
        print_table(
            ["NAME", "VERSION", "STATE", "STORED", "HASH"],
            ([d.name, str(d.version), d.state, local_time(d.created_at), d.hash[:12]] for d in found),
            right=["VERSION"],
        )


def _definition_json(each: StoredDefinition) -> dict[str, Any]:
    from ...engine.outputs import iso

    return {
        "id": each.id,
        "name": each.name,
        "version": each.version,
        "hash": each.hash,
        "active": each.active,
        "state": each.state.value,
        "created_at": iso(each.created_at),
    }


def diff(
    first: Annotated[str, typer.Argument(metavar="NAME@VERSION|FILE", help="The older one.")],
    second: Annotated[str, typer.Argument(metavar="NAME@VERSION|FILE", help="The newer one.")],
    *,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Say what differs between two versions of a definition, place by place."""
    from ...services.diffing import ABSENT

    with reading(make_options(db, create=True)) as services:
        changes = services.workflows.diff(first, second)
    if json:
        sides = (("before", "before"), ("after", "after"))
        emit_json(
            [
                {"pointer": each.pointer}
                | {key: getattr(each, side) for key, side in sides if getattr(each, side) is not ABSENT}
                for each in changes
            ]
        )
        return
    for each in changes:
        if each.before is not ABSENT:
            say(f"- {each.pointer}: {brief(each.before)}")
        if each.after is not ABSENT:
            say(f"+ {each.pointer}: {brief(each.after)}")
    if not changes:
        say("They are the same.")


def schema(*, json: Json = False) -> None:
    """Print the JSON Schema of definitions, for editors."""
    from ...services.container import offline

    del json  # it is JSON either way
    emit_json(offline(make_options(DB_DEFAULT)).schema())


def graph(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The definition, JSON or YAML.")],
    *,
    form: Annotated[Format, typer.Option("--format", help="mermaid, svg or dot.")] = Format.MERMAID,
    imports: Imports = None,
    json: Json = False,
) -> None:
    """Draw a definition as a graph.

    Nodes, what waits for what, what runs inside maps and groups; `?` marks nodes with a condition.
    """
    from ...services.container import offline

    drawing = offline(make_options(DB_DEFAULT, imports)).graph(file, form.value)
    if json:
        emit_json({"file": str(file), "format": form.value, "graph": drawing})
    else:
        say(drawing.removesuffix("\n"))
