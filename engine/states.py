"""The state machine as data: two tables `(state, event) → state`, one for tasks and one for instances.

Everything that may happen to a state stands here; `None` is the state of a row that does not exist yet. Terminal
states hold an empty row, so that nothing is implied by absence. An event that a state does not list raises
`IllegalTransition` and writes nothing. `docs/state-machine.md` is generated from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from ..repositories.records import InstanceState, TaskState
from .errors import IllegalTransition

__all__ = [
    "INSTANCE_TRANSITIONS",
    "TASK_TRANSITIONS",
    "InstanceEvent",
    "TaskEvent",
    "next_instance_state",
    "next_task_state",
    "state_machine_page",
]


class TaskEvent(StrEnum):
    """What may happen to a task."""

    AWAIT = "await"
    READY = "ready"
    CLAIM = "claim"
    ENTER = "enter"
    SUSPEND = "suspend"
    SUCCEED = "succeed"
    RETRY = "retry"
    FAIL = "fail"
    SKIP = "skip"
    CANCEL = "cancel"
    RELEASE = "release"
    LOSE = "lose"


class InstanceEvent(StrEnum):
    """What may happen to an instance."""

    START = "start"
    RUN = "run"
    CANCEL = "cancel"
    COMPLETE = "complete"
    FAIL = "fail"
    STOP = "stop"


TASK_EVENT_MEANING: Final[Mapping[TaskEvent, str]] = {
    TaskEvent.AWAIT: "the first of several dependencies ended; the rest is awaited",
    TaskEvent.READY: "may be claimed from now on (dependencies met, backoff over, output to evaluate)",
    TaskEvent.CLAIM: "an engine took it; for an executor's task this begins a new attempt",
    TaskEvent.ENTER: "a scope opened: a group was entered, a map's list was expanded",
    TaskEvent.SUSPEND: "a wait began",
    TaskEvent.SUCCEED: "its work, its wait or its scope ended well",
    TaskEvent.RETRY: "the attempt failed and will be repeated after the backoff",
    TaskEvent.FAIL: "failed for good",
    TaskEvent.SKIP: "`when` was false, or a dependency can no longer hold",
    TaskEvent.CANCEL: "its scope closed, or the instance was cancelled",
    TaskEvent.RELEASE: "its engine gave it back unharmed",
    TaskEvent.LOSE: "its engine died; the attempt counts against the crash budget",
}
INSTANCE_EVENT_MEANING: Final[Mapping[InstanceEvent, str]] = {
    InstanceEvent.START: "accepted and durable",
    InstanceEvent.RUN: "its first task was claimed",
    InstanceEvent.CANCEL: "somebody asked to cancel it; running tasks are told",
    InstanceEvent.COMPLETE: "its root scope completed",
    InstanceEvent.FAIL: "its root scope failed and nothing of it runs any more",
    InstanceEvent.STOP: "a cancelled instance has nothing left that runs",
}

_T, _E = TaskState, TaskEvent
TASK_TRANSITIONS: Final[Mapping[TaskState | None, Mapping[TaskEvent, TaskState]]] = {
    None: {
        _E.AWAIT: _T.PENDING,
        _E.READY: _T.QUEUED,
        _E.CLAIM: _T.RUNNING,
        _E.ENTER: _T.WAITING,
        _E.SKIP: _T.SKIPPED,
    },
    _T.PENDING: {
        _E.READY: _T.QUEUED,
        _E.CLAIM: _T.RUNNING,
        _E.ENTER: _T.WAITING,
        _E.SKIP: _T.SKIPPED,
        _E.CANCEL: _T.CANCELLED,
    },
    _T.QUEUED: {_E.CLAIM: _T.RUNNING, _E.FAIL: _T.FAILED, _E.CANCEL: _T.CANCELLED},
    _T.RUNNING: {
        _E.SUCCEED: _T.COMPLETED,
        _E.RETRY: _T.RETRYING,
        _E.FAIL: _T.FAILED,
        _E.SKIP: _T.SKIPPED,
        _E.CANCEL: _T.CANCELLED,
        _E.SUSPEND: _T.WAITING,
        _E.ENTER: _T.WAITING,
        _E.RELEASE: _T.QUEUED,
        _E.LOSE: _T.QUEUED,
    },
    _T.WAITING: {
        _E.SUCCEED: _T.COMPLETED,
        _E.FAIL: _T.FAILED,
        _E.CANCEL: _T.CANCELLED,
        _E.READY: _T.QUEUED,
        _E.CLAIM: _T.RUNNING,
    },
    _T.RETRYING: {_E.READY: _T.QUEUED, _E.CLAIM: _T.RUNNING, _E.CANCEL: _T.CANCELLED},
    _T.PAUSED: {},
    _T.BLOCKED: {},
    _T.COMPLETED: {},
    _T.FAILED: {},
    _T.SKIPPED: {},
    _T.CANCELLED: {},
    _T.EXPIRED: {},
}

_I, _V = InstanceState, InstanceEvent
INSTANCE_TRANSITIONS: Final[Mapping[InstanceState | None, Mapping[InstanceEvent, InstanceState]]] = {
    None: {_V.START: _I.PENDING},
    _I.QUEUED: {},
    _I.PENDING: {_V.RUN: _I.RUNNING, _V.CANCEL: _I.CANCELLING},
    _I.RUNNING: {_V.COMPLETE: _I.COMPLETED, _V.FAIL: _I.FAILED, _V.CANCEL: _I.CANCELLING},
    _I.PAUSED: {},
    _I.CANCELLING: {_V.STOP: _I.CANCELLED},
    _I.COMPENSATING: {},
    _I.COMPLETED: {},
    _I.FAILED: {},
    _I.CANCELLED: {},
    _I.EXPIRED: {},
}


def next_task_state(state: TaskState | None, event: TaskEvent, *, label: str = "") -> TaskState:
    """The state an event leads to. Raises IllegalTransition naming the task's `label`."""
    found = TASK_TRANSITIONS[state].get(event)
    if found is None:
        raise IllegalTransition("task", state or "absent", event, id=label)
    return found


