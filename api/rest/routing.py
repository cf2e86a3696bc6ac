"""How routes are written: a router of guarded routes, what each needs, pages, tags, and what a body's texts may be."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Final, Generic, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from starlette.responses import Response
from typing_extensions import TypeVar

from ...engine.cron_fields import InvalidSchedule
from ...engine.durations import parse_duration
from ...engine.errors import DefinitionError, InputError, PayloadError, Problem, RequestError
from .gate import NEED, UNKEPT, Caller, GuardedRoute, caller_of
from .problems import MEDIA_TYPE, Refused

__all__ = [
    "MAX_PAGE",
    "After",
    "Answer",
    "Body",
    "Called",
    "IfMatch",
    "Page",
    "Seq",
    "Size",
    "cursor_of",
    "instant_of",
    "json_answer",
    "located",
    "needs",
    "page_of",
    "place_of",
    "require_match",
    "router_of",
    "seconds_of",
]

MAX_PAGE: Final = 500
_MICROSECONDS: Final = 1_000_000
#: What no number in a database goes beyond.
_HIGHEST: Final = 2**63 - 1
_LONGEST_CURSOR: Final = 8_192
#: Text of a path or a query that is longer names nothing.
_LONGEST_TEXT: Final = 4_096
Called = Annotated[Caller, Depends(caller_of)]
Size = Annotated[int, Query(alias="limit", ge=1, le=MAX_PAGE, description="Entries of a page.")]
After = Annotated[
    str | None, Query(max_length=_LONGEST_CURSOR, description="`next` of the page before; absent: the first.")
]
Seq = Annotated[
    int, Query(ge=0, le=_HIGHEST, description="The `next` of the page before, or the `seq` last seen.")
]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=1_000,
        description="The `ETag` that a read of this gave, or `*`: 412 when it has changed since.",
    ),
]
Row = TypeVar("Row")
#: What a page is of; who does not say it has a page of anything.
Item = TypeVar("Item", default=Any)
_ProblemRef: Final = {"schema": {"$ref": "#/components/schemas/Problem"}}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"description": "What is wrong with the request.", "content": {MEDIA_TYPE: _ProblemRef}},
    "5XX": {"description": "The server cannot do it now.", "content": {MEDIA_TYPE: _ProblemRef}},
}


class Body(BaseModel):
    """A body: what it does not name is refused, and so is text with NUL or half a character, which nothing stores."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*", mode="after")
    @classmethod
    def _storable(cls, value: Any, info: ValidationInfo) -> Any:
        """Values that are kept as JSON are looked at by whoever keeps them: they are fields of type Any."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        is_json = annotation is Any or ("Any" in str(annotation) and not isinstance(value, str))
        if not is_json and not all(map(_is_plain, _texts(value))):
            raise ValueError("text without NUL and lone surrogates is wanted")
        return value


class Answer(BaseModel):
    """An answer: the document says all of it."""

    model_config = ConfigDict(extra="forbid", from_attributes=True, populate_by_name=True)


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next: str | None = Field(
        default=None, description="Give it as `after` to go on; null: this was the last page."
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in cast("dict[Any, Any]", value).items():
            yield from _texts(name)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _texts(inner)


def _is_plain(text: str) -> bool:
    return "\x00" not in text and (text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text))


def _plain(request: Request) -> None:
    """Refuse texts in path and query that no database could look for. Raises Refused."""
    places = [("path", name, str(value)) for name, value in request.path_params.items()]
    places += [("query", name, value) for name, value in request.query_params.multi_items()]
    problems = [
        Problem(f"/{where}/{_escaped(name)}", "text", f"it has NUL, or more than {_LONGEST_TEXT} characters")
        for where, name, value in places
        if "\x00" in value or (len(value) > _LONGEST_TEXT and name != "after")
    ]
    if problems:
        raise Refused(422, "request", "the request has text that nothing is called.", errors=problems)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _operation_id(route: APIRoute) -> str:
    """The name of a client's method: `list_instances`; a function with a short name takes its router's with it."""
    tag = str(route.tags[0]) if route.tags else "api"
    return route.name if "_" in route.name else f"{route.name}_{tag.replace('-', '_')}"


def router_of(tag: str) -> APIRouter:
    """A router whose routes cannot be made without saying what they need."""
    return APIRouter(
        tags=[tag],
        route_class=GuardedRoute,
        responses=_RESPONSES,
        generate_unique_id_function=_operation_id,
        dependencies=[Depends(_plain)],
    )


def needs(scope: str, *, secret: bool = False) -> dict[str, Any]:
    """What a route's decorator is given: the scope in its OpenAPI entry, which is also what the gate asks for.

    `secret` says that a secret goes through it, so that nothing of it is kept for repeated requests.
    """
    return {NEED: scope, UNKEPT: True} if secret else {NEED: scope}


# --- pages


def page_of(
    found: Iterable[Row], size: int, entry: Callable[[Row], Any], cursor: Callable[[Row], str]
) -> Page[Any]:
    """The first of them as a page; `cursor` is where the next one begins behind."""
    rows: Iterator[Row] = iter(found)
    some = list(islice(rows, size))
    more = len(some) == size and next(rows, None) is not None
    return Page(items=[entry(row) for row in some], next=cursor(some[-1]) if more else None)


def cursor_of(*place: int | str) -> str:
    """A place in a list as text that nobody needs to understand."""
    text = json.dumps(place, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(after: str | None, *kinds: type[int | str | UUID]) -> tuple[Any, ...] | None:
    """The place that `cursor_of` wrote; None for the first page. Raises Refused for anything else."""
    if after is None:
        return None
    try:
        text = base64.b64decode(after + "=" * (-len(after) % 4), altchars=b"-_", validate=True)
        place: Any = json.loads(text)
    except (ValueError, RecursionError):
        place = None
    values = cast("list[Any]", place) if isinstance(place, list) else []
    if len(values) != len(kinds) or not all(map(_is_place, values, kinds)):
        problem = Problem("/query/after", "cursor", "this is not the `next` of a page")
        raise Refused(422, "cursor", "`after` is not the `next` of a page.", errors=[problem])
    return tuple(values)


def _is_place(value: Any, kind: type) -> bool:
    if kind is int:
        return type(value) is int and -_HIGHEST <= value <= _HIGHEST
    return isinstance(value, str) and _is_plain(value) and (kind is not UUID or _is_id(value))


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


# --- tags


def json_answer(value: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Write an answer; its bytes are what its tag is made of."""
    return Response(_written(value), status, headers, "application/json")


