"""Limits as people operate them: counters with what they hold and who waits, and the numbers that people set.

A counter is named by what it counts: `*` is everything, `queue:mail`, `executor:http.request`, `definition:billing`,
`node:billing/charge`, `group:bank-api`, `pool:gpu`, `mutex:ledger`. Its numbers come from a person or, else, from the
definition of the task that takes it; those are known only while a task holds it or waits for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from ..engine.errors import RequestError
from ..engine.fields import rate_of
from ..engine.limits import NO_CONTROL, Want, counters_of
from ..engine.rows import node_of
from ..engine.translate import engine_errors
from ..repositories import control_store, limitviews, queueviews
from ..repositories.records import LimitRow, TaskRow
from .hints import tell_engines

if TYPE_CHECKING:
    from ..engine.catalog import Catalog
    from ..engine.workflow_engine import WorkflowEngine
    from ..repositories.database import Database

__all__ = ["KINDS", "LimitService", "LimitView", "checked_counter", "numbers_of", "rate_text", "wants_of"]

#: What stands before the colon of a counter's name.
KINDS: Final = ("queue", "executor", "definition", "node", "group", "pool", "mutex")
#: Rows that are looked at for the numbers that definitions say.
_LOOK: Final = 1_000
_LONGEST: Final = 512
_HIGHEST: Final = 2**31 - 1
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_DOTTED: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
_PERIODS: Final = {86_400_000_000: "d", 3_600_000_000: "h", 60_000_000: "m", 1_000_000: "s"}
_UNITS: Final = (*_PERIODS.items(), (1_000, "ms"))
#: By kind: what the rest of the name must look like, and how to say it.
_RESTS: Final = {
    "queue": (_PLAIN, "the name of a queue: `queue:mail`"),
    "executor": (_DOTTED, "the name of an executor: `executor:http.request`"),
    "definition": (
        re.compile(r"[A-Za-z0-9_.-]{1,200}"),
        "the name of a definition: `definition:billing.nightly`",
    ),
    "node": (re.compile(r"[^/]+/.+", re.DOTALL), "definition and node: `node:billing/charge`"),
    "group": (_PLAIN, "the name of a group: `group:bank-api`"),
    "pool": (_PLAIN, "the name of a pool: `pool:gpu`"),
    "mutex": (re.compile(r".+", re.DOTALL), "the text of a mutex: `mutex:ledger`"),
}


@dataclass(slots=True, frozen=True)
class LimitView:
    """One counter at one moment."""

    name: str
    used: int
    waiting: int
    #: How much may be held at once; None = any amount.
    concurrency: int | None
    #: How many begin in a time, `50/s`, and how many of them at once.
    rate: str | None
    burst: int | None
    #: `explicit`: a person set the numbers. `definition`: a definition says them. None: nobody, as far as is known.
    set_by: Literal["explicit", "definition"] | None

    def as_json(self) -> dict[str, Any]:
        """As the command line and the API give it."""
        return asdict(self)


class LimitService:
    """The counters of one database."""

    def __init__(
        self, database: Database, catalog: Catalog | None = None, engine: WorkflowEngine | None = None
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._engine = engine

    def list(self, *, kind: str | None = None, after: str = "", limit: int = _LOOK) -> list[LimitView]:
        """Counters that people have set, that are in use, or were until lately, by name; `after` is the last seen."""
        if kind is not None and kind not in KINDS:
            raise RequestError(
                f"there is no kind of counter {kind!r}.", hint=f"Take one of {', '.join(KINDS)}."
            )
        with engine_errors(), self._database.read() as connection:
            rows = queueviews.counters(connection, after=after, limit=limit, kind=kind)
            tasks: list[tuple[str, TaskRow]] = []
            if self._catalog is not None and any(not row.explicit for row in rows):
                tasks = queueviews.holding_tasks(connection, limit=_LOOK)
                tasks += queueviews.blocked_tasks(connection, _LOOK)
        wants = wants_of(self._catalog, tasks)
        return [numbers_of(row, wants.get(row.name)) for row in rows]

    def get(self, name: str) -> LimitView | None:
        """One counter; None when nobody has set it and nothing uses it."""
        name = checked_counter(name)
        with engine_errors(), self._database.read() as connection:
            row = limitviews.limit(connection, name)
            tasks: list[tuple[str, TaskRow]] = []
            if row is not None and not row.explicit and self._catalog is not None:
                tasks = queueviews.holding_tasks(connection, name, limit=1)
                tasks += queueviews.blocked_tasks(connection, _LOOK)
        return None if row is None else numbers_of(row, wants_of(self._catalog, tasks).get(name))

    def set(
        self,
        name: str,
        *,
        concurrency: int | None = None,
        rate: str | None = None,
        burst: int | None = None,
    ) -> LimitView:
        """Give a counter numbers, which count from the next claim on and override what definitions say.

        All numbers are given anew: what is not named is without a limit.
        """
        name = checked_counter(name)
        if concurrency is None and rate is None:
            raise RequestError("a limit needs a number.", hint="Give concurrency, rate (`50/s`), or both.")
        if concurrency is not None and not 0 <= concurrency <= _HIGHEST:
            raise RequestError(
                f"concurrency is a whole number from 0 to {_HIGHEST}, not {concurrency}.",
                hint="Without a limit: `strataflow limits unset`.",
            )
        if name.startswith("pool:") and concurrency is None:
            raise RequestError(f"{name} needs a size.", hint="Give concurrency: how much there is of it.")
        found = _rate(rate, burst)
        with engine_errors():
            row = control_store.set_limit(self._database, name, concurrency=concurrency, rate=found)
        tell_engines(self._database, self._engine)
        return numbers_of(row, None)

    def unset(self, name: str) -> bool:
        """Take a person's numbers back: what definitions say counts again. False when nobody had set it."""
        with engine_errors():
            gone = control_store.unset_limit(self._database, checked_counter(name))
        tell_engines(self._database, self._engine)
        return gone


