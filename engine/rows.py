"""Rows before they are written: how a fresh one looks, and the persisted markers and keys that go with rows."""

from __future__ import annotations

import json
from typing import Any, Final

from ..repositories.records import TaskRow, TaskState
from .plan import Plan, PlanNode, address_of

__all__ = [
    "BEAT",
    "BRANCHES",
    "CONTROL_QUEUE",
    "DEFAULT_QUEUE",
    "ITEMS",
    "ITEMS_PER_PAGE",
    "LEAVES",
    "TURNS",
    "VARS",
    "error_text",
    "items_key",
    "keys_key",
    "memo_of",
    "new_task",
    "node_of",
    "output_of",
    "parent_path",
    "remember",
    "wrapped_error",
]

#: Markers in `output_ref`: the value is read from the rows of a map's items, a loop's turns, a parallel's branches, or
#: a scope's last nodes.
ITEMS: Final = "@items"
TURNS: Final = "@turns"
BRANCHES: Final = "@branches"
LEAVES: Final = "@leaves"
#: What the path of a checkpoint row ends with that holds the details of a heartbeat.
BEAT: Final = "!beat"
#: What a condition awaits, in the column of signal names (which never begin with `@`).
VARS: Final = "@vars"
#: Queue of tasks that use no executor: every engine serves it, whatever queues it was told to.
CONTROL_QUEUE: Final = ""
#: Queue of tasks of which neither node nor start says another.
DEFAULT_QUEUE: Final = "default"
#: Items per page in `blobs`. Persisted layout: changing it would make stored pages unreadable.
ITEMS_PER_PAGE: Final = 200


def parent_path(path: str) -> str | None:
    """Path of the row that owns a row: `settle[3].pay!undo` → `settle[3].pay` → `settle[3]` → `settle` → '' → None."""
    if not path:
        return None
    cut = max(path.rfind("."), path.rfind("["), path.rfind("#"), path.rfind("!"))
    return path[:cut] if cut > 0 else ""


def output_of(suffix: str) -> str:
    """Marker in `output_ref`: the output is that of the row at this row's path and `suffix`."""
    return f"@={suffix}"


def items_key(path: str, gen: int, page: int) -> str:
    """Key in `blobs` of one page of a map's items."""
    return f"items:{path}:{gen}:{page}"


def keys_key(path: str, gen: int, page: int) -> str:
    """Key in `blobs` of one page of the keys of a map's items."""
    return f"keys:{path}:{gen}:{page}"


def node_of(plan: Plan, row: TaskRow) -> PlanNode | None:
    """The node a row stands for; None for the definition, and for an item, turn, branch or handler with nodes."""
    return plan.nodes.get(address_of(row.path))


def memo_of(row: TaskRow) -> dict[str, Any]:
    """What a row keeps beside its columns.

    `trigger` (path of the node that fired an `any`), `handler` (index in `on_error`), `timeout` (the handler is
    `on_timeout`), `codes` (classes of its error), `child` (a flow's instance), `branch` (a switch's case), `timeout_at`
    (a wait), `redo` (last child tried again), `late` (of an item whose `closed` says something else), `end`, `was`,
    `walk`, `undoing`, `undo_at`, `compensation`, `back`, `compensate`, `forced` (a scope that ends, is undone or taken
    back).
    """
    return json.loads(row.memo) if row.memo else {}


def remember(row: TaskRow, **entries: Any) -> None:
    """Add entries to a row's memo; None removes one."""
    memo = memo_of(row) | entries
    kept = {key: value for key, value in memo.items() if value is not None}
    row.memo = json.dumps(kept, separators=(",", ":")) if kept else None


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


def wrapped_error(cause: str, *, node: str, path: str, attempt: int) -> str:
    """A container's error: what failed inside it says what is wrong, and is its cause (DSL rule 23)."""
    inner = json.loads(cause)
    return error_text(inner["code"], inner["message"], node=node, path=path, attempt=attempt, cause=cause)


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
        queue=CONTROL_QUEUE if node is None or node.executor is None else node.queue or DEFAULT_QUEUE,
        priority=node.priority or 0 if node is not None else 0,
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
