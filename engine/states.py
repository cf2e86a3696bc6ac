"""The state machine as data: two tables `(state, event) → state`, one for tasks and one for instances.

Everything that may happen to a state stands here; `None` is the state of a row that does not exist yet. Terminal
states hold only what opens a new generation, so that nothing is implied by absence. An event that a state does not
list raises `IllegalTransition` and writes nothing. `docs/state-machine.md` is generated from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from ..repositories.records import (
    TERMINAL_INSTANCE_STATES,
    TERMINAL_TASK_STATES,
    InstanceState,
    TaskState,
)
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
    HOLD = "hold"
    HANDLE = "handle"
    EXPIRE = "expire"
    BLOCK = "block"
    REOPEN = "reopen"


class InstanceEvent(StrEnum):
    """What may happen to an instance."""

    START = "start"
    QUEUE = "queue"
    BEGIN = "begin"
    EXPIRE = "expire"
    RUN = "run"
    CANCEL = "cancel"
    COMPLETE = "complete"
    FAIL = "fail"
    STOP = "stop"
    PAUSE = "pause"
    RESUME = "resume"
    COMPENSATE = "compensate"
    TERMINATE = "terminate"
    ROLLBACK = "rollback"


TASK_EVENT_MEANING: Final[Mapping[TaskEvent, str]] = {
    TaskEvent.AWAIT: "the first of several dependencies ended; the rest is awaited",
    TaskEvent.READY: "may be claimed from now on (dependencies met, backoff over, output to evaluate)",
    TaskEvent.CLAIM: "an engine took it; for an executor's task this begins a new attempt",
    TaskEvent.ENTER: "a container opened: group entered, list expanded, turn begun, case chosen, child started",
    TaskEvent.SUSPEND: "a wait began",
    TaskEvent.SUCCEED: "its work, its wait or its scope ended well",
    TaskEvent.RETRY: "the attempt failed and will be repeated after the backoff",
    TaskEvent.FAIL: "failed for good",
    TaskEvent.SKIP: "`when` was false, or a dependency can no longer hold",
    TaskEvent.CANCEL: "its scope closed, or the instance was cancelled",
    TaskEvent.RELEASE: "its engine gave it back unharmed",
    TaskEvent.LOSE: "its engine died; the attempt counts against the crash budget",
    TaskEvent.HOLD: "would be ready, but its instance is paused",
    TaskEvent.HANDLE: "ended, but something of its own still follows: a handler, or `finally`",
    TaskEvent.EXPIRE: "did not begin in time",
    TaskEvent.BLOCK: "a limit refused it: it leaves the ready index until the limit has room",
    TaskEvent.REOPEN: "the instance went back to an earlier point: the task will be decided again",
}
INSTANCE_EVENT_MEANING: Final[Mapping[InstanceEvent, str]] = {
    InstanceEvent.START: "accepted and durable",
    InstanceEvent.QUEUE: "accepted and durable, but its time or its mutex has not come",
    InstanceEvent.BEGIN: "its time has come, or its mutex is free",
    InstanceEvent.EXPIRE: "it had not begun by `expires_at`",
    InstanceEvent.RUN: "its first task was claimed",
    InstanceEvent.CANCEL: "somebody asked to cancel it; running tasks are told",
    InstanceEvent.COMPLETE: "its root scope completed",
    InstanceEvent.FAIL: "its root scope failed and nothing of it runs any more",
    InstanceEvent.STOP: "a cancelled instance has nothing left that runs",
    InstanceEvent.PAUSE: "somebody paused it: running tasks end, nothing new is claimed",
    InstanceEvent.RESUME: "somebody resumed it",
    InstanceEvent.COMPENSATE: "it failed, and what it did is being undone",
    InstanceEvent.TERMINATE: "somebody ended it at once: nothing is waited for",
    InstanceEvent.ROLLBACK: "it went back to an earlier point, or its failed tasks are tried again",
}

_T, _E = TaskState, TaskEvent
TASK_TRANSITIONS: Final[Mapping[TaskState | None, Mapping[TaskEvent, TaskState]]] = {
    None: {
        _E.AWAIT: _T.PENDING,
        _E.READY: _T.QUEUED,
        _E.CLAIM: _T.RUNNING,
        _E.ENTER: _T.WAITING,
        _E.SKIP: _T.SKIPPED,
        _E.HOLD: _T.PAUSED,
    },
    _T.PENDING: {
        _E.READY: _T.QUEUED,
        _E.CLAIM: _T.RUNNING,
        _E.ENTER: _T.WAITING,
        _E.SKIP: _T.SKIPPED,
        _E.CANCEL: _T.CANCELLED,
        _E.EXPIRE: _T.EXPIRED,
        _E.HOLD: _T.PAUSED,
    },
    _T.QUEUED: {
        _E.CLAIM: _T.RUNNING,
        _E.FAIL: _T.FAILED,
        _E.CANCEL: _T.CANCELLED,
        _E.HOLD: _T.PAUSED,
        _E.HANDLE: _T.WAITING,
        _E.BLOCK: _T.BLOCKED,
    },
    _T.RUNNING: {
        _E.READY: _T.QUEUED,
        _E.SUCCEED: _T.COMPLETED,
        _E.RETRY: _T.RETRYING,
        _E.FAIL: _T.FAILED,
        _E.SKIP: _T.SKIPPED,
        _E.CANCEL: _T.CANCELLED,
        _E.SUSPEND: _T.WAITING,
        _E.ENTER: _T.WAITING,
        _E.HANDLE: _T.WAITING,
        _E.RELEASE: _T.QUEUED,
        _E.LOSE: _T.QUEUED,
    },
    _T.WAITING: {
        _E.SUCCEED: _T.COMPLETED,
        _E.RETRY: _T.RETRYING,
        _E.FAIL: _T.FAILED,
        _E.CANCEL: _T.CANCELLED,
        _E.READY: _T.QUEUED,
        _E.CLAIM: _T.RUNNING,
        _E.HOLD: _T.PAUSED,
    },
    _T.RETRYING: {
        _E.READY: _T.QUEUED,
        _E.CLAIM: _T.RUNNING,
        _E.FAIL: _T.FAILED,
        _E.CANCEL: _T.CANCELLED,
        _E.HOLD: _T.PAUSED,
        _E.HANDLE: _T.WAITING,
    },
    _T.PAUSED: {
        _E.READY: _T.QUEUED,
        _E.CLAIM: _T.RUNNING,
        _E.FAIL: _T.FAILED,
        _E.CANCEL: _T.CANCELLED,
        _E.HANDLE: _T.WAITING,
    },
    _T.BLOCKED: {
        _E.READY: _T.QUEUED,
        _E.CLAIM: _T.RUNNING,
        _E.FAIL: _T.FAILED,
        _E.CANCEL: _T.CANCELLED,
        _E.HOLD: _T.PAUSED,
        _E.HANDLE: _T.WAITING,
    },
    _T.COMPLETED: {_E.REOPEN: _T.PENDING},
    _T.FAILED: {_E.REOPEN: _T.PENDING},
    _T.SKIPPED: {_E.REOPEN: _T.PENDING},
    _T.CANCELLED: {_E.REOPEN: _T.PENDING},
    _T.EXPIRED: {},
}

_I, _V = InstanceState, InstanceEvent
INSTANCE_TRANSITIONS: Final[Mapping[InstanceState | None, Mapping[InstanceEvent, InstanceState]]] = {
    None: {_V.START: _I.PENDING, _V.QUEUE: _I.QUEUED},
    _I.QUEUED: {_V.BEGIN: _I.PENDING, _V.EXPIRE: _I.EXPIRED, _V.STOP: _I.CANCELLED},
    _I.PENDING: {
        _V.RUN: _I.RUNNING,
        _V.CANCEL: _I.CANCELLING,
        _V.PAUSE: _I.PAUSED,
        _V.TERMINATE: _I.CANCELLING,
    },
    _I.RUNNING: {
        _V.COMPLETE: _I.COMPLETED,
        _V.FAIL: _I.FAILED,
        _V.COMPENSATE: _I.COMPENSATING,
        _V.CANCEL: _I.CANCELLING,
        _V.PAUSE: _I.PAUSED,
        _V.TERMINATE: _I.CANCELLING,
    },
    _I.PAUSED: {
        _V.RESUME: _I.RUNNING,
        _V.CANCEL: _I.CANCELLING,
        _V.COMPLETE: _I.COMPLETED,
        _V.FAIL: _I.FAILED,
        _V.TERMINATE: _I.CANCELLING,
    },
    _I.CANCELLING: {_V.STOP: _I.CANCELLED, _V.TERMINATE: _I.CANCELLING},
    _I.COMPENSATING: {_V.COMPLETE: _I.COMPLETED, _V.FAIL: _I.FAILED, _V.TERMINATE: _I.CANCELLING},
    _I.COMPLETED: {_V.ROLLBACK: _I.RUNNING},
    _I.FAILED: {_V.ROLLBACK: _I.RUNNING},
    _I.CANCELLED: {_V.ROLLBACK: _I.RUNNING},
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


_ENDS: Final = frozenset[str]({*TERMINAL_TASK_STATES, *TERMINAL_INSTANCE_STATES})
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
    lines += [f"    {state} --> [*]" for state in table if state in _ENDS and _reached(table, state)]
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
