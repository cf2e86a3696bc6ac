"""What surrounds an attempt while its executor runs: its span, and by whom log lines know which attempt they belong to.

Made only when an engine traces or its log wants to know; otherwise an attempt runs in the context that there is. Both
kinds of executors see it: a coroutine runs in the attempt's context, a thread in a copy of it.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from .batching import ClaimedTask
    from .outcomes import Outcome
    from .tracing import Tracing

__all__ = ["CURRENT", "TASK_LOG", "AttemptRef", "OpenSpan", "Surrounding", "Surroundings"]

log: Final = logging.getLogger("strataflow.surroundings")
_FAILED: Final = "a span could not be made or ended"
#: The log to which goes what executors say by `ctx.log`.
TASK_LOG: Final = logging.getLogger("strataflow.task")
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


@dataclass(slots=True, frozen=True)
class AttemptRef:
    """Which attempt a piece of code runs for."""

    instance_id: str
    path: str
    attempt: int
    executor: str
    definition: str
    engine: str
    #: Takes the attempt's secrets out of a text.
    mask: Callable[[str], str]


#: The attempt for which code runs now; None outside of executors, and where nobody wants to know.
CURRENT: Final = contextvars.ContextVar[AttemptRef | None]("strataflow_attempt", default=None)


class OpenSpan(Protocol):
    """The span of one attempt."""

    def enter(self) -> None:
        """Make it the current span of the context in which this is called."""
        ...

    def ended(self, outcome: Outcome | None) -> None:
        """The attempt is over; None: this engine has lost it, and whoever takes it over tells of it."""
        ...

    def headers(self) -> Mapping[str, str]:
        """What carries the current span to another service."""
        ...


class Surrounding:
    """The surrounding of one attempt."""

    __slots__ = ("_span", "context", "ref")

    def __init__(self, ref: AttemptRef, span: OpenSpan | None) -> None:
        self.ref = ref
        self._span = span
        #: What the executor runs in.
        self.context = contextvars.copy_context()
        self.context.run(self._enter)

    def _enter(self) -> None:
        CURRENT.set(self.ref)
        if self._span is not None:
            self._span.enter()

    def ended(self, outcome: Outcome | None) -> None:
        """The attempt is over; None when this engine has lost it."""
        if self._span is not None:
            try:
                self._span.ended(outcome)
            except Exception:
                log.exception(_FAILED, extra={"action": "span_failed"})

    def headers(self) -> Mapping[str, str]:
        """What carries the current span to another service; empty without tracing."""
        return self._span.headers() if self._span is not None else {}

    def log(self, level: str, message: str) -> None:
        """Repeat a line of the executor's in the process's own log; the message has no secrets any more."""
        number = _LEVELS.get(level, logging.ERROR)
        if not TASK_LOG.isEnabledFor(number):
            return
        ref = self.ref
        extra: dict[str, Any] = {
            "action": "task_log",
            "instance_id": ref.instance_id,
            "path": ref.path,
            "attempt": ref.attempt,
            "executor": ref.executor,
        }
        TASK_LOG.log(number, "%s", message, extra=extra)


class Surroundings:
    """Makes them for one engine."""

    def __init__(self, tracing: Tracing | None) -> None:
        self._tracing = tracing

    def begin(self, task: ClaimedTask, mask: Callable[[str], str]) -> Surrounding:
        """The surrounding of an attempt that is about to begin."""
        row, instance = task.row, task.instance
        ref = AttemptRef(
            instance_id=instance.id,
            path=row.path,
            attempt=row.attempt,
            executor=row.executor or "",
            definition=instance.name,
            engine=row.engine or "",
            mask=mask,
        )
        return Surrounding(ref, self._span(task))

    def _span(self, task: ClaimedTask) -> OpenSpan | None:
        """A tracer that fails, such as somebody's sampler or processor, costs the span and nothing else."""
        if self._tracing is None:
            return None
        try:
            return self._tracing.attempt(task)
        except Exception:
            log.exception(_FAILED, extra={"action": "span_failed"})
            return None

    def child_labels(self, task: ClaimedTask) -> tuple[tuple[str, str], ...]:
        """Labels of a run that a task starts, by which it belongs to the same trace."""
        if self._tracing is None:
            return ()
        try:
            return tuple(self._tracing.child_labels(task).items())
        except Exception:
            log.exception(_FAILED, extra={"action": "span_failed"})
            return ()
