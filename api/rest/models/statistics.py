"""Models of statistics."""

from __future__ import annotations

from pydantic import Field

from ..routing import Answer
from .common import Instant

__all__ = ["Restarted", "Statistics"]


class Figures(Answer):
    """What the tasks of a queue came to: those of executors that have begun."""

    queue: str = Field(description="The queue's name; `*` is all of them.", examples=["mail"])
    started: int = Field(description="Tasks that have begun.")
    attempts: int = Field(description="Their attempts.")
    running: int = Field(description="Tasks that run now.")
    completed: int = Field(description="Tasks that completed.")
    failed: int = Field(description="Tasks that failed.")
    cancelled: int = Field(description="Tasks that were cancelled.")
    expired: int = Field(description="Tasks that expired.")
    retried: int = Field(description="How often one was put back to be tried again.")
    timed_out: int = Field(description="Attempts that a time limit ended.")
    mean_s: float | None = Field(description="Mean seconds of the last attempts of what has ended.")
    p95_s: float | None = Field(description="Seconds within which 95 % of them ended.")
    last_5: int = Field(description="Tasks that ended within the last 5 minutes.")
    last_15: int = Field(description="Tasks that ended within the last 15 minutes.")
    last_60: int = Field(description="Tasks that ended within the last hour.")


class Load(Answer):
    """An engine that is alive, and how much of it is in use."""

    id: str = Field(description="Its id.")
    host: str = Field(description="Where it runs.")
    pid: int = Field(description="Its process.")
    slots: int = Field(description="Tasks that it runs at a time.")
    used: int = Field(description="Tasks that it runs now.")
    started_at: Instant
    lease_until: Instant = Field(description="Until when it counts as alive.")


class Statistics(Answer):
    """Everything at one moment."""

    since: Instant = Field(description="Since when tasks count; null: from the beginning.")
    total: Figures = Field(description="All queues together.")
    queues: list[Figures] = Field(description="Each queue.")
    runs: dict[str, int] = Field(description="Runs by state, of those made since then.")
    engines: list[Load] = Field(description="Engines that are alive.")
    whole: bool = Field(description="False: there were more runs than were looked at; then the newest were.")


class Restarted(Answer):
    """Since when tasks count."""

    since: str = Field(description="The instant.", examples=["2026-11-20T09:30:00.000000Z"])
