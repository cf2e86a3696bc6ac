"""`POST /api/v1/graphql`: a body in, an answer out; everything between is looked at before it runs.

There is no other way in: no GET, no lists of operations, no forms with files, no stored queries, no subscriptions (the
live streams are WebSocket and SSE).
"""

from __future__ import annotations

import asyncio
import inspect
import json
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from graphql import ExecutionResult, validate
from graphql import execute as run  # pyright: ignore[reportUnknownVariableType] - its middleware is untyped
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ...services.access.scopes import Need, allows
from ..rest.gate import GATE, KEYED, NEED, Gate, caller_of
from ..rest.problems import Refused
from ..rest.routing import Body, router_of
from .answers import invalid, refusal, told, written
from .context import Context, TimeOver
from .document import Document, fields_of, read_document, root_fields
from .limits import LIMITS, GraphQLLimits, TooMuch
from .schema import build, forbidden
from .weighing import INTROSPECTION, weigh

__all__ = ["router"]

router: Final = router_of("graphql")


class GraphQLRequest(Body):
    """What a client sends."""

    query: str
    operation_name: str | None = Field(default=None, alias="operationName")
    variables: dict[str, Any] | None = None
    extensions: dict[str, Any] | None = None


@dataclass(slots=True)
class _Asked:
    """An operation that may run."""

    document: Document
    variables: dict[str, Any]
    context: Context
    limits: GraphQLLimits