def require_match(given: str | None, stands: Callable[[], BaseModel]) -> None:
    """Compare `If-Match` with the tag of what a read would answer now. Raises Refused with 412."""
    if given is None or given.strip() == "*":
        if given is not None:
            stands()  # says that there is none
        return
    tag = f'"{hashlib.sha256(_written(stands())).hexdigest()[:32]}"'
    if tag not in {each.strip() for each in given.split(",")}:
        raise Refused(
            412,
            "precondition",
            "it has changed since it was read.",
            hint="Read it again, and send the new ETag with If-Match.",
            headers={"ETag": tag},
        )


def _written(value: BaseModel) -> bytes:
    return value.model_dump_json(by_alias=True).encode()


# --- values


@contextmanager
def located(
    body: str = "/body", *, inputs: str = "/body/inputs", document: str = "/body/definition"
) -> Generator[None]:
    """Let what a service refuses say where in the body it stands: its own pointers know nothing of one."""
    try:
        yield
    except InvalidSchedule as exc:
        field = "every_s" if exc.field == "every" else exc.field
        raise RequestError(exc.message, pointer=f"{body}/{field}", hint=exc.hint) from exc
    except RequestError as exc:
        place = f"{body}{exc.pointer}" if exc.pointer else ""
        raise RequestError(exc.message, pointer=place, hint=exc.hint) from exc
    except PayloadError as exc:
        raise PayloadError(exc.message, pointer=inputs + exc.pointer, hint=exc.hint) from exc
    except InputError as exc:
        raise InputError([_below(inputs, each) for each in exc.problems]) from exc
    except DefinitionError as exc:
        raise DefinitionError([_below(document, each) for each in exc.problems], name=exc.name) from exc


def _below(place: str, problem: Problem) -> Problem:
    return replace(problem, pointer=place + problem.pointer)


def seconds_of(text: str, pointer: str) -> float:
    """The seconds of a duration such as `30s`. Raises Refused with where it stands."""
    try:
        return parse_duration(text) / _MICROSECONDS
    except ValueError as exc:
        problem = Problem(pointer, "duration", str(exc))
        raise Refused(422, "request", f"{pointer}: {exc}", errors=[problem]) from exc


def instant_of(moment: datetime | None) -> int | None:
    """An instant in microseconds; without a zone it is UTC."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(aware.timestamp() * _MICROSECONDS)
