"""Observable metrics: read from running engines when they are exported, and never in between.

All engines of a process that report to one provider share the instruments; each brings its attributes.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from .instruments import LOOP, METRICS, POOL, QUEUE, EngineFacts, QueueFacts

if TYPE_CHECKING:
    from .probe import Probe

__all__ = ["Gauges", "gauges_of"]

log: Final = logging.getLogger("strataflow.gauges")
Attributes = Mapping[str, str]
Values = Iterable[tuple[float, Attributes]]

_ENGINE: Final[dict[str, Callable[[EngineFacts], Values]]] = {
    "strataflow.slot.used": lambda f: [(f.slots_used, {})],
    "strataflow.slot.limit": lambda f: [(f.slots, {})],
    "strataflow.thread.used": lambda f: [(f.threads_used, {})],
    "strataflow.thread.limit": lambda f: [(f.threads, {})],
    "strataflow.thread.abandoned": lambda f: [(f.threads_abandoned, {})],
    "strataflow.connection.used": lambda f: [(used, {POOL: p}) for p, (used, _) in f.connections.items()],
    "strataflow.connection.limit": lambda f: [(most, {POOL: p}) for p, (_, most) in f.connections.items()],
    "strataflow.writer.backlog": lambda f: [(f.backlog, {})],
    "strataflow.loop.age": lambda f: [(age, {LOOP: name}) for name, age in f.loop_ages.items()],
    "strataflow.span.dropped": lambda f: [(f.spans_dropped, {})],
}
_QUEUES: Final[dict[str, Callable[[QueueFacts], Values]]] = {
    "strataflow.queue.depth": lambda f: [(each[0], {QUEUE: name}) for name, each in f.queues.items()],
    "strataflow.queue.age": lambda f: [(each[1], {QUEUE: name}) for name, each in f.queues.items()],
    "strataflow.queue.blocked": lambda f: [(each[2], {QUEUE: name}) for name, each in f.queues.items()],
    "strataflow.engine.alive": lambda f: [(f.engines, {})],
    "strataflow.feed.lag": lambda f: [(f.feed_lag, {})],
}


class Gauges:
    """The observable metrics of one provider."""

    def __init__(self, provider: MeterProvider) -> None:
        self._guard = threading.Lock()
        self._sources: dict[int, tuple[Probe, Attributes, bool]] = {}
        meter = provider.get_meter("strataflow")
        me: weakref.ref[Gauges] = weakref.ref(self)
        for name in (*_ENGINE, *_QUEUES):
            metric = METRICS[name]
            make = (
                meter.create_observable_counter if metric.kind == "counter" else meter.create_observable_gauge
            )
            make(name, [_callback(me, name)], metric.unit, metric.description)

    def add(self, probe: Probe, attributes: Attributes, *, queues: bool) -> None:
        """Report an engine from now on; with `queues` also what stands in its database."""
        with self._guard:
            self._sources[id(probe)] = (probe, attributes, queues)

    def remove(self, probe: Probe) -> None:
        """Report it no more."""
        with self._guard:
            self._sources.pop(id(probe), None)

    def observe(self, name: str) -> Iterator[Observation]:
        """Read one metric of all engines. One that cannot be read is left out."""
        with self._guard:
            sources = list(self._sources.values())
        for probe, attributes, queues in sources:
            try:
                values = _values(name, probe, queues=queues)
            except Exception as exc:  # noqa: BLE001 - a scrape gives what can be had
                log.warning("%s cannot be read: %s", name, exc, extra={"action": "gauge_failed"})
                continue
            for value, more in values:
                yield Observation(value, {**attributes, **more})


def _values(name: str, probe: Probe, *, queues: bool) -> list[tuple[float, Attributes]]:
    of_engine = _ENGINE.get(name)
    if of_engine is not None:
        return list(of_engine(probe.engine()))
    return list(_QUEUES[name](probe.queues())) if queues else []


def _callback(me: weakref.ref[Gauges], name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        gauges = me()
        return gauges.observe(name) if gauges is not None else ()

    return observe


_guard: Final = threading.Lock()
_known: Final[weakref.WeakKeyDictionary[MeterProvider, Gauges]] = weakref.WeakKeyDictionary()


def gauges_of(provider: MeterProvider) -> Gauges:
    """The one of a provider: an instrument can be made only once."""
    with _guard:
        found = _known.get(provider)
        if found is None:
            found = _known[provider] = Gauges(provider)
        return found
