"""Read model of one scope as a whole: how many of its tasks are in which state, without reading them."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from .readmodels import uuid_text
from .records import TaskState
from .tables import TASKS

__all__ = ["scope_counts"]


def scope_counts(connection: Connection, instance_id: str, scope: str) -> dict[TaskState, int]:
    """Count the tasks that a scope owns by state; states without tasks are absent."""
    own = (TASKS.c.instance_id == uuid_text(instance_id), TASKS.c.scope == scope)
    each = select(TASKS.c.state, func.count()).where(*own).group_by(TASKS.c.state)
    return {TaskState(state): number for state, number in connection.execute(each)}
