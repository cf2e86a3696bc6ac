"""From a `Task` to a start of the engine, and batches of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ...engine.errors import EngineError, QueueFull
from ...engine.events import Applied
from ...engine.starts import StartOptions
from ...engine.translate import engine_errors
from .async_result import AsyncResult
from .compositions import Composition
from .config import Task, TaskConfig, as_task, listed, refused
from .definitions import TaskDefinitions
from .room import patiently, tries

if TYPE_CHECKING:
    from ...engine.catalog import Registered
    from ...engine.workflow_engine import WorkflowEngine

__all__ = ["TAG", "Batch", "BatchItem", "Start", "Submitter"]

#: A tag is a label of this name and the value "1", so that every filter of runs finds it.
TAG: Final = "tag:"
#: Members of a batch that are tried together while they wait for room.
_TRIED_AT_ONCE: Final = 100
#: The engine of this moment: it may be stopped and started while somebody waits.
Engine = Callable[[], "WorkflowEngine"]


@dataclass(slots=True, frozen=True)
class BatchItem:
    """What became of one member of a batch: a task, or why there is none."""

    index: int
    result: AsyncResult | None = None
    error: EngineError | None = None


@dataclass(slots=True, frozen=True)
class Batch:
    """What became of a batch, in the order in which it was given."""

    items: tuple[BatchItem, ...]

    @property
    def ok(self) -> bool:
        """Was every member accepted?"""
        return not self.errors

    @property
    def results(self) -> list[AsyncResult]:
        """The tasks that were accepted."""
        return [item.result for item in self.items if item.result is not None]

    @property
    def errors(self) -> Mapping[int, EngineError]:
        """Why the others were not, by their place in the batch."""
        return {item.index: item.error for item in self.items if item.error is not None}


@dataclass(slots=True, frozen=True)
class Start:
    """Everything that the engine is told."""

    definition: Registered
    inputs: dict[str, Any]
    options: StartOptions


class Submitter:
    """Starts tasks on the engine it is given."""

    def __init__(self, definitions: TaskDefinitions) -> None:
        self._definitions = definitions

    def prepare(self, engine: WorkflowEngine, task: Task) -> Start:
        """The start of a plain task."""
        definition = self._definitions.plain(engine, task.name, task.config)
        options, expires = _options(task.config)
        inputs: dict[str, Any] = {"payload": task.payload}
        if expires is not None:
            inputs["expires_at"] = expires
        return Start(definition, inputs, options)

    def compose(self, engine: WorkflowEngine, composition: Composition, config: TaskConfig) -> Start:
        """The start of a composition; of its config only what is said to a start counts."""
        options, expires = _options(config)
        inputs = dict(composition.inputs)
        if expires is not None:
            if "expires_at" not in composition.document["inputs"]["properties"]:
                raise ValueError("of compositions only a chain can expire: it has one first step")
            inputs["expires_at"] = expires
        return Start(self._definitions.other(engine, composition.document), inputs, options)

    def start(
        self, engine: Engine, start: Start, connection: Any = None, *, wait_for_room: float = 0.0
    ) -> str:
        """Start it and give its id; durable then, or with the caller's transaction."""
        if connection is not None:
            return _inside(engine(), connection, start)
        return patiently(
            wait_for_room, lambda: engine().start_now(start.definition, start.inputs, options=start.options)
        )

    def start_many(
        self, engine: Engine, given: Iterable[Any], base: TaskConfig, *, wait_for_room: float = 0.0
    ) -> list[str | EngineError]:
        """Hand all valid ones to the writer together, which commits them in as few transactions as it can.

        With `wait_for_room` those that a full queue refuses are tried again, in their order, until they have room or
        the time is over.
        """
        starts = [self._checked(engine(), each, base) for each in listed(given)]
        answers: dict[int, str | EngineError] = {}
        left: list[tuple[int, Start]] = []
        for place, each in enumerate(starts):
            if isinstance(each, EngineError):
                answers[place] = each
            else:
                left.append((place, each))
        at_once = len(left)
        for _ in tries(wait_for_room):
            left = _round(engine(), left, at_once, answers)
            if not left:
                break
            at_once = _TRIED_AT_ONCE
        return [answers[place] for place in range(len(starts))]

    def start_all(self, engine: WorkflowEngine, given: Iterable[Any], base: TaskConfig) -> list[str]:
        """All in one transaction, or none. Raises what is wrong with the first that is refused."""
        starts: list[Start] = []
        for number, each in enumerate(listed(given)):
            try:
                starts.append(self.prepare(engine, as_task(each, base)))
            except (EngineError, TypeError, ValueError) as exc:
                exc.add_note(f"member {number} of the batch; nothing was submitted")
                raise
        with engine_errors(), engine.database.write() as connection:
            ids = [_inside(engine, connection, start) for start in starts]
        engine.scheduler.wake()
        return ids

    def _checked(self, engine: WorkflowEngine, given: Any, base: TaskConfig) -> Start | EngineError:
        try:
            return self.prepare(engine, as_task(given, base))
        except (EngineError, TypeError, ValueError) as exc:
            return refused(exc)


def _inside(engine: WorkflowEngine, connection: Any, start: Start) -> str:
    return engine.start_in_transaction(connection, start.definition, start.inputs, options=start.options)


def _round(
    engine: WorkflowEngine, left: list[tuple[int, Start]], at_once: int, answers: dict[int, str | EngineError]
) -> list[tuple[int, Start]]:
    """Try those that have no place yet; gives those that have none still. A queue that refuses one is left alone."""
    refused: list[tuple[int, Start]] = []
    full: set[str | None] = set()
    for begin in range(0, len(left), at_once):
        part = left[begin : begin + at_once]
        tried = {place: _submitted(engine, start) for place, start in part if start.options.queue not in full}
        for place, start in part:
            if place in tried:
                answers[place] = _answer(tried[place])
            if isinstance(answers[place], QueueFull):
                refused.append((place, start))
                full.add(start.options.queue)
    return refused


def _submitted(engine: WorkflowEngine, start: Start) -> Future[Applied] | EngineError:
    try:
        return engine.submit_start(start.definition, start.inputs, options=start.options)
    except EngineError as exc:
        return exc


def _answer(future: Future[Applied] | EngineError) -> str | EngineError:
    if isinstance(future, EngineError):
        return future
    try:
        return future.result().instance_id
    except EngineError as exc:
        return exc


def _options(config: TaskConfig) -> tuple[StartOptions, int | None]:
    """What a start is told, and when it expires, in microseconds."""
    start_at, expires_at = config.instants(datetime.fromtimestamp(time.time(), UTC))
    options = StartOptions(
        key=config.key,
        labels={f"{TAG}{tag}": "1" for tag in config.tags},
        start_at=start_at,
        expires_at=expires_at,
        queue=config.queue,
        priority=config.engine_priority,
    )
    return options, None if expires_at is None else int(expires_at.timestamp() * 1_000_000)
