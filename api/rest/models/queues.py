"""Models of queues and limits."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..routing import Answer, Body
from .common import Instant, Reason, Why

__all__ = [
    "Entry",
    "Limit",
    "LimitNumbers",
    "LimitSettings",
    "Move",
    "Moved",
    "Purge",
    "Purged",
    "Queue",
    "QueueSettings",
    "QueueStatistics",
    "Removal",
    "Removed",
    "Reorder",
    "SettingsWish",
]


class Limit(Answer):
    """A counter of what runs at a time, and its numbers."""

    name: str = Field(description="What it counts; `*` is everything.", examples=["executor:http.request"])
    used: int = Field(description="How much is held now.")
    waiting: int = Field(description="How many tasks wait for it.")
    concurrency: int | None = Field(description="How much may be held at once; null: any amount.")
    rate: str | None = Field(description="How many begin in a time.", examples=["50/s"])
    burst: int | None = Field(description="How many of them at once.")
    set_by: str | None = Field(description="`explicit`: a person; `definition`; null: nobody.")


class LimitSettings(Answer):
    """The numbers that people have set for a counter."""

    name: str = Field(description="What it counts.", examples=["executor:http.request"])
    concurrency: int | None = Field(description="How much may be held at once; null: nobody has set it.")
    rate: str | None = Field(description="How many begin in a time.", examples=["50/s"])
    burst: int | None = Field(description="How many of them at once.")


class LimitNumbers(Body):
    """The numbers of a counter: all are given anew, what is not named is without a limit."""

    concurrency: int | None = Field(
        default=None, ge=0, description="How much may be held at once.", examples=[20]
    )
    rate: str | None = Field(default=None, description="How many begin in a time.", examples=["50/s"])
    burst: int | None = Field(default=None, ge=1, description="How many of them may begin at once.")


class Queue(Answer):
    """A queue at one moment."""

    name: str = Field(description="Its name.", examples=["mail"])
    state: str = Field(description="`active` or `paused`.")
    reason: str | None = Field(description="Why it is paused.")
    ready: int = Field(description="Tasks that can be taken.")
    running: int = Field(description="Tasks that run.")
    blocked: int = Field(description="Tasks that wait for a limit.")
    delayed: int = Field(description="Tasks that are tried again later, and starts that wait for their time.")
    oldest_at: Instant = Field(description="Since when the task that waits longest is ready.")
    oldest_s: float | None = Field(description="How many seconds that is.")
    max_size: int | None = Field(description="A start that would make it longer is refused with 429.")
    mark: int | None = Field(description="So many tasks are too many: `queue.high` tells.")
    above_since: Instant = Field(description="Since when it has held as many.")
    limit: Limit | None = Field(description="The counter `queue:NAME`, where there is one.")


class QueueSettings(Answer):
    """What people have set for a queue."""

    state: str = Field(description="`active` or `paused`.")
    reason: str | None = Field(description="Why it is paused.")
    max_size: int | None = Field(description="A start that would make it longer is refused with 429.")
    mark: int | None = Field(description="So many tasks are too many: `queue.high` tells.")


class SettingsWish(Body):
    """The settings of a queue: all are given anew."""

    state: Literal["active", "paused"] = Field(default="active", description="Is it taken?")
    reason: Reason = None
    max_size: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="null: any number.", examples=[1000]
    )
    mark: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="null: four fifths of its bound, if it has one."
    )


class Entry(Answer):
    """A task that stands in a queue, runs out of it, or will stand in it."""

    entry: str = Field(description="What moving and removing take: ID, or ID/PATH.")
    instance: str = Field(description="Id of its run.")
    path: str = Field(description="The task; empty for a start that waits for its time.")
    name: str = Field(description="Name of its run's definition.")
    queue: str | None = Field(description="Its queue.")
    executor: str | None = Field(description="What runs it.")
    state: str = Field(description="Its state.")
    priority: int = Field(description="Higher is taken first.")
    at: Instant = Field(description="Since when it is ready, blocked or running; until when it is delayed.")
    blocked_on: str | None = Field(description="The counter that it waits for.")


class Move(Body):
    """Where an entry shall stand."""

    entry: str = Field(
        min_length=1,
        max_length=4_000,
        description="ID, or ID/PATH where a run has several tasks in the queue.",
    )
    position: int = Field(default=0, ge=0, le=1_000, description="0 is the front.")


class Reorder(Body):
    """What comes first."""

    entries: list[str] = Field(
        min_length=1, max_length=1_000, description="In this order; the others follow as they stood."
    )


class Moved(Answer):
    """What has a new place."""

    moved: int = Field(description="How many entries have a new place.")
    ignored: list[str] = Field(description="Entries that were taken or ended meanwhile.")


class Removal(Why):
    """What is taken out of a queue."""

    entry: str = Field(
        min_length=1,
        max_length=4_000,
        description="ID, or ID/PATH where a run has several tasks in the queue.",
    )


class Removed(Answer):
    """What was taken out of a queue."""

    id: str = Field(description="The run, which is cancelled.")


class Purge(Why):
    """How a queue is cleared."""

    include_delayed: bool = Field(
        default=False, description="Also what is tried again later, or starts at a later time."
    )


class Purged(Answer):
    """What clearing a queue came to."""

    cancelled: int = Field(description="Runs that were cancelled.")
    left: int = Field(description="Tasks of larger runs, which stay.")
    refused: dict[str, str] = Field(description="Runs that could not be cancelled, and why.")


class QueueStatistics(Answer):
    """What the tasks of a queue came to."""

    since: Instant = Field(description="Since when tasks count; null: from the beginning.")
    figures: dict[str, Any] | None = Field(description="Counts and times; null when nothing has begun.")
    whole: bool = Field(description="False: there were more runs than were looked at; then the newest were.")
