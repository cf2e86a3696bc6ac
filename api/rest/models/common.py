"""Models that several resources share."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from ..problems import MEDIA_TYPE
from ..routing import Answer, Body

__all__ = [
    "PROBLEM_MODEL",
    "Deleted",
    "Failure",
    "FieldProblem",
    "Instant",
    "Problem",
    "ProblemAnswer",
    "Reason",
    "Why",
]

Instant = Annotated[
    str | None, Field(description="An instant, ISO 8601 in UTC.", examples=["2026-11-20T09:30:00.000000Z"])
]
Failure = Annotated[
    dict[str, Any] | None,
    Field(
        description="What went wrong: `code`, `message`, where, and its `cause`; null when nothing did.",
        examples=[{"code": "timeout", "message": "it took longer than 30s"}],
    ),
]
Reason = Annotated[
    str | None, Field(max_length=2000, description="Why; kept for others to read, with the key's name.")
]


class FieldProblem(Answer):
    """One thing that is wrong."""

    pointer: str = Field(description="Where: a JSON pointer.", examples=["/body/inputs"])
    code: str = Field(description="What, for programs.", examples=["missing"])
    detail: str = Field(description="What, in words.")
    hint: str | None = Field(default=None, description="What to do about it.")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="The code as a URN.", examples=["urn:strataflow:problem:not_found"])
    title: str = Field(description="The status in words.", examples=["Not Found"])
    status: int = Field(description="The status.", examples=[404])
    detail: str = Field(description="What is wrong, in words.")
    code: str = Field(description="What is wrong, for programs.", examples=["not_found"])
    request_id: str | None = Field(description="Under which the server's log has it.")
    hint: str | None = Field(default=None, description="What to do about it.")
    errors: list[FieldProblem] = Field(
        default_factory=list[FieldProblem], description="Each thing that is wrong with what was sent."
    )


class ProblemAnswer(JSONResponse):
    """The form of every error. A route that answers nothing else brings the model into the document."""

    media_type = MEDIA_TYPE


#: `responses` of a route without an answer of its own: with it the document knows the model of problems.
PROBLEM_MODEL: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"description": "What is wrong with the request.", "model": Problem}
}


class Why(Body):
    """Why something is done."""

    reason: Reason = None


class Deleted(Answer):
    """How much was deleted."""

    deleted: int = Field(description="How many rows are gone.")
    more: bool = Field(description="True: there are more; ask again.")
