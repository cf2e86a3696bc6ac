"""Answers about the process and what it serves."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..routing import Answer

__all__ = ["Engine", "Event", "Events", "Executor", "Health", "Live", "Pool", "Ready", "Version"]


class Live(Answer):
    """The process answers."""

    status: Literal["ok"]


class Ready(Answer):
    """Whether the process can do its work; all but `status` is for callers with a key."""

    status: Literal["ok", "degraded", "not ready"]
    reachable: bool | None = Field(default=None, description="Does the database of the key answer?")
    loops: dict[str, float] | None = Field(default=None, description="Seconds since each loop came round.")
    stuck: list[str] | None = Field(default=None, description="Loops that have not for too long.")


class Version(Answer):
    """A release."""

    version: str = Field(examples=["0.1.0"])
    schema_: str = Field(alias="schema", description="The schema that it needs.", examples=["0007"])


class Pool(Answer):
    """Database connections."""

    used: int
    most: int


class Health(Answer):
    """How a process stands in one namespace."""

    status: Literal["ok", "degraded", "not ready"] = Field(
        description="`degraded`: a critical alert is open; `not ready`: it cannot do its work."
    )
    version: str
    schema_: str = Field(alias="schema", description="The schema that the release needs.")
    database: str = Field(description="Where the database is.")
    reachable: bool
    answer_s: float | None = Field(description="Seconds until it answered.")
    problem: str | None = Field(description="What it said where it did not.")
    loops: dict[str, float] = Field(description="Seconds since each loop of the process came round.")
    stuck: list[str] = Field(description="Those that have not for too long.")
    pools: dict[str, Pool] = Field(description="Connections of the process.")
    engine: str | None = Field(description="Under which id the process stands among the engines.")
    executes: bool = Field(description="Does it execute tasks?")
    engines: int = Field(description="Engines that live and execute.")
    alerts: dict[str, int] = Field(description="Open alerts by severity, of the newest thousand.")


class Engine(Answer):
    """A process that executes or writes."""

    id: str
    role: Literal["engine", "client"]
    state: Literal["alive", "dead", "stopped"]
    host: str
    pid: int
    release: str
    slots: int
    executors: list[str]
    lease_until: str | None
    started_at: str | None
    ended_at: str | None
    batch: int = Field(description="Number of its last transaction.")
    boot_id: str | None
    lock_file: str | None


class Executor(Answer):
    """Something that a node may run."""

    name: str = Field(examples=["core.noop"])
    description: str | None
    config_schema: Any = Field(description="JSON Schema of `with`; null where this process does not know it.")
    health: str | None = Field(description="`ok`, or what is wrong; null: not asked, or it has no check.")
    engines: int = Field(description="How many live engines have it.")
    engine_ids: list[str] = Field(description="Which.")


class Event(Answer):
    """One thing that happened."""

    seq: int = Field(description="Its place in the feed; the cursor to go on from.")
    name: str = Field(examples=["instance.completed"])
    at: str
    instance_id: str | None
    definition: str | None
    queue: str | None
    path: str | None = Field(description="The task; null for what is no task's.")
    attempt: int
    from_state: str | None
    state: str | None
    reason: str
    engine: str | None = Field(description="The engine that wrote it, or that it is about.")
    data: dict[str, Any] | None


class Events(Answer):
    """Events in order."""

    items: list[Event]
    next: str = Field(description="Give it as `after` to go on, now or later.")
    more: bool = Field(description="There is more already.")
    lost: int = Field(description="Events up to this number were deleted before they could be read; 0: none.")
