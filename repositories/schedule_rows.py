"""Schedules, firings and triggers as the engine sees them; the columns are those of `control_tables.py`, in order."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

__all__ = ["SCHEDULE_COLUMNS", "FiringRow", "ScheduleRow", "TriggerRow"]


@dataclass(slots=True, frozen=True)
class ScheduleRow:
    """What starts a definition at given times; instants and durations in microseconds."""

    id: str
    name: str
    definition: str
    version: int | None
    origin: str
    state: str
    cron: str | None
    every: int | None
    at: int | None
    timezone: str
    overlap: str
    misfire: str
    catch_up: int
    jitter: int
    #: An instant so soon after the last start is skipped.
    cooldown: int
    start_at: int | None
    end_at: int | None
    inputs: str | None
    queue: str | None
    priority: int | None
    fired_until: int
    next_at: int | None
    runs: int
    skips: int
    problem: str | None
    created_at: int
    updated_at: int


@dataclass(slots=True, frozen=True)
class FiringRow:
    """What became of one instant of one schedule."""

    schedule_id: str
    at: int
    #: `timer`, `manual`, `backfill`.
    kind: str
    #: `started`, `skipped`, `missed`.
    outcome: str
    instance_id: str | None
    fired_at: int
    reason: str | None = None


@dataclass(slots=True, frozen=True)
class TriggerRow:
    """What starts a definition when an event of a matching name is emitted."""

    id: str
    name: str
    pattern: str
    match: str | None
    definition: str
    version: int | None
    inputs: str | None
    state: str
    queue: str | None
    priority: int | None
    runs: int
    problem: str | None
    created_at: int
    updated_at: int


SCHEDULE_COLUMNS: Final = tuple(f.name for f in fields(ScheduleRow))
