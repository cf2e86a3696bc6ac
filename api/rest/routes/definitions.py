"""Definitions: register, list, look at, compare, draw, convert, activate, retire, validate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query
from starlette.responses import JSONResponse, Response

from ....engine.errors import DefinitionError
from ....engine.outputs import iso
from ....repositories.definitions import StoredDefinition
from ....services.adhoc import definition_of, is_step_list
from ....services.diffing import ABSENT, Change
from ..models import definitions as models
from ..problems import Refused
from ..routing import (
    After,
    Called,
    IfMatch,
    Page,
    Size,
    cursor_of,
    json_answer,
    needs,
    page_of,
    place_of,
    require_match,
    router_of,
)

__all__ = ["router"]

router: Final = router_of("definitions")
Name = Annotated[str, Path(description="A definition's name.", examples=["billing.settle"])]
Number = Annotated[int, Path(alias="version", ge=1, le=2**31 - 1, description="A version's number.")]
Which = Annotated[int, Query(ge=1, le=2**31 - 1, description="A version's number.")]
Form = Annotated[Literal["mermaid", "dot", "svg"], Query(alias="format", description="Of the drawing.")]
_MEDIA: Final = {"mermaid": "text/vnd.mermaid", "dot": "text/vnd.graphviz", "svg": "image/svg+xml"}
_DRAWING: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The drawing, as text.",
        "content": {media: {"schema": {"type": "string"}} for media in _MEDIA.values()},
    }
}
_VERSION: Final = "/definitions/{name}/versions/{version}"


@router.post(
    "/definitions",
    status_code=201,
    openapi_extra=needs("define:definitions"),
    response_model=models.Registered,
)
def create_definition(body: models.NewDefinition, caller: Called) -> JSONResponse:
    """Store a definition as a new version. The same content again is the version that it is already."""
    found = caller.services.catalog.register(definition_of(body.definition), activate=body.activate)
    made = _entry(_stored(caller, found.name, found.version))
    made["warnings"] = [str(warning) for warning in found.warnings]
    return JSONResponse(made, 201, {"Location": f"definitions/{found.name}/versions/{found.version}"})


@router.get("/definitions", openapi_extra=needs("read:definitions"))
def list_definitions(
    caller: Called,
    size: Size = 100,
    name: Annotated[str | None, Query(description="Only versions of this one.")] = None,
    after: After = None,
) -> Page[models.DefinitionVersion]:
    """List stored versions, by name, the newest of each first."""
    place = place_of(after, str, int)
    found = caller.services.workflows.definitions(name, after=(place[0], place[1]) if place else None)
    return page_of(found, size, _entry, lambda each: cursor_of(each.name, each.version))


# --- without storing anything


@router.get("/definitions/schema", openapi_extra=needs("read:definitions"))
def get_schema(caller: Called) -> dict[str, Any]:
    """Give the JSON Schema of definitions, for editors."""
    return caller.services.workflows.schema()


@router.post("/definitions/validate", openapi_extra=needs("read:definitions"), response_model=models.Checked)
def validate_definition(body: models.Document, caller: Called) -> dict[str, Any]:
    """Say everything that is wrong with a definition; nothing is stored."""
    name: str | None = None
    valid = False
    try:
        checked = caller.services.workflows.check(definition_of(body.definition))
        problems, name, valid = checked.problems, checked.name, checked.valid
    except DefinitionError as exc:  # a list of steps that cannot be read
        problems = exc.problems
    listed = [
        {
            "pointer": each.pointer,
            "code": each.code,
            "detail": each.message,
            "hint": each.hint,
            "severity": each.severity,
        }
        for each in problems
    ]
    return {"valid": valid, "name": name, "problems": listed}


@router.post(
    "/definitions/graph",
    openapi_extra=needs("read:definitions"),
    response_class=Response,
    responses=_DRAWING,
)
def draw_document(body: models.Document, caller: Called, form: Form = "mermaid") -> Response:
    """Draw a definition; nothing is stored."""
    from ....services.graphs import draw

    checked = caller.services.workflows.check(definition_of(body.definition))
    if checked.plan is None:
        raise DefinitionError(checked.problems, name=checked.name)
    return Response(draw(checked.plan, form), media_type=_MEDIA[form])


@router.post("/definitions/convert", openapi_extra=needs("read:definitions"), response_model=models.Converted)
def convert_steps(body: models.Conversion) -> dict[str, Any]:
    """Write an ordered list of steps as a definition; nothing is stored."""
    if not is_step_list(body.task):
        detail = "this is no list of steps: it has no `steps`, or it is a definition already."
        raise Refused(422, "request", detail)
    return {"definition": definition_of(body.task, name=body.name)}


@router.post("/definitions/diff", openapi_extra=needs("read:definitions"), response_model=models.Changes)
def diff_documents(body: models.Comparison, caller: Called) -> JSONResponse:
    """Say what differs between two definitions, stored or not."""
    from ....services.diffing import changes

    return _told(changes(_document(caller, body.before), _document(caller, body.after)))


def _document(caller: Called, source: str | dict[str, Any]) -> Any:
    if isinstance(source, str):
        return caller.services.workflows.stored_document(source)
    return caller.services.workflows.canonical(definition_of(source))


# --- one of them


@router.get(
    "/definitions/{name}/active", openapi_extra=needs("read:definitions"), response_model=models.Definition
)
def get_active_definition(name: Name, caller: Called) -> Response:
    """Give the version that a start by name takes: the active one, else the newest draft."""
    found = caller.services.workflows.find(name)
    return json_answer(_whole(caller, found.name, found.version))


@router.get(_VERSION, openapi_extra=needs("read:definitions"), response_model=models.Definition)
def get_definition(name: Name, version: Number, caller: Called) -> Response:
    """Give one version with its document; its `ETag` is what a change of its state sends as `If-Match`."""
    return json_answer(_whole(caller, name, version))


@router.put(
    f"{_VERSION}/state", openapi_extra=needs("define:definitions"), response_model=models.DefinitionVersion
)
def put_definition_state(
    name: Name, version: Number, body: models.StateChange, caller: Called, if_match: IfMatch = None
) -> dict[str, Any]:
    """Activate, deprecate or archive a version."""
    require_match(if_match, lambda: _whole(caller, name, version))
    workflows, reference = caller.services.workflows, f"{name}@{version}"
    _stored(caller, name, version)
    done = (
        workflows.activate(reference) if body.state == "active" else workflows.retire(reference, body.state)
    )
    return _entry(done)


@router.get(
    f"{_VERSION}/graph",
    openapi_extra=needs("read:definitions"),
    response_class=Response,
    responses=_DRAWING,
)
def draw_definition(name: Name, version: Number, caller: Called, form: Form = "mermaid") -> Response:
    """Draw a version."""
    from ....services.graphs import draw

    stored = _stored(caller, name, version)
    return Response(draw(caller.services.catalog.plan(stored.id), form), media_type=_MEDIA[form])


@router.get(
    "/definitions/{name}/diff", openapi_extra=needs("read:definitions"), response_model=models.Changes
)
def diff_versions(
    name: Name,
    caller: Called,
    first: Annotated[Which, Query(alias="from")],
    second: Annotated[Which, Query(alias="to")],
) -> JSONResponse:
    """Say what differs between two versions."""
    for version in (first, second):
        _stored(caller, name, version)
    return _told(caller.services.workflows.stored_diff(name, first, second))


# --- small parts


def _told(found: Iterable[Change]) -> JSONResponse:
    """A side that has nothing at a place says nothing of it: null would be a value."""
    changes = [
        {"pointer": each.pointer}
        | {
            side: value
            for side, value in (("before", each.before), ("after", each.after))
            if value is not ABSENT
        }
        for each in found
    ]
    return JSONResponse({"changes": changes})


def _stored(caller: Called, name: str, version: int) -> StoredDefinition:
    found = caller.services.workflows.version(name, version)
    if found is None:
        raise Refused(404, "not_found", f"there is no definition {name}@{version}.")
    return found


def _whole(caller: Called, name: str, version: int) -> models.Definition:
    stored = _stored(caller, name, version)
    document = caller.services.workflows.stored_document(f"{name}@{version}")
    return models.Definition(**_entry(stored), definition=document)


def _entry(each: StoredDefinition) -> dict[str, Any]:
    return {
        "id": each.id,
        "name": each.name,
        "version": each.version,
        "state": each.state.value,
        "active": each.active,
        "hash": each.hash,
        "created_at": iso(each.created_at),
    }
