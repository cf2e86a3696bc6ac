"""How a process and what it serves are doing: health, engines, executors, queues, statistics, alerts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Self

from ..engine.errors import EngineError, EngineStopped
from ..engine.outputs import iso
from ..engine.translate import engine_errors
from ..repositories import migrate, views
from ..repositories.gaugeviews import engines_alive, queue_gauges
from ..repositories.records import EngineRole
from .alerts.service import AlertService
from .statistics import Statistics, StatisticsService

if TYPE_CHECKING:
    from ..engine.loops import Loop
    from ..engine.workflow_engine import WorkflowEngine
    from ..executors.registry import ExecutorRegistry
    from ..repositories.database import Database
    from ..repositories.readmodels import EngineView
    from .alerts.model import AlertHook
    from .explain import Explainer

__all__ = ["STUCK_S", "EngineStatus", "ExecutorStatus", "HealthReport", "MonitoringService", "QueueStatus"]

#: A loop that has not come round for so long is not well.
STUCK_S: Final = 60.0
#: Tasks that are counted in each queue, and queues.
_MOST: Final = 10_000
_QUEUES: Final = 500
_ALERTS: Final = 1_000


@dataclass(slots=True, frozen=True)
class EngineStatus:
    """A process that executes or writes."""

    id: str
    role: str
    state: str
    host: str
    pid: int
    release: str
    slots: int
    executors: tuple[str, ...]
    lease_until: str | None
    started_at: str | None
    ended_at: str | None
    batch: int = 0
    boot_id: str | None = None
    lock_file: str | None = None


@dataclass(slots=True, frozen=True)
class ExecutorStatus:
    """An executor that this process or a live engine has."""

    name: str
    description: str | None
    #: JSON Schema of its configuration; None where this process does not have it.
    config_schema: Mapping[str, Any] | None
    #: `ok`, or what is wrong; None: it has no health check, or was not asked.
    health: str | None
    #: How many live engines have it, and which.
    engines: int
    engine_ids: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class QueueStatus:
    """What stands in a queue that has something ready, or held back."""

    queue: str
    #: Counted up to 10,000.
    ready: int
    #: Of the one that has been ready for longest.
    age_s: float
    #: Held back by the queue's own limit.
    blocked: int


@dataclass(slots=True, frozen=True)
class HealthReport:
    """How a process stands."""

    #: `ok`; `degraded`: a critical alert is open; `not ready`: it cannot do its work.
    status: str
    version: str
    #: The schema that this release needs; it does not start on another one.
    schema: str
    #: The database, without what is secret; does it answer, and within how many seconds?
    database: str
    reachable: bool
    answer_s: float | None
    #: What the database said where it does not answer.
    problem: str | None
    #: Seconds since each loop came round, and those that have not for too long.
    loops: dict[str, float] = field(default_factory=dict[str, float])
    stuck: tuple[str, ...] = ()
    #: Connections in use, and at most, by pool.
    pools: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    #: This process's engine, whether it executes, and engines that live and execute.
    engine: str | None = None
    executes: bool = False
    engines: int = 0
    #: Open alerts by severity, of the newest thousand.
    alerts: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def ready(self) -> bool:
        """Can the process do its work?"""
        return self.reachable and not self.stuck

    def as_json(self) -> dict[str, Any]:
        """As the command line and the API give it."""
        pools = {name: {"used": used, "most": most} for name, (used, most) in self.pools.items()}
        return {**asdict(self), "stuck": list(self.stuck), "pools": pools}


class MonitoringService:
    """Use cases of monitoring on one database; `alerts` has those of alerts."""

    def __init__(
        self,
        database: Database,
        registry: ExecutorRegistry,
        explainer: Explainer,
        engine: WorkflowEngine | None = None,
    ) -> None:
        self._database = database
        self._registry = registry
        self._explainer = explainer
        self._engine = engine
        self.alerts: Final = AlertService(database)

    @classmethod
    def of(cls, engine: WorkflowEngine) -> Self:
        """For an engine that runs in this process. Raises EngineStopped."""
        from .explain import Explainer

        explainer = Explainer(engine.database, engine.parts.catalog)
        return cls(engine.database, engine.registry, explainer, engine)

    def watching(
        self, *, hooks: Sequence[AlertHook] = (), every_s: float = 15.0
    ) -> AbstractContextManager[Loop]:
        """Evaluate the rules of alerts while a block lasts, and tell `hooks` of every alert, whoever raised it.

        `strataflow worker` and `strataflow serve` do so by themselves. Raises EngineStopped without an engine.
        """
        from .background import watching

        if self._engine is None:
            raise EngineStopped(
                "only a process with an engine can watch.", hint="Use MonitoringService.of(engine)."
            )
        return watching(self._engine, self._explainer, every_s=every_s, hooks=hooks)

    # --- health

    def readiness(self) -> HealthReport:
        """Can this process do its work? One small read. Never raises for a database that is away."""
        return self._report(whole=False)

    def health(self) -> HealthReport:
        """The whole report. Never raises for a database that is away."""
        return self._report(whole=True)

    def _report(self, *, whole: bool) -> HealthReport:
        begun, problem = time.monotonic(), None
        alive, alerts = 0, dict[str, int]()
        try:
            with engine_errors(), self._database.read() as session:
                alive = engines_alive(
                    session, views.now(session)
                )  # a table: a clock alone would prove nothing
            answer_s: float | None = time.monotonic() - begun
            if whole:
                alerts = self._open_alerts()
        except EngineError as exc:
            answer_s, problem = None, exc.message
        loops, me, executes = self._process()
        stuck = tuple(sorted(name for name, age in loops.items() if age >= STUCK_S))
        status = "not ready" if problem or stuck else "degraded" if alerts.get("critical") else "ok"
        return HealthReport(
            status=status,
            version=version("strataflow"),
            schema=migrate.HEAD,
            database=self._database.url.label,
            reachable=problem is None,
            answer_s=answer_s,
            problem=problem,
            loops=loops,
            stuck=stuck,
            pools=self._database.connections(),
            engine=me,
            executes=executes,
            engines=alive,
            alerts=alerts,
        )

    def _process(self) -> tuple[dict[str, float], str | None, bool]:
        """Ages of loops, the id of the engine, and whether it executes."""
        if self._engine is None:
            return {}, None, False
        try:
            parts = self._engine.parts
        except EngineStopped:
            return {}, None, False
        return parts.loop_ages(), parts.engine_id, parts.config.executes

    def _open_alerts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for number, each in enumerate(self.alerts.list(states=("raised", "acknowledged"))):
            if number >= _ALERTS:
                break
            found[each.severity] = found.get(each.severity, 0) + 1
        return found

    # --- what there is

    def engines(self, *, alive_only: bool = False) -> list[EngineStatus]:
        """Processes that write here, those that started last first: the live ones, and those that ended lately."""
        with engine_errors(), self._database.read() as session:
            return [_engine(each) for each in views.engines(session, alive_only=alive_only)]

    def executors(self, *, health: bool = False, timeout_s: float = 5.0) -> list[ExecutorStatus]:
        """What this process and live engines can run; with `health` those of this process are asked how they are."""
        with engine_errors(), self._database.read() as session:
            alive = [
                each for each in views.engines(session, alive_only=True) if each.role == EngineRole.ENGINE
            ]
        known = {each.name: each for each in self._registry.list_executors()}
        answers = asyncio.run(self._registry.health(timeout_s)) if health else {}
        found: list[ExecutorStatus] = []
        for name in sorted(known.keys() | {name for engine in alive for name in engine.executors}):
            ids = tuple(engine.id for engine in alive if name in engine.executors)
            here = known.get(name)
            schema = self._registry.config_schema(name) if here is not None else None
            about = here.description if here is not None else None
            found.append(ExecutorStatus(name, about, schema, answers.get(name), len(ids), ids))
        return found

    def queues(self) -> list[QueueStatus]:
        """Queues in which something is ready or held back, by name."""
        with engine_errors(), self._database.read() as session:
            now = views.now(session)
            found = queue_gauges(session, most=_MOST, queues=_QUEUES)
        return [
            QueueStatus(
                each.queue,
                each.ready,
                0.0 if each.oldest_ready_at is None else max(0, now - each.oldest_ready_at) / 1_000_000,
                each.blocked,
            )
            for each in found
        ]

    def statistics(self, *, queue: str | None = None, window_s: float | None = None) -> Statistics:
        """What tasks came to, how fast, and by whom."""
        return StatisticsService(self._database).read(queue=queue, window_s=window_s)


def _engine(each: EngineView) -> EngineStatus:
    return EngineStatus(
        each.id,
        each.role.value,
        each.state.value,
        each.host,
        each.pid,
        each.release,
        each.slots,
        each.executors,
        iso(each.lease_until),
        iso(each.started_at),
        iso(each.ended_at),
        each.batch,
        each.boot_id,
        each.lock_file,
    )
