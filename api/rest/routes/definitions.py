"""Definitions: register, list, look at, compare, draw, activate, retire, validate."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query
from pydantic import Field
from starlette.responses import JSONResponse, Response

from ....engine.errors import Problem
from ....engine.outputs import iso
from ....repositories.definitions import StoredDefinition
from ....services.adhoc import definition_of
from ..problems import Refused
from ..routing import Body, Called, Page, Size, needs, page_of, router_of

__all__ = ["router"]

router: Final = router_of("definitions")
Name = Annotated[str, Path(description="A definition's name.", examples=["billing.settle"])]
Version = Annotated[int, Path(ge=1, description="A version's number.")]
_MEDIA: Final = {"mermaid": "text/vnd.mermaid", "dot": "text/vnd.graphviz", "svg": "image/svg+xml"}


class NewDefinition(Body):
    """A definition to store."""

    definition: dict[str, Any] = Field(
        description="The definition, or an ordered list of steps.",
        examples=[{"dsl": "1", "name": "hello", "nodes": {"a": {"run": "core.noop", "with": 1}}}],
    )
    activate: bool = Field(default=False, description="Make it the version that a start by name takes.")


class Document(Body):
    """A definition to look at."""

    definition: dict[str, Any]


class StateChange(Body):
    """What a version becomes."""

    state: Literal["active", "deprecated", "archived"]


@router.post("/definitions", status_code=201, openapi_extra=needs("define:definitions"))
def register(body: NewDefinition, caller: Called) -> JSONResponse:
    """Store a definition as a new version. The same content again is the version that it is already.

    `warnings` are problems that do not refuse it, such as an executor that no engine knows yet.
    """
    found = caller.services.catalog.register(definition_of(body.definition), activate=body.activate)
    stored = _stored(caller, found.name, found.version)
    entry = {**_entry(stored), "warnings": [_problem(each) for each in found.warnings]}
    return JSONResponse(entry, 201, {"Location": f"definitions/{found.name}/versions/{found.version}"})


@router.post("/definitions/validate", openapi_extra=needs("read:definitions"))
def validate(body: Document, caller: Called) -> dict[str, Any]:
    """Say everything that is wrong with a definition; nothing is stored."""
    checked = caller.services.workflows.check(definition_of(body.definition))
    problems = [_problem(each) for each in checked.problems]
    return {"valid": checked.valid, "name": checked.name, "problems": problems}


@router.get("/definitions", openapi_extra=needs("read:definitions"))
def listed(
    caller: Called,
    size: Size = 100,
    name: Annotated[str | None, Query(description="Only versions of this one.")] = None,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> Page:
    """List stored versions, by name, the newest of each first."""
    found = caller.services.workflows.definitions(
        name, after=_reference(after) if after else None, page_size=size + 1
    )
    return page_of(found, size, _entry, lambda each: f"{each.name}@{each.version}")


@router.get("/definitions/{name}/versions/{version}", openapi_extra=needs("read:definitions"))
def shown(name: Name, version: Version, caller: Called) -> dict[str, Any]:
    """Give one version with its document."""
    stored = _stored(caller, name, version)
    return {**_entry(stored), "definition": caller.services.workflows.stored_document(f"{name}@{version}")}


@router.put("/definitions/{name}/versions/{version}/state", openapi_extra=needs("define:definitions"))
def change_state(name: Name, version: Version, body: StateChange, caller: Called) -> dict[str, Any]:
    """Activate, deprecate or archive a version."""
    workflows, reference = caller.services.workflows, f"{name}@{version}"
    done = (
        workflows.activate(reference) if body.state == "active" else workflows.retire(reference, body.state)
    )
    return _entry(done)


@router.get("/definitions/{name}/versions/{version}/graph", openapi_extra=needs("read:definitions"))
def graph(
    name: Name,
    version: Version,
    caller: Called,
    form: Annotated[Literal["mermaid", "dot", "svg"], Query(alias="format")] = "mermaid",
) -> Response:
    """Draw a version."""
    from ....services.graphs import draw

    stored = _stored(caller, name, version)
    return Response(draw(caller.services.catalog.plan(stored.id), form), media_type=_MEDIA[form])


@router.get("/definitions/{name}/diff", openapi_extra=needs("read:definitions"))
def diff(
    name: Name,
    caller: Called,
    first: Annotated[int, Query(alias="from", ge=1)],
    second: Annotated[int, Query(alias="to", ge=1)],
) -> dict[str, Any]:
    """Say what differs between two versions."""
    from dataclasses import asdict

    for version in (first, second):
        _stored(caller, name, version)
    changes = caller.services.workflows.stored_diff(name, first, second)
    return {"name": name, "from": first, "to": second, "changes": [asdict(change) for change in changes]}


def _reference(text: str) -> tuple[str, int]:
    name, at, version = text.rpartition("@")
    if not at or not version.isdecimal():
        raise Refused(422, "cursor", "`after` is not the `next` of a page.")
    return name, int(version)


def _stored(caller: Called, name: str, version: int) -> StoredDefinition:
    found = caller.services.workflows.version(name, version)
    if found is None:
        raise Refused(404, "not_found", f"there is no definition {name}@{version}.")
    return found


def _problem(each: Problem) -> dict[str, Any]:
    return {
        "pointer": each.pointer,
        "code": each.code,
        "detail": each.message,
        "hint": each.hint,
        "severity": each.severity,
    }


def _entry(each: StoredDefinition) -> dict[str, Any]:
    return {
        "name": each.name,
        "version": each.version,
        "state": each.state.value,
        "hash": each.hash,
        "created_at": iso(each.created_at),
    }
