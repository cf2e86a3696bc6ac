"""Parameters that say which runs or tasks a call means, and why something is done."""

from __future__ import annotations

import time
from typing import Annotated, Final

from fastapi import Query

from ....engine.errors import Problem
from ..problems import Refused
from ..routing import Called, seconds_of

__all__ = ["TAG", "Label", "Tag", "before_of", "labels_of", "tags_of", "why_of"]

#: What stands before a tag as the name of a label.
TAG: Final = "tag:"
Label = Annotated[
    list[str] | None,
    Query(description="NAME=VALUE; all of them must hold.", examples=[["team=core"]], max_length=50),
]
Tag = Annotated[
    list[str] | None, Query(description="Only with these tags.", examples=[["nightly"]], max_length=50)
]


def labels_of(texts: list[str] | None) -> dict[str, str]:
    """Labels from `NAME=VALUE` texts. Raises Refused."""
    found: dict[str, str] = {}
    for number, text in enumerate(texts or ()):
        name, equals, value = text.partition("=")
        if not equals or not name:
            problem = Problem(f"/query/label/{number}", "label", f"{text!r} is not NAME=VALUE")
            raise Refused(422, "request", f"/query/label: {text!r} is not NAME=VALUE.", errors=[problem])
        found[name] = value
    return found


def tags_of(tags: list[str] | None) -> tuple[str, ...]:
    """The names of the labels that these tags are."""
    return tuple(f"{TAG}{tag}" for tag in tags or ())


def before_of(older: str, pointer: str) -> int:
    """The instant so long ago, in microseconds. Raises Refused."""
    return int((time.time() - seconds_of(older, pointer)) * 1_000_000)


def why_of(caller: Called, reason: str | None, what: str) -> str:
    """A reason with the name of the key: others will read it."""
    who = caller.principal.who
    return f"{reason} ({who})" if reason else f"{what} by {who}"
