"""Rows before they are written: how a fresh one looks, and the persisted markers and keys that go with rows."""

from __future__ import annotations

import json
from typing import Any, Final

from ..repositories.records import TaskRow, TaskState
from .plan import Plan, PlanNode, address_of

__all__ = [
    "CONTROL_QUEUE",
    "ITEMS",
    "ITEMS_PER_PAGE",
    "LEAVES",
    "error_text",
    "items_key",
    "map_of",
    "new_task",
    "parent_path",
]

#: Markers in `output_ref`: the value is read from the rows of the map's items, or of the scope's last nodes.
ITEMS: Final = "@items"
LEAVES: Final = "@leaves"
#: Queue of tasks that use no executor: every engine serves it, whatever queues it was told to.
CONTROL_QUEUE: Final = ""
#: Items per page in `blobs`. Persisted layout: changing it would make stored pages unreadable.
ITEMS_PER_PAGE: Final = 200


def parent_path(path: str) -> str | None:
    """Path of the scope that owns a row: `settle[3].charge` → `settle[3]` → `settle` → '' → None."""
    if not path:
        return None
    cut = max(path.rfind("."), path.rfind("["))
    return path[:cut] if cut > 0 else ""


def items_key(path: str, gen: int, page: int) -> str:
    """Key in `blobs` of one page of a map's items."""
    return f"items:{path}:{gen}:{page}"


def map_of(plan: Plan, row: TaskRow) -> PlanNode | None:
    """The map node a row stands for, or None for any other row."""
    node = plan.nodes.get(address_of(row.path))
    return node if node is not None and node.kind == "map" else None


def error_text(
    code: str,
    message: str,
    *,
    node: str,
    path: str,
    attempt: int,
    details: Any = None,
    cause: str | None = None,
) -> str:
    """An error object (DSL rule 25) as JSON text; `cause` is JSON text already."""
    body = {
        "code": code,
        "message": message,
        "node": node,
        "path": path,
        "attempt": attempt,
        "details": details,
    }
    return json.dumps(body, separators=(",", ":"))[:-1] + f',"cause":{cause or "null"}}}'


def new_task(
    instance_id: str, path: str, scope: str | None, *, gen: int, node: PlanNode | None = None
) -> TaskRow:
    """A row with nothing done yet; its state comes with its first transition."""
    return TaskRow(
        instance_id=instance_id,
        path=path,
        scope=scope,
        executor=node.executor if node else None,
        gen=gen,
        state=TaskState.PENDING,
        attempt=0,
        failures=0,
        crashes=0,
        engine=None,
        queue=node.queue if node is not None and node.executor is not None else CONTROL_QUEUE,
        priority=node.priority if node else 0,
        ready_at=None,
        wake_at=None,
        remaining=0,
        open=0,
        total=None,
        next=0,
        width=None,
        done=0,
        failed=0,
        skipped=0,
        closed=None,
        cursor=None,
        output=None,
        output_ref=None,
        error=None,
        started_at=None,
        ended_at=None,
    )
