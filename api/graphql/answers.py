"""Errors as GraphQL has them, of the same family as the problems of the REST interface; and the answer as bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from graphql import ExecutionResult, GraphQLError
from starlette.requests import Request
from starlette.responses import Response

from ..rest.problems import Refused, response_of
from .context import TimeOver
from .limits import TooMuch

__all__ = ["MEDIA_TYPE", "invalid", "refusal", "told", "written"]

MEDIA_TYPE: Final = "application/graphql-response+json"
#: What is said of an error, as far as the problem has it.
_EXTENSIONS: Final = ("code", "status", "hint", "request_id", "errors")


def refusal(request: Request, exc: Exception) -> dict[str, Any]:
    """An exception as a GraphQL error; a defect is logged and told without its text."""
    problem: dict[str, Any] = json.loads(bytes(response_of(request, exc).body))
    extensions = {name: problem[name] for name in _EXTENSIONS if name in problem}
    if "errors" in problem:
        extensions["pointers"] = [each["pointer"] for each in problem["errors"]]
    if isinstance(exc, TooMuch):
        extensions |= {"limit": exc.what, "allowed": exc.allowed, "found": exc.found}
    if isinstance(exc, TimeOver):
        extensions |= {"limit": "seconds", "allowed": exc.allowed}
    return {"message": problem["detail"], "extensions": extensions}


def invalid(request: Request, errors: Iterable[GraphQLError]) -> list[dict[str, Any]]:
    """What is wrong with a document by the schema, one by one."""
    return [_placed(refusal(request, Refused(422, "validation", each.message)), each) for each in errors]


def told(request: Request, result: ExecutionResult) -> dict[str, Any]:
    """A result as it is answered."""
    if not result.errors:
        return {"data": result.data}
    return {"errors": [_of(request, each) for each in result.errors], "data": result.data}


def written(request: Request, answer: dict[str, Any], status: int) -> Response:
    """An answer as bytes, in the type that the caller takes."""
    wanted = request.headers.get("accept", "")
    media = MEDIA_TYPE if MEDIA_TYPE in wanted else "application/json"
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    retry = {"Retry-After": "1"} if status in {429, 503} else None
    return Response(text.encode("utf-8", "replace"), status, retry, media)


def _of(request: Request, error: GraphQLError) -> dict[str, Any]:
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    if cause is None or error.path is None:  # of the variables: no field was asked yet
        return _placed(refusal(request, Refused(422, "request", error.message)), error)
    if isinstance(cause, GraphQLError) and cause.nodes:  # an argument that is not what it may be
        return _placed(refusal(request, Refused(422, "request", cause.message)), error)
    return _placed(refusal(request, cause), error)


def _placed(answer: dict[str, Any], error: GraphQLError) -> dict[str, Any]:
    if error.locations:
        answer["locations"] = [{"line": each.line, "column": each.column} for each in error.locations]
    if error.path is not None:
        answer["path"] = list(error.path)
    return answer
