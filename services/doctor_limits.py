"""Are limits and queues in order? For `doctor`: pools nobody sized, queues left paused, counters that are wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from ..engine.limits import RATE, held_by
from ..engine.translate import engine_errors
from ..repositories import limitviews, queueviews, views
from .checks import Check, many

if TYPE_CHECKING:
    from ..repositories.database import Database
    from ..repositories.records import LimitRow

__all__ = ["check_limits"]

_PAGE: Final = 1_000
#: Tasks that hold or wait for counters; of more it is not said whether their sums are right.
_MOST: Final = 50_000
#: Counters change while they are added up: what differs once is looked at again.
_TRIES: Final = 3


def check_limits(database: Database) -> Iterator[Check]:
    """Three checks: `pools`, `paused`, `counters`."""
    with engine_errors(), database.read() as connection:
        yield _pools(connection)
        yield _paused(connection)
    with engine_errors():
        yield _counters(database)


def _pools(connection: Any) -> Check:
    rows = queueviews.counters(connection, kind="pool", limit=_PAGE)
    unsized = {row.name: row.waiting for row in rows if row.waiting and not row.explicit}
    if not unsized:
        return Check("pools", "ok", "no task waits for a pool that nobody has sized")
    names = ", ".join(unsized)
    hint = f"Say how large: `strataflow limits set {next(iter(unsized))} --concurrency N`."
    message = f"{many(sum(unsized.values()), 'task')} wait for pools that nobody has sized: {names}"
    return Check("pools", "warn", message, hint)


def _paused(connection: Any) -> Check:
    rows = [row for row in limitviews.queues(connection) if row.state == "paused"]
    if not rows:
        return Check("paused", "ok", "no queue is paused")
    counts = queueviews.queue_counts(connection, views.now(connection))
    waiting = {row.name: each.ready + each.blocked for row in rows if (each := counts.get(row.name))}
    stuck = [row for row in rows if waiting.get(row.name)]
    if not stuck:
        return Check("paused", "ok", f"{many(len(rows), 'queue')} paused, nothing waits in them")
    said = "; ".join(
        f"{row.name} ({row.reason or 'no reason given'}): {many(waiting[row.name], 'task')}" for row in stuck
    )
    hint = f"When that is over: `strataflow queues resume {stuck[0].name}`."
    return Check("paused", "warn", f"tasks wait in queues that are paused: {said}", hint)


def _counters(database: Database) -> Check:
    wrong: dict[str, str] = {}
    for _ in range(_TRIES):
        found = _differing(database)
        if found is None:
            return Check("counters", "ok", f"more than {_MOST:,} tasks use counters: they were not added up")
        wrong = {name: text for name, text in found.items() if not wrong or name in wrong}
        if not wrong:
            return Check("counters", "ok", "counters of limits say what tasks hold")
    said = "; ".join(list(wrong.values())[:5])
    hint = "This is a defect of the engine; please report it with `strataflow doctor --json`."
    return Check("counters", "warn", f"counters differ from what tasks hold: {said}", hint)


def _differing(database: Database) -> dict[str, str] | None:
    """Counters that were the same before and after their tasks were read, and are not their sum."""
    with database.read() as connection:
        before = _all(connection)
        used, waiting = Counter[str](), Counter[str]()
        rows, after = 0, None
        while True:
            page = queueviews.holding_tasks(connection, limit=_PAGE, after=after)
            for _, row in page:
                used.update(dict(held_by(row)))
            rows += len(page)
            if len(page) < _PAGE or rows > _MOST:
                break
            after = page[-1][1].instance_id, page[-1][1].path
        blocked = queueviews.blocked_counts(connection)
        if rows > _MOST:
            return None
        for name, count in blocked.items():
            waiting[name.removeprefix(RATE)] += count
    with database.read() as connection:
        later = _all(connection)
    return {
        name: f"{name} counts {row.used} held and {row.waiting} waiting, tasks say {used[name]} and {waiting[name]}"
        for name, row in before.items()
        if later.get(name) == row and (row.used, row.waiting) != (used[name], waiting[name])
    }


def _all(connection: Any) -> dict[str, LimitRow]:
    found: dict[str, LimitRow] = {}
    after = ""
    while True:
        page = queueviews.counters(connection, after=after, limit=_PAGE)
        found |= {row.name: row for row in page}
        if len(page) < _PAGE or len(found) > _MOST:
            return found
        after = page[-1].name
