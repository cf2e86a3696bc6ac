"""The definitions behind tasks: one node each, stored once for every combination of options of a handler.

They are stored without asking whether an executor of that name is here: another process may have the handler, now or
later.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ...engine.catalog import Registered
from ...engine.compiler import compile_definition
from ...engine.durations import parse_duration
from ...engine.errors import NotFound
from ...engine.membership import new_id
from ...engine.parser import canonical_text, content_hash
from ...engine.translate import engine_errors
from ...repositories.gateways import WorkflowRepository
from .config import Execution, TaskConfig
from .handlers import DOMAIN, executor_of, slug_of

if TYPE_CHECKING:
    from ...engine.workflow_engine import WorkflowEngine

__all__ = ["COMPOSED", "NODE", "PREFIX", "Described", "TaskDefinitions", "node_of", "one_node", "result_in"]

#: Name of the only node, and so its path.
NODE: Final = "work"
#: Every definition of the task system begins so.
PREFIX: Final = f"{DOMAIN}."
#: … and those of compositions so; no task name gives a slug with a dot.
COMPOSED: Final = f"{PREFIX}do."
_KEPT: Final = 1024


@dataclass(slots=True, frozen=True)
class Described:
    """What a stored definition says about the tasks it stands for."""

    #: `task`, or the kind of composition: `chain`, `chord`, `group`.
    kind: str
    #: Name of the handler; of a composition its description.
    name: str
    execution: Execution
    #: Nodes that run handlers, or the one map that does.
    nodes: tuple[str, ...]


def node_of(name: str, execution: Execution, given: Any) -> dict[str, Any]:
    """A node that calls the handler of this name with `given`, as `handlers.wrapped` takes it."""
    node: dict[str, Any] = {"run": executor_of(name), "with": given}
    retry: dict[str, Any] = {"max": execution.max_retries}
    if execution.max_retries:
        retry |= {
            "delay": _duration(execution.retry_delay),
            "backoff": "exponential",
            "factor": float(execution.backoff),
            "max_delay": _duration(execution.max_delay),
            "jitter": float(execution.jitter),
        }
        if execution.never:
            retry["never"] = [_pattern(each) for each in execution.never]
    node["retry"] = retry
    if execution.timeout is not None:
        node["timeout"] = _duration(execution.timeout)
    if execution.heartbeat is not None:
        node["heartbeat"] = _duration(execution.heartbeat)
    return node


def one_node(name: str, execution: Execution) -> dict[str, Any]:
    """The definition of a plain task."""
    return {
        "dsl": "1",
        "name": PREFIX + slug_of(name),
        "description": name,
        "inputs": {"type": "object", "properties": {"payload": {}, "expires_at": {"type": "integer"}}},
        # without an `output` of its own: the run ends with its node, in the same transaction
        "nodes": {NODE: node_of(name, execution, "{{ inputs }}")},
    }


def result_in(name: str, output: Any) -> Any:
    """What the handler returned, or the composition gave, in the output of a run of this name."""
    if name.startswith(COMPOSED) or output is None:
        return output
    return output[NODE]


class TaskDefinitions:
    """Stores definitions and remembers them; safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plain: dict[tuple[str, Execution], Registered] = {}
        self._others: dict[str, Registered] = {}
        self._described: dict[str, Described] = {}

    def plain(self, engine: WorkflowEngine, name: str, config: TaskConfig) -> Registered:
        """The definition of a task of this name and with these options."""
        key = (name, config.execution)
        found = self._plain.get(key)
        if found is None:
            found = _store(engine, one_node(name, config.execution))
            with self._lock:
                _make_room(self._plain)
                self._plain[key] = found
        return found

    def other(self, engine: WorkflowEngine, document: Mapping[str, Any]) -> Registered:
        """The stored definition of a composition."""
        key = json.dumps(document, sort_keys=True)
        found = self._others.get(key)
        if found is None:
            found = _store(engine, document)
            with self._lock:
                _make_room(self._others)
                self._others[key] = found
        return found

    def described(self, engine: WorkflowEngine, definition_id: str) -> Described:
        """What a definition says about its tasks. Raises NotFound."""
        found = self._described.get(definition_id)
        if found is None:
            with engine_errors():
                stored = WorkflowRepository(engine.database).get(definition_id)
            if stored is None:
                raise NotFound(f"there is no definition with id {definition_id}.")
            found = _describe(stored.name, json.loads(stored.body))
            with self._lock:
                _make_room(self._described)
                self._described[definition_id] = found
        return found


def _make_room(cache: dict[Any, Any]) -> None:
    if len(cache) >= _KEPT:
        cache.clear()


def _store(engine: WorkflowEngine, document: Mapping[str, Any]) -> Registered:
    definition, _, _ = compile_definition(document)
    text = canonical_text(definition)
    with engine_errors():
        stored = WorkflowRepository(engine.database).store(
            definition_id=new_id(),
            name=definition.name,
            digest=content_hash(text),
            body=text,
            now=time.time_ns() // 1000,
            activate=False,
        )
        return engine.parts.catalog.find(f"{stored.name}@{stored.version}")


def _describe(name: str, document: Mapping[str, Any]) -> Described:
    kind = name.removeprefix(COMPOSED) if name.startswith(COMPOSED) else "task"
    nodes: Mapping[str, Mapping[str, Any]] = document["nodes"]
    first = next(iter(nodes.values()))
    node = first if "run" in first else first.get("do", {})
    return Described(kind, document.get("description") or name, _execution(node), tuple(nodes))


def _execution(node: Mapping[str, Any]) -> Execution:
    standard = TaskConfig()
    retry: Mapping[str, Any] = node.get("retry") or {}
    timeout, heartbeat = node.get("timeout"), node.get("heartbeat")
    return Execution(
        heartbeat=None if heartbeat is None else _seconds(heartbeat),
        timeout=None if timeout is None else _seconds(timeout),
        max_retries=int(retry.get("max", 0)),
        retry_delay=_seconds(retry["delay"]) if "delay" in retry else standard.retry_delay,
        backoff=float(retry.get("factor", standard.backoff)),
        max_delay=_seconds(retry["max_delay"]) if "max_delay" in retry else standard.max_delay,
        jitter=float(retry.get("jitter", standard.jitter)),
        never=tuple(str(each).removeprefix(PREFIX) for each in retry.get("never", ())),
    )


#: Codes of the engine itself, which have no domain.
_ENGINE_CODES: Final = frozenset({"timeout", "config", "output", "cancelled", "no_executor", "heartbeat"})


def _pattern(error: str) -> str:
    return error if "." in error or "*" in error or error in _ENGINE_CODES else PREFIX + error


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _seconds(text: str) -> float:
    return parse_duration(text) / 1_000_000
