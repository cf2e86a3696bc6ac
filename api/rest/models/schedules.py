"""Models of schedules, triggers and events."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from ..routing import Answer, Body
from .common import Instant

__all__ = [
    "Backfill",
    "Emitted",
    "Emitting",
    "Event",
    "Fire",
    "Firing",
    "NewSchedule",
    "NewTrigger",
    "Schedule",
    "ScheduleWish",
    "Trigger",
    "TriggerWish",
    "Upcoming",
]


class ScheduleWish(Body):
    """What a schedule says: exactly one of `cron`, `every_s` and `at`. Times without a zone are UTC."""

    definition: str = Field(
        max_length=300, description="`name` for the active version, or `name@3`.", examples=["billing"]
    )
    cron: str | None = Field(
        default=None,
        max_length=300,
        description="Five fields, or @daily and the like.",
        examples=["15 2 * * *"],
    )
    every_s: float | None = Field(default=None, allow_inf_nan=False, description="An interval, in seconds.")
    at: datetime | None = Field(default=None, description="Once.")
    timezone: str = Field(default="UTC", max_length=100, description="For `cron`.", examples=["Europe/Paris"])
    overlap: Literal["allow", "skip", "queue", "cancel"] = Field(
        default="allow", description="While the last run goes on."
    )
    misfire: Literal["skip", "latest", "all"] = Field(
        default="latest", description="Instants that were missed."
    )
    catch_up: int = Field(default=100, ge=1, le=10_000, description="Most that misfire `all` starts.")
    jitter_s: float = Field(default=0.0, allow_inf_nan=False, description="Start up to so much later.")
    cooldown_s: float = Field(
        default=0.0, allow_inf_nan=False, description="Skip an instant so soon after the last start."
    )
    start_at: datetime | None = Field(default=None, description="Not before this.")
    end_at: datetime | None = Field(default=None, description="Not after this.")
    inputs: Any = Field(
        default=None,
        description="May read `instance.scheduled_for` in its texts.",
        examples=[{"day": "{{ instance.scheduled_for }}"}],
    )
    queue: str | None = Field(default=None, description="For tasks that say none.")
    priority: int | None = Field(default=None, description="For tasks that say none; higher runs first.")


class NewSchedule(ScheduleWish):
    """A schedule to make, or to look at."""

    name: str = Field(max_length=300, description="Its name.", examples=["nightly"])


class Schedule(Answer):
    """What starts a definition at given times."""

    name: str = Field(description="Its name.")
    definition: str = Field(description="What it starts: `name`, or `name@3`.")
    state: str = Field(description="`active`, `paused` or `ended`.")
    cron: str | None = Field(description="Five fields.")
    every_s: float | None = Field(description="An interval, in seconds.")
    at: Instant
    timezone: str = Field(description="For `cron`.")
    overlap: str = Field(description="While the last run goes on: `allow`, `skip`, `queue`, `cancel`.")
    misfire: str = Field(description="Instants that were missed: `skip`, `latest`, `all`.")
    catch_up: int = Field(description="Most that misfire `all` starts.")
    jitter_s: float = Field(description="Starts up to so much later.")
    cooldown_s: float = Field(description="Skips an instant so soon after the last start.")
    start_at: Instant = Field(description="Not before this.")
    end_at: Instant = Field(description="Not after this.")
    inputs: Any = Field(description="What its runs are given.")
    queue: str | None = Field(description="For tasks that say none.")
    priority: int | None = Field(description="For tasks that say none.")
    next_at: Instant = Field(description="When it fires next; null: never, as it stands.")
    runs: int = Field(description="How many runs it has started.")
    skips: int = Field(description="How many instants it has let go.")
    problem: str | None = Field(description="Why it could not start, or why it is paused.")
    origin: str = Field(description="`api`, or `definition`: it belongs to its definition.")
    created_at: Instant
    updated_at: Instant


class Upcoming(Answer):
    """When it fires."""

    instants: list[str] = Field(description="ISO 8601 in UTC, the next first.")


class Firing(Answer):
    """What became of one instant of a schedule."""

    at: Instant = Field(description="The instant.")
    kind: str = Field(description="`timer`, `manual` or `backfill`.")
    outcome: str = Field(description="`started`, `skipped` or `missed`.")
    instance: str | None = Field(description="The run that it started.")
    fired_at: Instant = Field(description="When it was decided.")
    reason: str | None = Field(description="Why nothing was started.")


class Fire(Body):
    """How a schedule is fired by hand."""

    force: bool = Field(default=False, description="Whatever its overlap policy says.")


class Backfill(Body):
    """Which instants are fired that have not fired."""

    start: datetime = Field(description="The first, included.")
    end: datetime = Field(description="The last, included.")


class TriggerWish(Body):
    """What a trigger says."""

    pattern: str = Field(
        min_length=1, max_length=512, description="Event names, with `*` and `?`.", examples=["order.*"]
    )
    definition: str = Field(
        max_length=300, description="`name` for the active version, or `name@3`.", examples=["billing"]
    )
    match: str | None = Field(
        default=None,
        max_length=10_000,
        description="An expression on `event`: name, payload, id, at. null: every event.",
        examples=["{{ event.payload.amount > 1000 }}"],
    )
    inputs: Any = Field(
        default=None,
        description="May read `event` in its texts.",
        examples=[{"order": "{{ event.payload.id }}"}],
    )
    queue: str | None = Field(default=None, description="For tasks that say none.")
    priority: int | None = Field(default=None, description="For tasks that say none; higher runs first.")


class NewTrigger(TriggerWish):
    """A trigger to make."""

    name: str = Field(max_length=300, description="Its name.", examples=["big-orders"])


class Trigger(Answer):
    """What starts a definition when an event comes."""

    name: str = Field(description="Its name.")
    pattern: str = Field(description="Event names, with `*` and `?`.")
    definition: str = Field(description="What it starts: `name`, or `name@3`.")
    state: str = Field(description="`active` or `paused`.")
    match: str | None = Field(description="An expression on `event`; null: every event.")
    inputs: Any = Field(description="What its runs are given.")
    queue: str | None = Field(description="For tasks that say none.")
    priority: int | None = Field(description="For tasks that say none.")
    runs: int = Field(description="How many runs it has started.")
    problem: str | None = Field(description="Why it could not start one last time.")
    created_at: Instant
    updated_at: Instant


class Event(Body):
    """Something that has happened."""

    name: str = Field(min_length=1, max_length=512, description="Its name.", examples=["order.paid"])
    payload: Any = Field(default=None, description="What triggers read.", examples=[{"id": 7}])
    id: str | None = Field(
        default=None, min_length=1, max_length=512, description="The same id again starts nothing again."
    )


class Emitted(Answer):
    """What an event came to at one trigger."""

    trigger: str = Field(description="The trigger's name.")
    status: str = Field(description="`started`, `existing`, `unmatched` or `failed`.")
    instance: str | None = Field(description="The run.")
    problem: str | None = Field(description="Why it could not start.")


class Emitting(Answer):
    """What an event came to."""

    items: list[Emitted] = Field(description="Each trigger whose pattern fits its name.")
