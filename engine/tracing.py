"""Traces: which trace a run belongs to, ids that follow from rows, the spans of attempts, and headers for others.

A run's span covers days and processes: it is sent by whoever commits the run's end (`engine/spans.py`). So that what
runs meanwhile, anywhere, can be its child, the ids of the spans of runs, tasks and attempts are hashes of what they
stand for; nothing is stored for them. Only a run that was started inside a trace keeps where it belongs, as the label
`traceparent` (W3C Trace Context).

Imported only when an engine traces.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from opentelemetry.util.types import Attributes

from ..executors.base import TaskError
from ..repositories.records import InstanceRow, TaskRow
from .batching import ClaimedTask
from .outcomes import Cancelled, Failed, Outcome, Released, RetryLater, Succeeded
from .plan import address_of

__all__ = [
    "TRACEPARENT",
    "TRACESTATE",
    "TraceRef",
    "Tracing",
    "attempt_span_id",
    "current_ids",
    "record_error",
    "root_attributes",
    "task_attributes",
    "task_span_id",
    "trace_id_of",
]

#: Labels of a run that was started inside a trace.
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
_PARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
#: A label's value is no longer.
_LONGEST_STATE: Final = 512
_SCOPE: Final = "strataflow"
#: Runs whose trace is remembered.
_REMEMBERED: Final = 4_096


def current_ids() -> dict[str, str]:
    """Ids of the current span for a log record; nothing where there is none."""
    here = trace.get_current_span().get_span_context()
    if not here.is_valid:
        return {}
    return {"trace_id": f"{here.trace_id:032x}", "span_id": f"{here.span_id:016x}"}


def trace_id_of(instance_id: str) -> int:
    """The trace of a run that was not started inside one."""
    return int.from_bytes(blake2b(instance_id.encode(), digest_size=16).digest()) or 1


def task_span_id(instance_id: str, path: str) -> int:
    """The span of a task; with the path '' the run's own."""
    return _span_id(f"{instance_id}/{path}")


def attempt_span_id(instance_id: str, path: str, attempt: int) -> int:
    """The span of one attempt."""
    return _span_id(f"{instance_id}/{path} {attempt}")


def _span_id(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) or 1


@dataclass(slots=True, frozen=True)
class TraceRef:
    """The trace that a run belongs to."""

    trace_id: int
    #: The span that it was started in; None: it is the root.
    parent_id: int | None
    flags: TraceFlags
    state: TraceState | None = None

    def inside(self, span_id: int) -> Context:
        """A context whose current span is one that somebody else sends."""
        context = SpanContext(
            self.trace_id, span_id, is_remote=True, trace_flags=self.flags, trace_state=self.state
        )
        return trace.set_span_in_context(NonRecordingSpan(context), Context())

    def label(self, span_id: int) -> dict[str, str]:
        """Labels of a run that belongs into a span of this trace."""
        return _labels(self.trace_id, span_id, self.flags, self.state)


class _GivenIds(IdGenerator):
    """The provider's ids, but for spans whose ids follow from rows."""

    def __init__(self, others: IdGenerator) -> None:
        self._others = others
        self._given = threading.local()

    @contextmanager
    def given(self, trace_id: int, span_id: int) -> Generator[None]:
        """Use these for the span that this thread starts inside the block."""
        self._given.ids = (trace_id, span_id)
        try:
            yield
        finally:
            self._given.ids = None

    def _ids(self) -> tuple[int, int] | None:
        found: tuple[int, int] | None = getattr(self._given, "ids", None)
        return found

    def generate_trace_id(self) -> int:
        """The run's, or a new one."""
        ids = self._ids()
        return ids[0] if ids is not None else self._others.generate_trace_id()

    def generate_span_id(self) -> int:
        """The row's, or a new one."""
        ids = self._ids()
        return ids[1] if ids is not None else self._others.generate_span_id()

    def is_trace_id_random(self) -> bool:
        """A hash is not what W3C Trace Context calls random: nothing is claimed of it."""
        return self._ids() is None and self._others.is_trace_id_random()