def next_instance_state(
    state: InstanceState | None, event: InstanceEvent, *, label: str = ""
) -> InstanceState:
    """The state an event leads to. Raises IllegalTransition naming the instance."""
    found = INSTANCE_TRANSITIONS[state].get(event)
    if found is None:
        raise IllegalTransition("instance", state or "absent", event, id=label)
    return found


_S = TypeVar("_S", TaskState, InstanceState)
_X = TypeVar("_X", TaskEvent, InstanceEvent)


def state_machine_page() -> str:
    """The text of docs/state-machine.md."""
    parts = [
        "# State machine",
        "",
        "Generated from `engine/states.py` by `python -m strataflow.engine.states`; do not edit.",
        "",
        *_section("Instances", INSTANCE_TRANSITIONS, INSTANCE_EVENT_MEANING),
        "",
        *_section("Tasks", TASK_TRANSITIONS, TASK_EVENT_MEANING),
    ]
    return "\n".join(parts) + "\n"


def _section(title: str, table: Mapping[_S | None, Mapping[_X, _S]], meaning: Mapping[_X, str]) -> list[str]:
    lines = [f"## {title}", "", "```mermaid", "stateDiagram-v2"]
    for state, row in table.items():
        lines += [f"    {state or '[*]'} --> {target}: {event}" for event, target in row.items()]
    lines += [
        f"    {state} --> [*]" for state, row in table.items() if state and not row and _reached(table, state)
    ]
    lines += ["```", "", "| from | event | to | meaning |", "|---|---|---|---|"]
    for state, row in table.items():
        lines += [f"| {state or '(absent)'} | {e} | {target} | {meaning[e]} |" for e, target in row.items()]
    idle = [str(state) for state in table if state and not _reached(table, state)]
    if idle:
        lines += ["", f"Reserved, entered by no event of this version: {', '.join(idle)}."]
    return lines


def _reached(table: Mapping[_S | None, Mapping[_X, _S]], state: _S) -> bool:
    return any(state in row.values() for row in table.values())


if __name__ == "__main__":
    import sys

    sys.stdout.write(state_machine_page())
