"""Is everything well? Each check gives ok, warn or fail, what was found, and what to do about it.

Changes nothing. The checks of a database that cannot be opened are left out: the one that says why stands alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from ..engine.errors import EngineError
from ..engine.translate import engine_errors
from ..executors.registry import ExecutorRegistry
from ..repositories import health, migrate, views
from ..repositories.database import Database
from ..repositories.records import EngineRole, EngineState
from ..repositories.url import DatabaseUrl
from .checks import Check, Level, many
from .doctor_limits import check_limits
from .storage import check_postgres, check_sqlite

__all__ = ["diagnose"]

_OLD_S: Final = 60
_SKEW_WARN_S: Final = 1.0
_SKEW_FAIL_S: Final = 30.0
_PAGE: Final = 1_000


def diagnose(url: str, registry: ExecutorRegistry) -> Iterator[Check]:
    """Every check, in the order in which one would look."""
    yield from _plugins(registry)
    parsed = DatabaseUrl.parse(url)
    schema = _schema(parsed)
    yield schema
    if schema.level == "fail":
        return
    database = Database(parsed)
    try:
        yield _writable(database)
        yield from _storage(database)
        yield from _clock(database)
        yield from _work(database, registry)
        yield from check_limits(database)
    except EngineError as exc:
        yield Check(
            "database", "fail", exc.message, exc.hint or "Try again; the database went away meanwhile."
        )
    finally:
        database.close()


def _plugins(registry: ExecutorRegistry) -> Iterator[Check]:
    for problem in registry.problems:
        hint = "Repair or uninstall the package; its executors are missing until then."
        yield Check("plugins", "warn", f"{problem.source}: {problem.message}", hint)
    if not registry.problems:
        domains = sorted({entry.domain for entry in registry.list_executors()})
        yield Check("plugins", "ok", f"executors of {len(domains)} domains: {', '.join(domains)}")


def _schema(url: DatabaseUrl) -> Check:
    try:
        with engine_errors():
            status = migrate.check(url.text)
    except EngineError as exc:
        return Check("database", "fail", exc.message, exc.hint or "Check the URL, and that the server runs.")
    match status.state:
        case "current":
            return Check("database", "ok", f"{url.label} has schema {status.current}")
        case "newer":
            message = f"{url.label} has schema {status.current}, newer than this release's {status.head}"
            return Check("database", "fail", message, "Upgrade strataflow.")
        case _:
            found = f"schema {status.current}" if status.current else "no schema yet"
            hint = "Run `strataflow db upgrade`."
            return Check(
                "database", "fail", f"{url.label} has {found}, this release needs {status.head}", hint
            )


def _writable(database: Database) -> Check:
    try:
        with engine_errors(), database.write() as connection:
            health.probe_write(connection)
    except EngineError as exc:
        return Check("writable", "fail", exc.message, "Make the database writable for this user.")
    return Check("writable", "ok", "a write transaction was possible")


def _storage(database: Database) -> Iterator[Check]:
    with engine_errors(), database.read() as connection:
        if database.url.path is not None:
            yield from check_sqlite(database.url.path, health.sqlite_facts(connection))
        else:
            yield from check_postgres(health.postgres_facts(connection))


def _clock(database: Database) -> Iterator[Check]:
    if database.url.path is not None:
        return  # SQLite's clock is this machine's
    with engine_errors(), database.read() as connection:
        before = time.time()
        theirs = views.now(connection) / 1_000_000
        after = time.time()
    skew = max(0.0, before - theirs, theirs - after)
    message = f"this machine's clock and the database's differ by {skew:.1f} s"
    if skew < _SKEW_WARN_S:
        yield Check("clock", "ok", message)
    else:
        level: Level = "warn" if skew < _SKEW_FAIL_S else "fail"
        yield Check(
            "clock", level, message, "Let both synchronise with NTP; leases go by the database's clock."
        )


def _work(database: Database, registry: ExecutorRegistry) -> Iterator[Check]:
    with engine_errors(), database.read() as connection:
        now = views.now(connection)
        engines = [e for e in views.engines(connection, alive_only=True) if e.role is EngineRole.ENGINE]
        depths = views.queue_depths(connection)
        unfinished = views.unfinished_count(connection)
        held = views.interrupted(connection, _PAGE)
        known = {name for engine in engines for name in engine.executors}
        known |= {entry.name for entry in registry.list_executors()}
        missing = views.unclaimable(connection, known, now, _PAGE)
    silent = [e for e in engines if e.state is EngineState.ALIVE and e.lease_until < now]
    yield _engines(len(engines), len(silent), unfinished)
    yield _interrupted(len(held))
    yield _oldest(min((depth.oldest_ready_at for depth in depths), default=None), depths, now)
    yield _missing(sorted({task.executor for task in missing}))


def _engines(alive: int, silent: int, unfinished: int) -> Check:
    state = f"{many(alive - silent, 'engine')} alive, {many(unfinished, 'unfinished instance')}"
    if silent:
        hint = "Another engine takes over their work; start one with `strataflow worker`."
        return Check("engines", "warn", f"{state}, {many(silent, 'engine')} silent beyond the lease", hint)
    if unfinished and not alive:
        return Check("engines", "warn", state, "Nobody works on them: start `strataflow worker`.")
    return Check("engines", "ok", state)


def _interrupted(count: int) -> Check:
    if not count:
        return Check("interrupted", "ok", "no running task has lost its engine")
    more = "at least " if count == _PAGE else ""
    message = f"{more}{many(count, 'running task')} held by engines that are gone"
    return Check(
        "interrupted", "warn", message, "The next engine takes them up again: start `strataflow worker`."
    )


def _oldest(oldest: int | None, depths: Iterable[Any], now: int) -> Check:
    if oldest is None:
        return Check("queues", "ok", "no task waits for an engine")
    age = (now - oldest) / 1_000_000
    message = f"{many(sum(depth.ready for depth in depths), 'task')} ready, the oldest for {age:.0f} s"
    if age < _OLD_S:
        return Check("queues", "ok", message)
    names = ", ".join(sorted(depth.queue for depth in depths))
    return Check("queues", "warn", message, f"Start workers, or give them more --slots; queues: {names}.")


def _missing(names: list[str]) -> Check:
    if not names:
        return Check("executors", "ok", "every ready task has an executor")
    hint = "Install their packages where a worker runs, or name their module with --import."
    return Check("executors", "warn", f"ready tasks need executors that nobody has: {', '.join(names)}", hint)
