"""Rows with sensible defaults, for tests that write through `Batch` or straight into a table."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

from strataflow.repositories.records import InstanceRow, InstanceState, JournalRow, TaskRow, TaskState

DEFINITION = "018f0000-0000-7000-8000-0000000000d0"
_BLANK: dict[Any, Any] = {"int": 0, "str": ""}


def new_id() -> str:
    """Give a fresh id."""
    return str(uuid.uuid4())


def instance_id(number: int) -> str:
    """Give an id that sorts like its number."""
    return f"018f0000-0000-7000-8000-{number:012d}"


def instance(number: int, state: InstanceState = InstanceState.RUNNING, **values: Any) -> InstanceRow:
    """Make an instance."""
    given: dict[str, Any] = {
        "id": instance_id(number),
        "definition_id": DEFINITION,
        "name": "flow",
        "version": 1,
        "created_at": number,
    }
    merged: dict[str, Any] = _blank(InstanceRow) | given | {"state": state} | values
    return InstanceRow(**merged)


def task(number: int, path: str, state: TaskState = TaskState.WAITING, **values: Any) -> TaskRow:
    """Make a task of instance `number` with what its state requires."""
    shape: dict[TaskState, dict[str, Any]] = {
        TaskState.QUEUED: {"ready_at": 5},
        TaskState.RETRYING: {"wake_at": 5},
        TaskState.PENDING: {"remaining": 1},
        TaskState.COMPLETED: {"ended_at": 9},
        TaskState.FAILED: {"ended_at": 9, "error": "{}"},
    }
    given: dict[str, Any] = {
        "instance_id": instance_id(number),
        "path": path,
        "scope": None if path == "" else "",
        "queue": "default",
    }
    merged: dict[str, Any] = _blank(TaskRow) | given | {"state": state} | shape.get(state, {}) | values
    return TaskRow(**merged)


def journal(number: int, path: str | None, to_state: str = "queued", **values: Any) -> JournalRow:
    """Make a transition of instance `number`."""
    given: dict[str, Any] = {
        "instance_id": instance_id(number),
        "path": path,
        "to_state": to_state,
        "reason": "test",
        "at": 1,
    }
    return JournalRow(**_blank(JournalRow) | given | values)


def _blank(record: type[Any]) -> dict[str, Any]:
    return {field.name: _BLANK.get(field.type) for field in dataclasses.fields(record)}