class _Invalid(Exception):
    """Raised with the errors of a document that does not fit the schema."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__()
        self.errors = errors


@router.post("/graphql", openapi_extra={NEED: KEYED}, include_in_schema=False)
async def graphql(request: Request) -> Response:
    """Run one operation."""
    limits: GraphQLLimits = request.scope.get(LIMITS) or GraphQLLimits()
    try:
        asked = await _asked(request, limits)
    except _Invalid as exc:
        return written(request, {"errors": exc.errors}, 422)
    except (Refused, RequestValidationError) as exc:
        error = refusal(request, exc)
        return written(request, {"errors": [error]}, error["extensions"]["status"])
    if asked.document.kind == "mutation":
        return await _write(request, asked)
    return await _answer(request, asked)


# --- before it runs


async def _asked(request: Request, limits: GraphQLLimits) -> _Asked:
    body = _body(request, await request.body())
    variables = body.variables or {}
    _check_variables(variables, limits)
    if (body.extensions or {}).get("persistedQuery") is not None:
        detail = "stored queries are not taken: send the document."
        raise Refused(400, "persisted_query_not_supported", detail)
    caller = caller_of(request)
    context = Context(caller, limits.seconds)
    knows = allows(caller.principal.scopes, INTROSPECTION)

    def checked() -> tuple[Document, frozenset[Need]]:
        return _checked(request, body, variables, limits, knows=knows)

    document, needs = await run_in_threadpool(checked)
    for need in sorted(needs, key=str):
        if not allows(caller.principal.scopes, need):
            gate: Gate = request.scope[GATE]
            await gate.remember(request, str(need), 403, _names(document))
            raise forbidden(context, need)
    return _Asked(document, variables, context, limits)


def _checked(
    request: Request, body: GraphQLRequest, variables: dict[str, Any], limits: GraphQLLimits, *, knows: bool
) -> tuple[Document, frozenset[Need]]:
    """Everything that is wrong with a document. `knows`: the caller may read the schema, and hints tell of it."""
    document = read_document(body.query, body.operation_name, limits)
    if document.kind == "subscription":
        detail = "there are no subscriptions here."
        raise Refused(400, "request", detail, hint="Live events: WebSocket and SSE, /api/v1/events/stream.")
    if not knows and any(field.name.value in {"__schema", "__type"} for field in fields_of(document.tree)):
        return document, frozenset({INTROSPECTION})
    built = build()
    errors = validate(built.schema, document.tree, max_errors=20, hide_suggestions=not knows)
    if errors:
        raise _Invalid(invalid(request, errors))
    demand = weigh(document, built, variables)
    if demand.cost > limits.cost:
        raise TooMuch("cost", limits.cost, demand.cost, "Ask for smaller pages (`first`).")
    return document, demand.needs


def _body(request: Request, data: bytes) -> GraphQLRequest:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Refused(415, "media_type", "a request is application/json.")
    try:
        found: Any = json.loads(data, parse_constant=_refuse)
        json.dumps(found, ensure_ascii=False).encode()  # a text that no database has
    except (ValueError, RecursionError) as exc:
        raise Refused(400, "json", "the body is not JSON, or has texts that are no Unicode.") from exc
    if isinstance(found, list):
        raise Refused(400, "batch", "a request is one operation, not a list of them.")
    try:
        return GraphQLRequest.model_validate(found)
    except ValidationError as exc:
        errors: list[Any] = [{**each, "loc": ("body", *each["loc"])} for each in exc.errors()]
        raise RequestValidationError(errors) from exc


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _check_variables(variables: dict[str, Any], limits: GraphQLLimits) -> None:
    if not variables:
        return
    size = len(json.dumps(variables, ensure_ascii=False, separators=(",", ":")).encode())
    if size > limits.variable_bytes:
        raise TooMuch("variable_bytes", limits.variable_bytes, size)


# --- running


async def _answer(request: Request, asked: _Asked) -> Response:
    try:
        async with asyncio.timeout(asked.limits.seconds):
            result = await _executed(asked)
    except TimeoutError:
        error = refusal(request, TimeOver(asked.limits.seconds))
        return written(request, {"errors": [error], "data": None}, error["extensions"]["status"])
    finally:
        asked.context.stop()  # threads that still read for it stop before their next statement
    answer = told(request, result)
    status = 200 if result.data is not None else _first_status(answer)
    return written(request, answer, status)


async def _write(request: Request, asked: _Asked) -> Response:
    """A mutation: once under its Idempotency-Key; what it did is remembered, field by field."""
    gate: Gate = request.scope[GATE]
    outcomes: dict[str, tuple[str, int]] = {}

    async def inner(again: Request) -> Response:
        asked.context = Context(caller_of(again), asked.limits.seconds)
        result = await _executed(asked)
        answer = told(again, result)
        outcomes.update(_outcomes(asked, result, answer))
        return written(again, answer, _status(outcomes, result, answer))

    response = await gate.once(request, inner)
    if not outcomes:
        outcomes.update({name: (action, response.status_code) for name, action in _actions(asked).items()})
    for name, (action, status) in outcomes.items():
        await gate.remember(request, action, status, name)
    return response


async def _executed(asked: _Asked) -> ExecutionResult:
    document = asked.document
    name = document.operation.name
    found = run(
        build().schema,
        document.tree,
        context_value=asked.context,
        variable_values=asked.variables,
        operation_name=name.value if name is not None else None,
        hide_suggestions=True,
    )
    return await found if inspect.isawaitable(found) else found


def _actions(asked: _Asked) -> dict[str, str]:
    """What the fields at the top of a mutation need, by their names in the answer."""
    facts = build().facts
    return {
        name: " ".join(sorted(str(need) for need in facts["Mutation", field].needs))
        for name, field in root_fields(asked.document).items()
        if field != "__typename"
    }


def _outcomes(asked: _Asked, result: ExecutionResult, answer: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """What was done, and the status of each: that of its own error where it gave nothing."""
    data: dict[str, Any] = result.data or {}
    failed: dict[str, int] = {}
    for error in answer.get("errors", ()):
        path: list[str] = error.get("path") or [""]
        failed.setdefault(path[0], error["extensions"]["status"])
    unmade = next(iter(failed.values()), 200)
    return {
        name: (action, 200 if data.get(name) is not None else failed.get(name, unmade))
        for name, action in _actions(asked).items()
    }


def _status(outcomes: dict[str, tuple[str, int]], result: ExecutionResult, answer: dict[str, Any]) -> int:
    """200 where something was done, or nothing will be; else that of the error, so that it is tried again."""
    statuses = [status for _, status in outcomes.values()]
    if statuses and all(status >= 500 or status == 429 for status in statuses):
        return statuses[0]
    return 200 if result.data is not None else _first_status(answer)


def _first_status(answer: dict[str, Any]) -> int:
    found: int = answer["errors"][0]["extensions"]["status"]
    return found


def _names(document: Document) -> str:
    return " ".join(root_fields(document))
