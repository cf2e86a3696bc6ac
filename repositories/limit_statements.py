"""Statements of a write transaction about counters of limits, and about what people have set.

`settings` holds a number that grows with every such change: a transaction reads the rest only when it is a new one.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, bindparam, func, or_, select, text, true

from .control_tables import LIMITS, QUEUES, SETTINGS
from .tables import INSTANCES, TASKS

__all__ = ["limit_statements"]


def limit_statements(dialect: str) -> dict[str, Any]:
    """By name, for one dialect."""
    ready = (
        select(TASKS.c.path)
        .where(TASKS.c.queue == bindparam("queue"), TASKS.c.ready_at.is_not(None))
        .limit(bindparam("limit"))
        .subquery()
    )
    common: dict[str, Any] = {
        "setting_get": select(SETTINGS.c.value).where(SETTINGS.c.name == bindparam("name")),
        "limits_set": select(LIMITS.c.name).where(text("limits.explicit = 1")),
        "queues_get": select(*QUEUES.columns),
        "queue_depth": select(func.count()).select_from(ready),
        "limit_waiting": select(LIMITS.c.waiting).where(LIMITS.c.name == bindparam("name")),
    }
    return common | (_postgres() if dialect == "postgresql" else _sqlite())


def _sqlite() -> dict[str, Any]:
    return {
        "limit_get": select(*LIMITS.columns).where(LIMITS.c.name == bindparam("name")),
        "blocked_read": select(*TASKS.columns)
        .where(
            TASKS.c.blocked_on == bindparam("counter"),
            TASKS.c.queue.in_(text("SELECT value FROM json_each(:queues)")),
            or_(
                TASKS.c.executor.is_(None),
                TASKS.c.executor.in_(text("SELECT value FROM json_each(:executors)")),
            ),
        )
        .order_by(TASKS.c.priority.desc(), TASKS.c.blocked_at)
        .limit(bindparam("peek")),
    }


def _postgres() -> dict[str, Any]:
    from .statements import rows_of, texts

    wanted = rows_of(counter=texts("counters"))
    head = (
        select(TASKS.c.instance_id, TASKS.c.path)
        .where(
            TASKS.c.blocked_on == wanted.c.counter,
            TASKS.c.queue == func.any(texts("queues")),
            TASKS.c.executor == func.any(texts("executors")),
        )
        .order_by(TASKS.c.priority.desc(), TASKS.c.blocked_at)
        .limit(bindparam("peek"))
        .lateral("head")
    )
    peek = (
        select(head.c.instance_id, head.c.path)
        .select_from(wanted.join(head, true()))
        .cte("peek")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return {
        "limits_lock": select(*LIMITS.columns)
        .where(LIMITS.c.name == func.any(texts("names")))
        .order_by(LIMITS.c.name)
        .with_for_update(key_share=True),
        "blocked_lock": select(*INSTANCES.columns)
        .where(INSTANCES.c.id.in_(select(peek.c.instance_id)))
        .order_by(INSTANCES.c.id)
        .with_for_update(key_share=True, skip_locked=True),
        "blocked_read": select(*TASKS.columns)
        .select_from(
            peek.join(TASKS, and_(TASKS.c.instance_id == peek.c.instance_id, TASKS.c.path == peek.c.path))
        )
        .order_by(TASKS.c.priority.desc(), TASKS.c.blocked_at),
    }