class Tracing:
    """Switches an engine's traces on: `EngineConfig(tracing=Tracing())`. Safe to share between engines.

    Spans go to `provider`, by default the process's. Raises ValueError when that is not one of opentelemetry-sdk: no
    other lets us choose ids.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        found = provider if provider is not None else trace.get_tracer_provider()
        if not isinstance(found, TracerProvider):
            raise ValueError(  # noqa: TRY004 - of a value that is given to a setting, as all of them
                "tracing needs a TracerProvider of opentelemetry-sdk, and none is set: give one, or call "
                "opentelemetry.trace.set_tracer_provider first"
            )
        self.provider: Final = found
        tracer = found.get_tracer(_SCOPE)
        self._tracer = tracer
        self._ids: _GivenIds | None = None
        self._known: dict[str, TraceRef] = {}
        if isinstance(tracer, Tracer):  # else OTEL_SDK_DISABLED is set
            if not isinstance(tracer.id_generator, _GivenIds):
                tracer.id_generator = _GivenIds(tracer.id_generator)
            self._ids = tracer.id_generator

    @property
    def tracer(self) -> trace.Tracer:
        """For spans of other things than runs."""
        return self._tracer

    # --- which trace

    def trace_of(self, instance: InstanceRow) -> TraceRef:
        """The trace of a run: where it was started, else one of its own."""
        found = self._known.get(instance.id)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[instance.id] = self._looked_up(instance)
        return found

    def _looked_up(self, instance: InstanceRow) -> TraceRef:
        if instance.labels is not None and f'"{TRACEPARENT}"' in instance.labels:
            labels: dict[str, str] = json.loads(instance.labels)
            found = _parsed(labels)
            if found is not None:
                return found
        trace_id = trace_id_of(instance.id)
        return TraceRef(trace_id, None, self._decided(trace_id, instance))

    def _decided(self, trace_id: int, instance: InstanceRow) -> TraceFlags:
        """What the sampler says of a run that is a root; the samplers of the SDK decide by the trace's id."""
        if not isinstance(self._tracer, Tracer):
            return TraceFlags(TraceFlags.DEFAULT)
        name, attributes = f"workflow {instance.name}", root_attributes(instance)
        found = self._tracer.sampler.should_sample(
            Context(), trace_id, name, SpanKind.INTERNAL, attributes, ()
        )
        return TraceFlags(TraceFlags.SAMPLED if found.decision.is_sampled() else TraceFlags.DEFAULT)

    def labels(self) -> dict[str, str]:
        """Labels of a run that is started here: it belongs to the current span, if there is one."""
        here = trace.get_current_span().get_span_context()
        if not here.is_valid:
            return {}
        return _labels(here.trace_id, here.span_id, here.trace_flags, here.trace_state)

    def child_labels(self, task: ClaimedTask) -> dict[str, str]:
        """Labels of a run that a task starts."""
        instance = task.instance
        return self.trace_of(instance).label(task_span_id(instance.id, task.row.path))

    # --- spans

    def start_span(
        self,
        name: str,
        *,
        of: TraceRef,
        parent_id: int | None,
        span_id: int,
        at_us: int | None = None,
        attributes: Attributes = None,
    ) -> Span:
        """Begin a span with an id of our own, at an instant in microseconds; now without one."""
        context = Context() if parent_id is None else of.inside(parent_id)
        start = None if at_us is None else at_us * 1000
        if self._ids is None:
            return self._tracer.start_span(name, context)
        with self._ids.given(of.trace_id, span_id):
            return self._tracer.start_span(name, context, attributes=attributes, start_time=start)

    def attempt(self, task: ClaimedTask) -> _AttemptSpan:
        """The span of an attempt that begins now."""
        row, instance = task.row, task.instance
        ref = self.trace_of(instance)
        if not ref.flags.sampled:
            return _AttemptSpan(trace.get_current_span(ref.inside(task_span_id(instance.id, row.path))))
        span = self.start_span(
            f"attempt {row.executor}",
            of=ref,
            parent_id=task_span_id(instance.id, row.path),
            span_id=attempt_span_id(instance.id, row.path, row.attempt),
            attributes={
                **task_attributes(instance, row),
                "strataflow.task.attempt": row.attempt,
                "strataflow.engine.id": row.engine or "",
            },
        )
        return _AttemptSpan(span)


class _AttemptSpan:
    """Implements `OpenSpan`."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def enter(self) -> None:
        """Make it current, for good: the context is the attempt's own."""
        otel_context.attach(trace.set_span_in_context(self._span, Context()))

    def ended(self, outcome: Outcome | None) -> None:
        """Send it. What this engine has lost is told of by the engine that takes it over, under the same id."""
        if outcome is None or not self._span.is_recording():
            return
        span, word = self._span, _WORDS.get(type(outcome), "other")
        span.set_attribute("strataflow.outcome", word)
        if isinstance(outcome, Failed):
            record_error(span, outcome.error)
        elif isinstance(outcome, RetryLater):
            span.add_event("retry", {"strataflow.reason": outcome.reason})
        span.end(time.time_ns())

    def headers(self) -> Mapping[str, str]:
        """Headers for the current span: the attempt's, or one that the executor opened inside it."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        return carrier


_WORDS: Final[dict[type[Any], str]] = {
    Succeeded: "succeeded",
    Failed: "failed",
    Cancelled: "cancelled",
    Released: "released",
    RetryLater: "retry_later",
}


def record_error(span: Span, error: TaskError) -> None:
    """A failure as the conventions have it. The texts of an error have no secrets any more."""
    span.set_attribute("error.type", error.code)
    span.set_status(Status(StatusCode.ERROR, error.message))
    event = {"exception.type": error.code, "exception.message": error.message}
    if error.traceback:
        event["exception.stacktrace"] = error.traceback
    span.add_event("exception", event)


def root_attributes(instance: InstanceRow) -> dict[str, str | int]:
    """What is known of a run from its beginning on; samplers may look at it."""
    return {
        "strataflow.instance.id": instance.id,
        "strataflow.definition.name": instance.name,
        "strataflow.definition.version": instance.version,
    }


def task_attributes(instance: InstanceRow, row: TaskRow) -> dict[str, str | int]:
    """What is known of a task from its beginning on."""
    known: dict[str, str | int] = {
        **root_attributes(instance),
        "strataflow.task.path": row.path,
        "strataflow.task.node": address_of(row.path),
    }
    if row.executor is not None:
        known["strataflow.executor"] = row.executor
        known["strataflow.queue"] = row.queue
    return known


def _labels(trace_id: int, span_id: int, flags: TraceFlags, state: TraceState | None) -> dict[str, str]:
    sampled = int(flags) & TraceFlags.SAMPLED
    found = {TRACEPARENT: f"00-{trace_id:032x}-{span_id:016x}-{sampled:02x}"}
    text = state.to_header() if state else ""
    if 0 < len(text) <= _LONGEST_STATE:
        found[TRACESTATE] = text
    return found


def _parsed(labels: Mapping[str, str]) -> TraceRef | None:
    """Where the labels of a run say that it belongs; None for what is no `traceparent`."""
    found = _PARENT.fullmatch(labels.get(TRACEPARENT, ""))
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    if not trace_id or not span_id:
        return None
    state = TraceState.from_header([labels[TRACESTATE]]) if TRACESTATE in labels else None
    return TraceRef(trace_id, span_id, TraceFlags(flags & TraceFlags.SAMPLED), state)
