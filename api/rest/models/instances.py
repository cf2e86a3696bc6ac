"""Models of runs: what starts one, how it stands, what is done to it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from ....repositories.records import InstanceState
from ..routing import Answer, Body
from .common import Failure, Instant, Why

__all__ = [
    "Again",
    "Bulk",
    "BulkResult",
    "Cancel",
    "Done",
    "Explained",
    "Fork",
    "Instance",
    "InstanceLive",
    "InstanceSummary",
    "LogLine",
    "Migration",
    "MigrationPlan",
    "Rerun",
    "Signal",
    "SignalSent",
    "Start",
    "Transition",
]


class Start(Body):
    """What to start, and how."""

    definition: str | dict[str, Any] = Field(
        description="`name`, `name@3`, or a definition that nobody has registered.", examples=["hello"]
    )
    inputs: Any = Field(default=None, description="What it is given.", examples=[{"names": ["Ana"]}])
    key: str | None = Field(default=None, description="The same key again is the same run.")
    mutex: str | None = Field(default=None, description="At most one live run of this definition and mutex.")
    on_duplicate: Literal["return_existing", "reject", "queue"] | None = Field(
        default=None, description="What happens when the key or the mutex is taken."
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="For lists and bulk.", examples=[{"team": "core"}]
    )
    tags: list[str] = Field(
        default_factory=list, description="Words to find it by: labels `tag:WORD`.", max_length=50
    )
    start_at: datetime | None = Field(
        default=None, description="Begin no sooner than this; without a zone it is UTC."
    )
    expires_at: datetime | None = Field(
        default=None, description="Never begin when it has not by then; without a zone it is UTC."
    )
    delay: str | None = Field(default=None, description="Begin no sooner than after this.", examples=["10m"])
    expires_in: str | None = Field(
        default=None, description="Never begin when it has not within this.", examples=["1h"]
    )
    queue: str | None = Field(default=None, description="For tasks that say none.")
    priority: int | None = Field(default=None, description="For tasks that say none; higher runs first.")


class _Run(Answer):
    id: str = Field(description="Its id.")
    name: str = Field(description="Its definition's name.")
    version: int = Field(description="Its definition's version.")
    state: str = Field(description="A state of a run.", examples=["running"])
    key: str | None = Field(default=None, description="The key that it was started under.")
    reason: str | None = Field(default=None, description="Why it is in this state, where somebody said so.")
    error: Failure
    created_at: Instant
    started_at: Instant
    ended_at: Instant


class InstanceSummary(_Run):
    """A run in a list."""

    parent_id: str | None = Field(description="The run that started it.")
    parent_path: str | None = Field(description="The task of that run that started it.")
    mutex: str | None = Field(description="Of which only one such run is live.")
    labels: dict[str, str] = Field(description="Its labels.")
    start_at: Instant
    expires_at: Instant


class Instance(_Run):
    """A run with its inputs and its result."""

    inputs: Any = Field(description="What it was given.")
    output: Any = Field(description="What it gave; null until it completed.")


class Done(Answer):
    """What came of an operation."""

    status: str = Field(
        description="`accepted`, or `ignored` when there was nothing to do.", examples=["accepted"]
    )
    instance: Instance


class Transition(Answer):
    """One change of a state."""

    seq: int = Field(description="Its number; gaps are normal.")
    at: Instant
    path: str | None = Field(description="The task; null for the run, empty for its outermost scope.")
    attempt: int = Field(description="Number of the attempt; 0 before the first.")
    from_: str | None = Field(alias="from", description="The state before; null at the beginning.")
    to: str = Field(description="The state after.")
    reason: str = Field(description="Why.")
    engine: str | None = Field(description="The engine that wrote it.")


class LogLine(Answer):
    """One line that a task has logged."""

    seq: int = Field(description="Its number; gaps are normal.")
    at: Instant
    path: str = Field(description="The task.")
    attempt: int = Field(description="Number of the attempt.")
    level: str = Field(description="debug, info, warning, error or critical.", examples=["info"])
    message: str = Field(description="What it said.")


class NodeLive(Answer):
    """One node of the outermost scope, now."""

    name: str = Field(description="Its name.")
    kind: str = Field(description="What it is.", examples=["run"])
    executor: str | None = Field(description="What runs it, or a map's items.")
    state: str | None = Field(description="Its state; null until it is reached.")
    attempt: int = Field(description="Number of its last attempt.")
    total: int | None = Field(description="A map's items; null until they are known.")
    done: int = Field(description="A map's items that completed.")
    failed: int = Field(description="A map's items that failed.")
    skipped: int = Field(description="A map's items that were skipped.")
    fraction: float | None = Field(description="How far it says it is, from 0 to 1.")
    message: str | None = Field(description="What it said with it.")
    started_at: Instant
    ended_at: Instant
    signal: str | None = Field(description="The signal that it waits for.")


class InstanceLive(Answer):
    """A run at a glance."""

    id: str = Field(description="Its id.")
    name: str = Field(description="Its definition's name.")
    version: int = Field(description="Its definition's version.")
    state: str = Field(description="A state of a run.")
    now: Instant = Field(description="The database's clock.")
    created_at: Instant
    ended_at: Instant
    nodes: list[NodeLive] = Field(
        description="In an order that follows the dependencies; of a large run some."
    )
    counts: dict[str, int] = Field(description="How many nodes are in each state; `pending`: not reached.")


class Explained(Answer):
    """Why a run, or a task, is where it is."""

    id: str = Field(description="The run's id.")
    state: str = Field(description="A state of the run, or of the task.")
    sentence: str = Field(description="The answer in words.")
    reasons: list[dict[str, Any]] = Field(
        description="Each thing that is waited for: `kind`, `path`, `text`."
    )
    more: bool = Field(description="True: there were more tasks than were looked at.")


class Cancel(Why):
    """How a run is stopped."""

    grace: str | None = Field(
        default=None, description="Give up what still runs after this time.", examples=["30s"]
    )


class Again(Why):
    """What is done again."""

    tasks: list[str] = Field(
        default_factory=list,
        description="Tasks and what follows from them; none: what failed.",
        max_length=1000,
    )


class Fork(Body):
    """From where a new run begins."""

    tasks: list[str] = Field(
        min_length=1, max_length=1000, description="Nodes that run anew, with what follows."
    )
    inputs: Any = Field(default=None, description="Other inputs; null: the same.")
    outputs: dict[str, Any] | None = Field(
        default=None, description="Other outputs of nodes that are kept, by name."
    )


class Rerun(Body):
    """What the new run is given."""

    inputs: Any = Field(default=None, description="Other inputs; null: the same.")


class Signal(Body):
    """A named message."""

    name: str = Field(min_length=1, max_length=200, description="Its name.", examples=["review"])
    data: Any = Field(default=None, description="What the wait gets.", examples=[{"approve": True}])
    id: str | None = Field(
        default=None, min_length=1, max_length=512, description="The same id again changes nothing."
    )


class SignalSent(Answer):
    """What became of a signal."""

    id: str = Field(description="The run's id.")
    signal: str = Field(description="The signal's name.")
    status: str = Field(description="`accepted`, or `existing` when it was sent before.")


class Migration(Body):
    """The version that a run goes on under."""

    to: str = Field(description="Name and version.", examples=["hello@4"])
    accept_loss: bool = Field(default=False, description="Go on although finished work cannot be read then.")


class Impossible(Answer):
    """A task that another version has no place for."""

    path: str = Field(description="The task; empty for the run itself.")
    reason: str = Field(description="Why not.")


class MigrationPlan(Answer):
    """What moving a run to another version would meet."""

    id: str = Field(description="The run's id.")
    to: str = Field(description="Name and version.")
    verdict: str = Field(description="In one word.")
    safe: list[str] = Field(description="Tasks that go on as they are.")
    lost: list[str] = Field(description="Tasks whose output could no longer be read.")
    impossible: list[Impossible] = Field(description="Why it cannot be done; empty: it can.")


class Bulk(Why):
    """Which runs something is done to: all that is given must hold, and something must be given."""

    states: list[InstanceState] = Field(
        default_factory=list[InstanceState], description="Only in these states.", max_length=20
    )
    name: str | None = Field(default=None, description="Only of this definition.")
    labels: dict[str, str] = Field(default_factory=dict, description="Only with these labels.")
    tags: list[str] = Field(default_factory=list, description="Only with these tags.", max_length=50)
    created_before: datetime | None = Field(default=None, description="Only made before this instant.")
    older: str | None = Field(default=None, description="Only made longer ago than this.", examples=["7d"])
    everything: bool = Field(default=False, description="Every run; nothing else is given then.")


class BulkItem(Answer):
    """What came of it for one run."""

    id: str = Field(description="The run's id.")
    status: str = Field(description="`accepted`, `ignored` or `refused`.")
    problem: str | None = Field(description="Why it was refused.")


class BulkResult(Answer):
    """What came of an operation on many runs."""

    items: list[BulkItem] = Field(description="Run by run.")
    more: bool = Field(description="True: there are more; ask again.")
