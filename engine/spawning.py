"""`ctx.spawn`: an attempt starts a run of its own, linked to it as a child, that nobody waits for.

The child's id follows from the task and a key (or the number of the spawn within the attempt): an attempt that is
repeated finds the children of the one before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..repositories.records import MessageRow
from .errors import Conflict
from .flows import MAX_DEPTH
from .messages import start_message
from .schedules import derived_id
from .starts import StartOptions, prepare_start

if TYPE_CHECKING:
    from .batching import ClaimedTask
    from .catalog import Catalog, Registered

__all__ = ["child_of"]

_PAYLOAD = "payload"


def child_of(
    catalog: Catalog,
    task: ClaimedTask,
    target: str | Mapping[str, Any],
    inputs: Any,
    key: str,
    *,
    labels: Mapping[str, str],
) -> MessageRow:
    """The message that asks for a child run. Raises NotFound, DefinitionError, InputError, Conflict."""
    now = time.time_ns() // 1000  # only shown: no rule reads it
    instance = task.instance
    if instance.depth >= MAX_DEPTH:
        raise Conflict(f"{task.row.path!r} would start the {MAX_DEPTH + 1}th run inside another.")
    registered = catalog.find(target) if isinstance(target, str) else _one_node(catalog, task, target)
    given = inputs if isinstance(target, str) else {_PAYLOAD: inputs}
    options = StartOptions(labels=labels, queue=instance.queue, priority=instance.priority)
    start = prepare_start(registered, catalog.plan(registered.id), given, options)
    start = replace(
        start,
        instance_id=derived_id("spawn", instance.id, task.row.path, key),
        parent_id=instance.id,
        parent_path=task.row.path,
        depth=instance.depth + 1,
    )
    return start_message(start, f"spawn:{instance.id}/{task.row.path}:{key}", now)


def _one_node(catalog: Catalog, task: ClaimedTask, node: Mapping[str, Any]) -> Registered:
    """A `run` node as a definition of its own; its configuration travels as an input, which is never an expression."""
    if "run" not in node or "with" in node:
        raise Conflict(
            "spawn takes the name of a definition, or a `run` node without `with`.",
            hint='Write ctx.spawn({"run": "shop.mail", "retry": {"max": 3}}, {"to": "ada@example.com"}).',
        )
    document: dict[str, Any] = {
        "dsl": "1",
        "name": f"{task.plan.name}.spawned",
        "inputs": {"type": "object", "properties": {_PAYLOAD: {}}},
        "nodes": {"work": {**node, "with": "{{ inputs." + _PAYLOAD + " }}"}},
        "output": "{{ nodes.work.output }}",
    }
    return catalog.register(document)
