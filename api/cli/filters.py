"""Options that say which instances a list or a bulk operation means."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import UsageProblem

if TYPE_CHECKING:
    from ...repositories.filters import InstanceFilter

__all__ = ["Created", "Labels", "Name", "State", "filter_of", "labels_of"]

State = Annotated[
    list[str] | None,
    typer.Option("--state", metavar="STATE", help="Only in this state; may be repeated."),
]
Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Only of this definition.")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="Only with this label; may be repeated."),
]
Created = Annotated[
    str | None, typer.Option("--older", metavar="DURATION", help="Only created longer ago than this: 7d.")
]


def labels_of(pairs: list[str] | None) -> dict[str, str]:
    """Labels from `name=value` texts. Raises UsageProblem."""
    found: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageProblem(f"--label {pair!r} is no label.", hint="Write --label team=core.")
        found[name] = value
    return found


def filter_of(
    states: list[str] | None, name: str | None, labels: list[str] | None, *, older: float | None = None
) -> InstanceFilter:
    """The filter that options describe. Raises UsageProblem."""
    from ...repositories.filters import InstanceFilter
    from ...repositories.records import InstanceState

    known = {state.value: state for state in InstanceState}
    for state in states or ():
        if state not in known:
            raise UsageProblem(f"--state: there is no state {state!r}; take one of {', '.join(known)}.")
    return InstanceFilter(
        states=frozenset(known[state] for state in states or ()),
        name=name,
        labels=labels_of(labels),
        created_before=None if older is None else int((time.time() - older) * 1_000_000),
    )
