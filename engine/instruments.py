"""Every metric there is, as a table; `engine/telemetry.py` and `engine/gauges.py` make and feed them.

Names and units follow the conventions of OpenTelemetry. No attribute has a value per run: a metric with a series for
each run would end in an overflow series (RELIABILITY R3).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = ["METRICS", "NAMESPACE", "SPANS", "SPAN_ATTRIBUTES", "EngineFacts", "Metric", "QueueFacts"]

Kind = Literal["counter", "histogram", "gauge", "up-down counter"]
#: The attribute of every metric of a process that serves several namespaces.
NAMESPACE: Final = "strataflow.namespace"
DEFINITION: Final = "strataflow.definition.name"
EXECUTOR: Final = "strataflow.executor"
LOOP: Final = "strataflow.loop"
POOL: Final = "strataflow.pool"
QUEUE: Final = "strataflow.queue"
STATE: Final = "strataflow.state"
METHOD: Final = "http.request.method"
ROUTE: Final = "http.route"
STATUS: Final = "http.response.status_code"
ERROR: Final = "error.type"

#: Seconds: of a commit or a request …
_SHORT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: … and of tasks and runs, which may take days.
_LONG: Final = (
    0.005,
    0.02,
    0.1,
    0.5,
    1.0,
    5.0,
    15.0,
    60.0,
    300.0,
    1800.0,
    7200.0,
    43200.0,
    172800.0,
    604800.0,
)
_EVENTS: Final = (0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)


@dataclass(slots=True, frozen=True)
class Metric:
    """One metric."""

    name: str
    kind: Kind
    unit: str
    attributes: tuple[str, ...]
    description: str
    buckets: tuple[float, ...] | None = None


def _metrics(*found: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in found}


METRICS: Final = _metrics(
    Metric("strataflow.workflow.started", "counter", "{workflow}", (DEFINITION,), "Runs that began."),
    Metric("strataflow.workflow.ended", "counter", "{workflow}", (DEFINITION, STATE), "Runs that ended."),
    Metric(
        "strataflow.workflow.duration",
        "histogram",
        "s",
        (DEFINITION, STATE),
        "From the start that was asked for to the end of a run.",
        _LONG,
    ),
    Metric(
        "strataflow.task.claimed", "counter", "{task}", (EXECUTOR, QUEUE), "Attempts that this engine took."
    ),
    Metric(
        "strataflow.task.ended",
        "counter",
        "{task}",
        (EXECUTOR, QUEUE, STATE),
        "Tasks of executors that ended.",
    ),
    Metric(
        "strataflow.task.duration",
        "histogram",
        "s",
        (EXECUTOR, QUEUE, STATE),
        "The last attempt of a task that ended.",
        _LONG,
    ),
    Metric(
        "strataflow.task.retried",
        "counter",
        "{task}",
        (EXECUTOR, QUEUE),
        "Attempts that failed and are repeated.",
    ),
    Metric(
        "strataflow.task.lost",
        "counter",
        "{task}",
        (EXECUTOR, QUEUE),
        "Attempts whose engine's lease expired, brought back by this engine.",
    ),
    Metric(
        "strataflow.lease.lost", "counter", "{lease}", (), "Times that this engine was declared dead itself."
    ),
    Metric(
        "strataflow.write.rejected",
        "counter",
        "{event}",
        (),
        "Outcomes and notes of attempts that held their task no more.",
    ),
    Metric("strataflow.batch.events", "histogram", "{event}", (), "Events of one transaction.", _EVENTS),
    Metric(
        "strataflow.batch.duration", "histogram", "s", (), "One transaction, its commit included.", _SHORT
    ),
    Metric("strataflow.slot.used", "gauge", "{slot}", (), "Executor slots in use."),
    Metric("strataflow.slot.limit", "gauge", "{slot}", (), "Executor slots of this engine."),
    Metric("strataflow.thread.used", "gauge", "{thread}", (), "Threads that run synchronous executors."),
    Metric("strataflow.thread.limit", "gauge", "{thread}", (), "Most threads for them."),
    Metric(
        "strataflow.thread.abandoned",
        "gauge",
        "{thread}",
        (),
        "Threads left behind by attempts that ended before their function returned.",
    ),
    Metric(
        "strataflow.connection.used",
        "gauge",
        "{connection}",
        (POOL,),
        "Database connections in use, of the pools for reads and for short writes.",
    ),
    Metric("strataflow.connection.limit", "gauge", "{connection}", (POOL,), "Most connections of a pool."),
    Metric("strataflow.writer.backlog", "gauge", "{event}", (), "Events that wait for the next transaction."),
    Metric(
        "strataflow.loop.age",
        "gauge",
        "s",
        (LOOP,),
        "Since a background loop last came round without an error.",
    ),
    Metric("strataflow.span.dropped", "counter", "{span}", (), "Spans not sent because too many waited."),
    Metric("strataflow.queue.depth", "gauge", "{task}", (QUEUE,), "Ready tasks; counted up to 10,000."),
    Metric("strataflow.queue.age", "gauge", "s", (QUEUE,), "How long the oldest of them has been ready."),
    Metric(
        "strataflow.queue.blocked", "gauge", "{task}", (QUEUE,), "Tasks that the queue's limit holds back."
    ),
    Metric("strataflow.engine.alive", "gauge", "{engine}", (), "Engines whose lease is good."),
    Metric(
        "strataflow.feed.lag",
        "gauge",
        "{transaction}",
        (),
        "Transactions that readers of the feed may have to wait for; 0 on SQLite.",
    ),
    Metric(
        "http.server.request.duration",
        "histogram",
        "s",
        (METHOD, ROUTE, STATUS, ERROR),
        "Requests to the API, by the template of their route.",
        _SHORT,
    ),
    Metric("http.server.active_requests", "up-down counter", "{request}", (METHOD,), "Requests under way."),
)


_RUN: Final = ("strataflow.instance.id", "strataflow.definition.name", "strataflow.definition.version")
_TASK: Final = (
    *_RUN,
    "strataflow.task.path",
    "strataflow.task.node",
    "strataflow.executor",
    "strataflow.queue",
    "error.type",
)
#: Every kind of span: its name, with what varies in capitals, and the attributes that it may have.
SPANS: Final[dict[str, tuple[str, ...]]] = {
    "workflow DEFINITION": (
        *_RUN,
        "strataflow.state",
        "strataflow.generation",
        "strataflow.parent.id",
        "error.type",
    ),
    "task NODE": (*_TASK, "strataflow.state", "strataflow.task.attempts", "strataflow.generation"),
    "attempt EXECUTOR": (*_TASK, "strataflow.task.attempt", "strataflow.engine.id", "strataflow.outcome"),
    "METHOD ROUTE": (METHOD, ROUTE, STATUS, "url.path", "error.type"),
}
#: What their attributes say.
SPAN_ATTRIBUTES: Final[dict[str, str]] = {
    "strataflow.instance.id": "the run",
    "strataflow.definition.name": "the definition's name",
    "strataflow.definition.version": "… and version",
    "strataflow.parent.id": "the run that started this one and waits for it",
    "strataflow.generation": "how often the run had been taken back; absent at first",
    "strataflow.state": "the state in which it ended",
    "strataflow.task.path": "where the task stands: `clean[12]`",
    "strataflow.task.node": "the node in the definition: `clean[]`",
    "strataflow.task.attempts": "how many attempts it took",
    "strataflow.task.attempt": "the attempt's number",
    "strataflow.executor": "the executor",
    "strataflow.queue": "the queue",
    "strataflow.engine.id": "the engine that ran it",
    "strataflow.outcome": "`succeeded`, `failed`, `cancelled`, `released`, `retry_later`; `lost`: its engine died",
    "error.type": "the error's code; of a request, the status",
    "http.request.method": "the method",
    "http.route": "the template of the path",
    "http.response.status_code": "the answer's status",
    "url.path": "the path",
}


@dataclass(slots=True, frozen=True)
class QueueFacts:
    """What stands in the database's queues, as far as it was counted."""

    #: Queue → ready tasks, the age of the oldest in seconds, tasks that its limit holds back.
    queues: dict[str, tuple[int, float, int]] = field(default_factory=dict[str, tuple[int, float, int]])
    engines: int = 0
    feed_lag: int = 0


@dataclass(slots=True, frozen=True)
class EngineFacts:
    """What one engine uses of what it has, now."""

    slots_used: int
    slots: int
    threads_used: int
    threads: int
    threads_abandoned: int
    #: Pool → connections in use, and at most.
    connections: dict[str, tuple[int, int]]
    backlog: int
    #: Loop → seconds since it last came round without an error.
    loop_ages: dict[str, float]
    spans_dropped: int
