"""Every error as one form: problem details (RFC 9457), `application/problem+json`.

`type`, `title`, `status`, `detail` as the RFC has them; `code` for programs, `request_id` to find it in the log, and
`errors` with a JSON pointer for each thing that is wrong with what was sent.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from ...engine.errors import DefinitionError, EngineError, InputError, Problem

__all__ = ["MEDIA_TYPE", "Refused", "problem_response", "response_of"]

log: Final = logging.getLogger("strataflow.api")
MEDIA_TYPE: Final = "application/problem+json"
#: Status by the code of an engine error; what is not here is a 500.
_STATUS: Final = {
    "definition": 422,
    "inputs": 422,
    "request": 422,
    "schedule": 422,
    "payload": 422,
    "expression": 422,
    "not_found": 404,
    "conflict": 409,
    "illegal_transition": 409,
    "queue_full": 429,
    "schema": 503,
    "database": 503,
    "stopped": 503,
    "wait_timeout": 504,
}
_RETRY_AFTER: Final = {429: "1", 503: "1"}


class Refused(Exception):
    """Raised by the gate and by routes: an answer that is a problem."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str = "",
        errors: Sequence[Problem] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.hint = status, code, detail, hint
        self.errors = tuple(errors)
        self.headers = headers or {}


def response_of(request: HTTPConnection, exc: Exception) -> Response:
    """The answer to an exception; one that is a defect is logged with its traceback and told without."""
    if isinstance(exc, Refused):
        return problem_response(request, exc)
    if isinstance(exc, RequestValidationError):
        return problem_response(request, _invalid(exc))
    if isinstance(exc, HTTPException):
        title = HTTPStatus(exc.status_code).phrase
        code = title.lower().replace(" ", "_")
        found = Refused(exc.status_code, code, str(exc.detail), headers=dict(exc.headers or {}))
        return problem_response(request, found)
    if isinstance(exc, EngineError) and exc.code in _STATUS:
        return problem_response(request, _of_engine(exc))
    text = "a request failed: %s %s"
    method = request.scope.get("method", "WEBSOCKET")
    log.error(text, method, request.url.path, exc_info=exc, extra={"action": "request_failed"})
    detail = "this is a defect; the server's log has its details under the request's id."
    return problem_response(request, Refused(500, "internal", detail))


def problem_response(request: HTTPConnection, refused: Refused) -> Response:
    """Write a problem."""
    body: dict[str, Any] = {
        "type": f"urn:strataflow:problem:{refused.code}",
        "title": HTTPStatus(refused.status).phrase,
        "status": refused.status,
        "detail": refused.detail,
        "code": refused.code,
        "request_id": getattr(request.state, "request_id", None),
    }
    if refused.hint:
        body["hint"] = refused.hint
    if refused.errors:
        body["errors"] = [_error(problem) for problem in refused.errors]
    headers = dict(refused.headers)
    if refused.status in _RETRY_AFTER:
        headers.setdefault("Retry-After", _RETRY_AFTER[refused.status])
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), refused.status, headers, MEDIA_TYPE)


def _error(problem: Problem) -> dict[str, str]:
    found = {"pointer": problem.pointer, "code": problem.code, "detail": problem.message}
    return {**found, "hint": problem.hint} if problem.hint else found


def _of_engine(exc: EngineError) -> Refused:
    problems = exc.problems if isinstance(exc, DefinitionError | InputError) else ()
    detail = exc.message.partition("\n")[0].removesuffix(":") + "." if problems else exc.message
    pointer: str = getattr(exc, "pointer", "")
    if pointer:
        problems = (Problem(pointer, exc.code, exc.message, exc.hint),)
    return Refused(_STATUS[exc.code], exc.code, detail, hint=exc.hint or "", errors=problems)


def _invalid(exc: RequestValidationError) -> Refused:
    errors = [_field(error) for error in exc.errors()]
    status = 400 if any(error.code == "json" for error in errors) else 422
    return Refused(
        status, "request", "the request does not have the form that this call takes.", errors=errors
    )


def _field(error: dict[str, Any]) -> Problem:
    """`/body/inputs`, `/query/limit`: where it stands, as one pointer."""
    place = [str(part).replace("~", "~0").replace("/", "~1") for part in error["loc"]]
    code = "json" if error["type"] == "json_invalid" else str(error["type"])
    return Problem("/" + "/".join(place), code, str(error["msg"]), "")