def checked_counter(name: str) -> str:
    """The name of a counter, as it is stored. Raises RequestError with what it should look like."""
    if name == "*":
        return name
    kind, colon, rest = name.partition(":")
    if not colon or kind not in _RESTS:
        shown = ", ".join(f"`{each}:…`" for each in KINDS)
        raise RequestError(f"{name!r} names no counter.", hint=f"A counter is `*` (everything), {shown}.")
    pattern, example = _RESTS[kind]
    if len(name) > _LONGEST or not name.isprintable() or not pattern.fullmatch(rest):
        raise RequestError(f"{name!r} names no counter.", hint=f"After `{kind}:` stands {example}.")
    return name


def _rate(text: str | None, burst: int | None) -> tuple[int, int, int] | None:
    if text is None:
        if burst is not None:
            raise RequestError("burst goes with a rate.", hint="Give rate, too: `50/s`.")
        return None
    if burst is not None and not 1 <= burst <= _HIGHEST:
        raise RequestError(
            f"burst is a whole number from 1 to {_HIGHEST}, not {burst}.",
            hint="1 spreads them evenly.",
        )
    try:
        count, period = rate_of(text)
    except ValueError as exc:
        raise RequestError(
            f"{exc}.", hint="Give at least one in some time; concurrency 0 lets nothing begin."
        ) from exc
    return count, period, burst or 1


def rate_text(count: int, period: int) -> str:
    """A rate as people write it: `50/s`, `100/10s`."""
    if period in _PERIODS:
        return f"{count}/{_PERIODS[period]}"
    size, unit = next(((size, unit) for size, unit in _UNITS if period % size == 0), (1, "us"))
    return f"{count}/{period // size}{unit}"


def numbers_of(row: LimitRow, want: Want | None) -> LimitView:
    """A counter with its numbers: a person's, else those of a task that takes it."""
    if row.explicit:
        text = None
        if row.rate_count is not None and row.rate_period is not None:
            text = rate_text(row.rate_count, row.rate_period)
        burst = row.burst if text else None
        return LimitView(row.name, row.used, row.waiting, row.concurrency, text, burst, "explicit")
    if want is None or (want.concurrency is None and want.rate is None):
        return LimitView(row.name, row.used, row.waiting, None, None, None, None)
    text = rate_text(want.rate.count, want.rate.period) if want.rate else None
    burst = want.rate.burst if want.rate else None
    return LimitView(row.name, row.used, row.waiting, want.concurrency, text, burst, "definition")


def wants_of(catalog: Catalog | None, tasks: Iterable[tuple[str, TaskRow]]) -> dict[str, Want]:
    """What the definitions of these tasks say of the counters that the tasks take, by counter."""
    found: dict[str, Want] = {}
    if catalog is None:
        return found
    for definition_id, row in tasks:
        plan = catalog.plan(definition_id)
        for want in counters_of(plan, node_of(plan, row), row, NO_CONTROL):
            found.setdefault(want.name, want)
    return found
