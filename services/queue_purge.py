"""Emptying a queue: runs that are nothing but a task in it are cancelled, in bounded batches; others are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..engine.errors import EngineError
from ..engine.events import CancelInstance
from ..engine.translate import engine_errors
from ..repositories import queueviews, views

if TYPE_CHECKING:
    from ..engine.catalog import Catalog
    from ..engine.plan import PlanNode
    from ..engine.workflow_engine import WorkflowEngine
    from ..repositories.queueviews import QueueEntry

__all__ = ["Purged", "cancel_alone", "is_alone", "purge"]

#: Entries that are read, and runs that are cancelled, at once.
_PAGE: Final = 500
Cursor = tuple[int, int, str, str]


@dataclass(slots=True)
class Purged:
    """What a purge came to."""

    #: Runs that were cancelled.
    cancelled: int = 0
    #: Tasks of larger runs, which stay.
    left: int = 0
    #: Runs that ended meanwhile, or could not be cancelled, and why.
    refused: dict[str, str] = field(default_factory=dict[str, str])


def is_alone(catalog: Catalog, definition_id: str) -> bool:
    """Has the definition one task and nothing else?"""
    return _only_node(catalog, definition_id) is not None


def _only_node(catalog: Catalog, definition_id: str) -> PlanNode | None:
    plan = catalog.plan(definition_id)
    node = next(iter(plan.nodes.values()), None)
    return node if len(plan.nodes) == 1 and node is not None and node.kind == "run" else None


def purge(engine: WorkflowEngine, queue: str, *, reason: str, include_delayed: bool) -> Purged:
    """Cancel page by page; what arrives behind the page that is read is met by a later one."""
    catalog, answer = engine.parts.catalog, Purged()
    for page in _pages(engine, queue, include_delayed=include_delayed):
        alone: list[str] = []
        for entry in page:
            node = _only_node(catalog, entry.definition_id)
            if node is None:
                answer.left += bool(entry.path)  # a start that waits has no task yet, in whatever queue
            elif entry.path or (node.queue or entry.queue) == queue:
                alone.append(entry.instance_id)
        done, refused = cancel_alone(engine, alone, reason)
        answer.cancelled += done
        answer.refused |= refused
    return answer


def cancel_alone(engine: WorkflowEngine, instance_ids: list[str], reason: str) -> tuple[int, dict[str, str]]:
    """Cancel these runs, all in few transactions; how many were, and what the others said."""
    events = [CancelInstance(instance_id, reason) for instance_id in dict.fromkeys(instance_ids)]
    futures = [(event, engine.state_manager.submit(event)) for event in events]
    done, refused = 0, dict[str, str]()
    for event, future in futures:
        try:
            with engine_errors():
                done += future.result().status == "accepted"
        except EngineError as exc:
            refused[event.instance_id] = exc.message
    return done, refused


def _pages(engine: WorkflowEngine, queue: str, *, include_delayed: bool) -> Iterator[list[QueueEntry]]:
    for read in (queueviews.ready_entries, queueviews.blocked_entries):
        yield from _keyed(engine, queue, read)
    if include_delayed:
        yield from _keyed(engine, queue, queueviews.delayed_entries)
        yield from _starts(engine)


def _keyed(engine: WorkflowEngine, queue: str, read: Callable[..., Any]) -> Iterator[list[QueueEntry]]:
    after: Cursor | None = None
    while True:
        with engine_errors(), engine.database.read() as connection:
            page: list[QueueEntry] = read(connection, queue, limit=_PAGE, after=after)
        yield page
        if len(page) < _PAGE:
            return
        after = page[-1].cursor


def _starts(engine: WorkflowEngine) -> Iterator[list[QueueEntry]]:
    """Of all queues: which one a start goes to, its only node may say."""
    after = ""
    while True:
        with engine_errors(), engine.database.read() as connection:
            page = queueviews.delayed_starts(connection, views.now(connection), limit=_PAGE, after=after)
        yield page
        if len(page) < _PAGE:
            return
        after = page[-1].instance_id
