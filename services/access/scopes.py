"""Scopes: `verb:resource`, either of them `*`. What a route needs is one; what a key has is a list.

Nothing follows from anything else: who may start runs may not read them unless the key says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from ...engine.errors import InputError, Problem

__all__ = ["RESOURCES", "VERBS", "Need", "allows", "checked_scopes", "exceeding"]

#: What one may do. `read` changes nothing; `start` begins runs; `operate` changes what runs (cancel, retry, signal, …);
#: `define` changes definitions; `schedule` changes what starts by itself; `admin` changes everything else.
VERBS: Final = ("read", "start", "operate", "define", "schedule", "admin")
#: What one may do it to.
RESOURCES: Final = (
    "definitions",
    "instances",
    "tasks",
    "logs",
    "events",
    "webhooks",
    "alerts",
    "secrets",
    "schedules",
    "triggers",
    "queues",
    "limits",
    "executors",
    "engines",
    "statistics",
    "keys",
    "audit",
)


@dataclass(slots=True, frozen=True)
class Need:
    """What a route asks of its caller."""

    verb: str
    resource: str

    def __post_init__(self) -> None:
        if self.verb not in VERBS or self.resource not in RESOURCES:
            raise ValueError(f"there is no scope {self}")

    def __str__(self) -> str:
        return f"{self.verb}:{self.resource}"


def allows(scopes: Iterable[str], need: Need) -> bool:
    """Does one of these scopes cover the need?"""
    return any(
        scope in {f"{need.verb}:{need.resource}", f"{need.verb}:*", f"*:{need.resource}", "*:*"}
        for scope in scopes
    )


def exceeding(wanted: Iterable[str], held: Iterable[str]) -> tuple[str, ...]:
    """The scopes that reach further than those held: nobody gives away what they do not have."""
    own = [tuple(scope.split(":")) for scope in held]
    return tuple(
        scope
        for scope in wanted
        if not any(
            verb in {"*", scope.partition(":")[0]} and resource in {"*", scope.partition(":")[2]}
            for verb, resource in own
        )
    )


def checked_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """The scopes of a new key, sorted. Raises InputError for one that no route could need."""
    found = tuple(sorted(set(scopes)))
    problems = [
        problem for number, scope in enumerate(found) if (problem := _problem(number, scope)) is not None
    ]
    if not found:
        problems.append(Problem("/scopes", "required", "a key needs a scope", "Such as read:*."))
    if problems:
        raise InputError(problems)
    return found


def _problem(number: int, scope: str) -> Problem | None:
    verb, _, resource = scope.partition(":")
    if verb in (*VERBS, "*") and resource in (*RESOURCES, "*"):
        return None
    known = [f"{verb}:{resource}" for verb in (*VERBS, "*") for resource in (*RESOURCES, "*")]
    close = get_close_matches(scope, known, n=1)
    hint = (
        f"Did you mean {close[0]}?"
        if close
        else f"Verbs: {', '.join(VERBS)}; resources: {', '.join(RESOURCES)}."
    )
    return Problem(f"/scopes/{number}", "unknown_scope", f"there is no scope {scope!r}", hint)
