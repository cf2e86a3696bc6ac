"""Read models of what an instance keeps beside its tasks: history, logs, progress, payloads, variables, checkpoints.

`views.py` gives these functions out together with its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, func, select

from .batch import CheckpointRow, ProgressRow
from .feed import PROGRESS_LEVEL
from .readmodels import HistoryRow, LogEntry, chunks, columns_of, page_size, uuid_text
from .records import VarRow
from .tables import BLOBS, CHECKPOINTS, JOURNAL, LOGS, PROGRESS, VARS

__all__ = [
    "LEVELS",
    "blob",
    "blobs",
    "checkpoint",
    "history",
    "logs",
    "progress",
    "progress_lines",
    "progress_of",
    "vars",
]

#: Least severe first; a level that is none of these is shown only when no level is asked for.
LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def history(connection: Connection, instance_id: str, limit: int = 1000, after: int = 0) -> list[HistoryRow]:
    """Give a page of an instance's transitions, oldest first; `after` is the last `seq` seen."""
    page = (
        select(*columns_of(JOURNAL, HistoryRow))
        .where(JOURNAL.c.instance_id == uuid_text(instance_id), JOURNAL.c.seq > after)
        .order_by(JOURNAL.c.seq)
        .limit(page_size(limit))
    )
    return [HistoryRow(*row) for row in connection.execute(page)]


def logs(
    connection: Connection,
    instance_id: str,
    *,
    path: str | None = None,
    level: str | None = None,
    search: str | None = None,
    since: int | None = None,
    until: int | None = None,
    after: int = 0,
    limit: int = 1000,
) -> list[LogEntry]:
    """Give a page of an instance's log lines, oldest first, of one task and at least this level if named.

    What tasks said of their progress is not among them.
    `search` is a text that the line has, whatever the case of its ASCII letters; `since` and `until` are instants.

    Raises:
        ValueError: the level is none of `LEVELS`.
    """
    page = (
        select(*columns_of(LOGS, LogEntry))
        .where(LOGS.c.instance_id == uuid_text(instance_id), LOGS.c.seq > after)
        .order_by(LOGS.c.seq)
        .limit(page_size(limit))
    )
    if path is not None:
        page = page.where(LOGS.c.path == path)
    if level is None:
        page = page.where(LOGS.c.level != PROGRESS_LEVEL)
    else:
        if level not in LEVELS:
            raise ValueError(f"{level!r} is no log level; take one of {', '.join(LEVELS)}")
        page = page.where(LOGS.c.level.in_(LEVELS[LEVELS.index(level) :]))
    if search:
        page = page.where(func.lower(LOGS.c.message).contains(search.lower(), autoescape=True))
    if since is not None:
        page = page.where(LOGS.c.at >= since)
    if until is not None:
        page = page.where(LOGS.c.at <= until)
    return [LogEntry(*row) for row in connection.execute(page)]


def progress_lines(
    connection: Connection, instance_id: str, *, after: int = 0, limit: int = 1000
) -> list[LogEntry]:
    """Give a page of what an instance's tasks said of their progress, oldest first: `[fraction, message]` as JSON."""
    page = (
        select(*columns_of(LOGS, LogEntry))
        .where(
            LOGS.c.instance_id == uuid_text(instance_id), LOGS.c.seq > after, LOGS.c.level == PROGRESS_LEVEL
        )
        .order_by(LOGS.c.seq)
        .limit(page_size(limit))
    )
    return [LogEntry(*row) for row in connection.execute(page)]


def progress(
    connection: Connection, instance_id: str, *, limit: int = 1000, after: str | None = None
) -> list[ProgressRow]:
    """Give a page of what tasks last reported, in path order; `after` is the last path seen."""
    page = (
        select(*columns_of(PROGRESS, ProgressRow))
        .where(PROGRESS.c.instance_id == uuid_text(instance_id))
        .order_by(PROGRESS.c.path)
        .limit(page_size(limit))
    )
    if after is not None:
        page = page.where(PROGRESS.c.path > after)
    return [ProgressRow(*row) for row in connection.execute(page)]


def progress_of(connection: Connection, instance_id: str, path: str) -> ProgressRow | None:
    """Give what one task last reported."""
    told = select(*columns_of(PROGRESS, ProgressRow)).where(
        PROGRESS.c.instance_id == uuid_text(instance_id), PROGRESS.c.path == path
    )
    row = connection.execute(told).first()
    return None if row is None else ProgressRow(*row)


def blob(connection: Connection, instance_id: str, key: str) -> str | None:
    """Give one payload that is kept apart."""
    return blobs(connection, instance_id, [key]).get(key)


def blobs(connection: Connection, instance_id: str, keys: Iterable[str]) -> dict[str, str]:
    """Give the payloads with these keys that exist, by key."""
    found: dict[str, str] = {}
    owned = select(BLOBS.c.key, BLOBS.c.body).where(BLOBS.c.instance_id == uuid_text(instance_id))
    for part in chunks(keys):
        found.update({row.key: row.body for row in connection.execute(owned.where(BLOBS.c.key.in_(part)))})
    return found


def vars(  # noqa: A001 - the table's name
    connection: Connection, instance_id: str, scope: str, names: Iterable[str]
) -> dict[str, VarRow]:
    """Give the variables of one scope with these names that have been set, by name: of each, what was written last."""
    found: dict[str, VarRow] = {}
    owned = select(*columns_of(VARS, VarRow)).where(
        VARS.c.instance_id == uuid_text(instance_id), VARS.c.scope == scope
    )
    for part in chunks(names):
        for row in connection.execute(owned.where(VARS.c.name.in_(part)).order_by(VARS.c.rev)):
            found[row.name] = VarRow(*row)
    return found


def checkpoint(connection: Connection, instance_id: str, path: str) -> CheckpointRow | None:
    """Give what a task saved for its next attempt."""
    saved = select(*columns_of(CHECKPOINTS, CheckpointRow)).where(
        CHECKPOINTS.c.instance_id == uuid_text(instance_id), CHECKPOINTS.c.path == path
    )
    row = connection.execute(saved).first()
    return None if row is None else CheckpointRow(*row)
