"""The eight states of a task, and how they follow from the states of the engine.

Nothing is stored under these names: a task's state is read from its run and from the run's only node, so the two can
never disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from ...repositories.records import InstanceState
from ...repositories.records import TaskState as NodeState

__all__ = ["EXPIRED_CODE", "TERMINAL_STATES", "TRANSITIONS", "TaskState", "state_of_node", "state_of_task"]

#: The error with which a task that began too late is given up, before its handler is called.
EXPIRED_CODE: Final = "task.not_begun_in_time"


class TaskState(StrEnum):
    """Where a task stands."""

    #: Kept for later: its time has not come, or somebody paused it.
    PENDING = "pending"
    #: Ready, waiting for a worker.
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    #: An attempt failed; the next one comes after its delay.
    RETRYING = "retrying"
    CANCELLED = "cancelled"
    #: Its `expires` passed before it began; its handler was not called.
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """Does it move no more by itself? A person may still `retry` it."""
        return self in TERMINAL_STATES


TERMINAL_STATES: Final = frozenset(
    {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED}
)
_T = TaskState
#: What may follow what; `retry` by a person, which opens a task again, is not part of it.
TRANSITIONS: Final[Mapping[TaskState, frozenset[TaskState]]] = {
    _T.PENDING: frozenset({_T.QUEUED, _T.RUNNING, _T.CANCELLED, _T.EXPIRED}),
    _T.QUEUED: frozenset({_T.RUNNING, _T.PENDING, _T.FAILED, _T.CANCELLED, _T.EXPIRED}),
    _T.RUNNING: frozenset({_T.SUCCEEDED, _T.FAILED, _T.RETRYING, _T.QUEUED, _T.CANCELLED, _T.EXPIRED}),
    _T.RETRYING: frozenset({_T.QUEUED, _T.RUNNING, _T.PENDING, _T.FAILED, _T.CANCELLED}),
    **{state: frozenset[TaskState]() for state in TERMINAL_STATES},
}
_OF_NODE: Final[Mapping[NodeState, TaskState]] = {
    NodeState.PENDING: _T.PENDING,
    NodeState.QUEUED: _T.QUEUED,
    NodeState.BLOCKED: _T.QUEUED,
    NodeState.PAUSED: _T.PENDING,
    NodeState.RUNNING: _T.RUNNING,
    NodeState.WAITING: _T.RUNNING,
    NodeState.RETRYING: _T.RETRYING,
    NodeState.COMPLETED: _T.SUCCEEDED,
    NodeState.SKIPPED: _T.SUCCEEDED,
    NodeState.FAILED: _T.FAILED,
    NodeState.CANCELLED: _T.CANCELLED,
    NodeState.EXPIRED: _T.EXPIRED,
}
#: What the run alone says; None: its node says more.
_OF_RUN: Final[Mapping[InstanceState, TaskState | None]] = {
    InstanceState.QUEUED: _T.PENDING,
    InstanceState.PENDING: _T.QUEUED,
    InstanceState.RUNNING: None,
    InstanceState.PAUSED: _T.PENDING,
    InstanceState.CANCELLING: None,
    InstanceState.COMPENSATING: None,
    InstanceState.COMPLETED: _T.SUCCEEDED,
    InstanceState.FAILED: _T.FAILED,
    InstanceState.CANCELLED: _T.CANCELLED,
    InstanceState.EXPIRED: _T.EXPIRED,
}


def state_of_node(node: NodeState) -> TaskState:
    """The word of the task system for a state of the engine's tasks."""
    return _OF_NODE[node]


def state_of_task(run: InstanceState, node: NodeState | None, *, expired: bool = False) -> TaskState:
    """The state of a task, from its run and the run's node (None: there is none yet, or there are several).

    `expired`: it failed because it began too late, or has not begun and never will.
    """
    found = _OF_RUN[run]
    if found is None:
        seen = _OF_NODE[node] if node is not None else _T.RUNNING
        # the node ends in the same transaction as the run, except where something else of the run still stops
        found = _T.RUNNING if seen.is_terminal else seen
    if expired and (found is _T.FAILED or not found.is_terminal):
        return _T.EXPIRED
    return found
