"""Models of tasks, and of runs of definitions that nobody has registered."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..routing import Answer, Body
from .common import Failure, Instant, Reason

__all__ = ["AdHoc", "AdHocRecord", "AdHocStarted", "Task", "TaskCancel", "TaskRecord", "TaskSummary"]


class _Placed(Answer):
    path: str = Field(description="Where it stands in its run.", examples=["settle[3].charge"])
    node: str = Field(description="The node's name in the definition.", examples=["charge"])
    state: str = Field(description="A state of a task.", examples=["running"])
    attempt: int = Field(description="Number of its last attempt; 0 before the first.")
    executor: str | None = Field(
        description="What runs it; null for a map, a group, a wait.", examples=["http.request"]
    )
    queue: str | None = Field(description="The queue it is taken from.")
    started_at: Instant
    ended_at: Instant
    error: Failure


class Task(_Placed):
    """A task of a run, with what it got and what it gave."""

    input: Any = Field(default=None, description="Its `with`, as its last attempt saw it.")
    output: Any = Field(default=None, description="What it gave; null until it completed.")


class TaskSummary(_Placed):
    """A task in a list across runs."""

    instance: str = Field(description="Id of its run.")
    definition: str = Field(description="Name of its run's definition.")
    version: int = Field(description="Version of its run's definition.")
    instance_state: str = Field(description="State of its run.")
    priority: int = Field(description="Higher runs first.")
    ready_at: Instant = Field(description="Since when it may be taken; null when it may not.")
    wake_at: Instant = Field(description="When somebody looks at it: backoff, timer, deadline.")
    blocked_on: str | None = Field(description="The limit that it waits for.", examples=["queue:mail"])
    engine: str | None = Field(description="The engine that runs it.")


class TaskAttempt(Answer):
    """One attempt."""

    attempt: int = Field(description="Its number, from 1.")
    started_at: Instant
    ended_at: Instant
    ended: str | None = Field(description="The task's state after it; null while it runs.")
    reason: str | None = Field(description="Why it ended so.")
    engine: str | None = Field(description="The engine that ran it.")


class Progress(Answer):
    """How far a task says it is."""

    attempt: int = Field(description="The attempt that said it.")
    at: Instant
    fraction: float = Field(description="From 0 to 1.")
    message: str | None = Field(description="What it said with it.")


class Checkpoint(Answer):
    """What a task has saved for its next attempt."""

    attempt: int = Field(description="The attempt that saved it.")
    at: Instant
    value: Any = Field(description="What it saved.")


class TaskRecord(Task):
    """One task with everything that is known of it."""

    instance: str = Field(description="Id of its run.")
    definition: str = Field(description="Name of its run's definition.")
    version: int = Field(description="Version of its run's definition.")
    priority: int = Field(description="Higher runs first.")
    failures: int = Field(description="Failed attempts that count against its retries.")
    crashes: int = Field(description="Attempts whose engine died.")
    engine: str | None = Field(description="The engine that runs it.")
    attempts: list[TaskAttempt] = Field(description="Its last hundred attempts, oldest first.")
    progress: Progress | None = Field(description="What it last reported.")
    checkpoint: Checkpoint | None = Field(description="What it last saved.")


class TaskCancel(Body):
    """How a task is stopped."""

    reason: Reason = None
    grace: str | None = Field(
        default=None, description="Give up what still runs after this time.", examples=["30s"]
    )


class AdHoc(Body):
    """What to run now."""

    task_spec: dict[str, Any] = Field(
        description="A definition, or an ordered list of steps (`steps`), that nobody has registered.",
        examples=[
            {
                "steps": [
                    {"name": "greet", "action": "core.noop", "params": {"text": "Hello {{ inputs.name }}"}}
                ]
            }
        ],
    )
    inputs: Any = Field(default=None, description="What it is given.", examples=[{"name": "Ana"}])


class AdHocStarted(Answer):
    """Something that will run."""

    task_id: str = Field(description="Ask for its record with it; a run's id as well.")


class AdHocStep(Answer):
    """One step, or node, of the outermost level."""

    name: str = Field(description="Its name.")
    state: str | None = Field(description="Its state; null until it is reached.")
    attempt: int = Field(description="Number of its last attempt.")
    executor: str | None = Field(description="What runs it.")


class AdHocRecord(Answer):
    """What is known of a task: definition, id, inputs, state."""

    task_id: str = Field(description="Its id.")
    name: str = Field(description="Its definition's name.")
    version: int = Field(description="Its definition's version.")
    definition: dict[str, Any] = Field(description="What runs.")
    inputs: Any = Field(description="What it was given.")
    state: str = Field(description="A state of a run.", examples=["completed"])
    steps: list[AdHocStep] = Field(description="Its steps, in an order that follows their dependencies.")
    output: Any = Field(description="What it gave; null until it completed.")
    error: Failure
    created_at: Instant
    started_at: Instant
    ended_at: Instant
