"""The composition root: puts database, registry, engine and services together from a few options.

Three ways in: `offline` needs no database (validate, graph), `reading` opens it alone (lists, status, history: no
thread is started, nothing is written), `running` starts an engine (a client that only writes, or one that executes).
What is slow to import is imported where it is used, so that a command line that only prints its help stays quick.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from ..engine.catalog import Catalog
    from ..engine.config import EngineConfig
    from ..engine.feed import EventFeed
    from ..engine.workflow_engine import WorkflowEngine
    from ..executors.egress import Egress
    from ..executors.registry import ExecutorRegistry
    from ..repositories.database import Database
    from .access.keys import KeyService
    from .alerts.model import AlertHook
    from .alerts.service import AlertService
    from .execution_service import ExecutionService
    from .explain import Explainer
    from .limits import LimitService
    from .monitoring import MonitoringService
    from .operations import Operations
    from .queues import QueueService
    from .schedules import SchedulerService
    from .secrets import SecretService
    from .statistics import StatisticsService
    from .task_pages import TaskPages
    from .telemetry import TelemetryOptions
    from .triggers import TriggerService
    from .upkeep import Upkeep
    from .webhooks import WebhookService
    from .workflow_service import WorkflowService

__all__ = [
    "DEFAULT_URL",
    "Options",
    "Services",
    "engine_config",
    "make_registry",
    "offline",
    "reading",
    "running",
]

#: The file in the current folder that is used when nobody names a database.
DEFAULT_URL: Final = "sqlite:///strataflow.db"


@dataclass(slots=True, frozen=True, kw_only=True)
class Options:
    """What a process is told about itself."""

    url: str = DEFAULT_URL
    #: Modules or `.py` files with executor domains.
    imports: tuple[str, ...] = ()
    #: Claim and execute tasks; False makes a client.
    executes: bool = False
    #: May definitions call `shell` and `python.call`?
    allow_local_code: bool = True
    #: Make the SQLite file if it is not there.
    create: bool = False
    #: Executor attempts at a time.
    slots: int = 100
    #: Queues to serve; empty = all.
    queues: tuple[str, ...] = ()
    #: How long running tasks may go on after a stop, in seconds.
    grace_s: float = 10.0
    #: What follows is `EngineConfig`'s.
    threads: int = 32
    poll_s: float = 1.0
    recovery_s: float = 2.0
    lease_s: float = 30.0
    lease_margin_s: float = 3.0
    missing_executor_s: float | None = 60.0
    notify: bool = True
    tune_gc: bool = True
    egress_allow: tuple[str, ...] = ()
    #: Where `http.request` may go; `auto`: anywhere, but not where definitions come from others (no local code).
    egress: Literal["auto", "any", "public"] = "auto"
    log_attempts: bool = False
    #: What the process shows of itself; None: nothing, whatever the environment says.
    telemetry: TelemetryOptions | None = None
    #: The namespace's name, where the process serves several.
    namespace: str | None = None
    #: Evaluate the rules of alerts, every so many seconds, and tell the hooks.
    watches: bool = False
    watch_s: float = 15.0
    alert_hooks: tuple[AlertHook, ...] = ()


@dataclass(slots=True, frozen=True)
class Services:
    """The use cases on one database."""

    workflows: WorkflowService
    executions: ExecutionService
    registry: ExecutorRegistry
    explainer: Explainer
    database: Database
    catalog: Catalog
    #: None when only the database was opened.
    engine: WorkflowEngine | None = None

    @property
    def engine_id(self) -> str:
        """The id under which this process stands in the database; empty for a reader."""
        return self.engine.parts.engine_id if self.engine is not None else ""

    @property
    def queues(self) -> QueueService:
        """Queues: what stands in them, their settings and order."""
        from .queues import QueueService

        return QueueService(self.database, self.engine)

    @property
    def feed(self) -> EventFeed:
        """What happens, in order."""
        from ..engine.feed import EventFeed

        return EventFeed(self.database)

    @property
    def schedules(self) -> SchedulerService:
        """What starts definitions at given times."""
        from .schedules import SchedulerService

        return SchedulerService(self.database, self.catalog, self.engine)

    @property
    def triggers(self) -> TriggerService:
        """What starts definitions when an event comes."""
        from .triggers import TriggerService

        return TriggerService(self.database, self.catalog, self.engine)

    @property
    def limits(self) -> LimitService:
        """Counters of limits, and the numbers that people set."""
        from .limits import LimitService

        return LimitService(self.database, self.catalog, self.engine)

    @property
    def secrets(self) -> SecretService:
        """Values that definitions read by name, sealed."""
        from .secrets import SecretService

        return SecretService(self.database)

    def keys(self, namespace: str | None = None) -> KeyService:
        """API keys, of the name under which the database is served."""
        from .access.keys import KeyService
        from .namespaces import DEFAULT_NAMESPACE

        return KeyService(self.database, namespace or DEFAULT_NAMESPACE)

    @property
    def operations(self) -> Operations:
        """What one may do to runs. Raises EngineStopped when only the database was opened."""
        from ..engine.errors import EngineStopped
        from .operations import Operations

        if self.engine is None:
            raise EngineStopped("this process has no engine.")
        return Operations(self.engine)

    @property
    def task_pages(self) -> TaskPages:
        """Tasks across runs, and one with its course."""
        from .task_pages import TaskPages

        return TaskPages(self.database, self.catalog, self.engine)

    @property
    def upkeep(self) -> Upkeep:
        """Runs as files, and deleting them."""
        from .upkeep import Upkeep

        return Upkeep(self.database)

    @property
    def webhooks(self) -> WebhookService:
        """Who is told of events by HTTP."""
        from ..engine.webhooks import egress_of
        from .webhooks import WebhookService

        allowed = None if self.engine is None else self.engine.config.egress_allow
        return WebhookService(self.database, egress=egress_of(allowed))

    @property
    def alerts(self) -> AlertService:
        """What somebody should look at, and the rules that say so."""
        from .alerts.service import AlertService

        return AlertService(self.database)

    @property
    def monitoring(self) -> MonitoringService:
        """How the process and what it serves are doing."""
        from .monitoring import MonitoringService

        return MonitoringService(self.database, self.registry, self.explainer, self.engine)

    @property
    def statistics(self) -> StatisticsService:
        """What tasks came to, how fast, and by whom."""
        from .statistics import StatisticsService

        return StatisticsService(self.database)


def make_registry(options: Options) -> ExecutorRegistry:
    """Built-in domains, installed plugins, then the modules named.

    Where local code is allowed, a module may also hold nothing but functions for `python.call`, and the modules of the
    current folder are found without being named.

    Raises:
        RegistryError: a module is broken, or has neither executors nor leave to hold anything else.
    """
    from ..executors.builtin import default_registry
    from ..executors.plugins import domains_in, load_module

    registry = default_registry(allow_local_code=options.allow_local_code, egress=_egress(options))
    here = str(Path.cwd())
    if options.allow_local_code and not {"", here} & set(sys.path):
        sys.path.append(here)
    for module in options.imports:
        if not options.allow_local_code or domains_in(load_module(module)):
            registry.import_module(module)
    return registry


def _egress(options: Options) -> Egress | None:
    from ..engine.webhooks import egress_of

    if options.egress == "any" or (options.egress == "auto" and options.allow_local_code):
        return None
    return egress_of(options.egress_allow or None)


def offline(options: Options) -> WorkflowService:
    """Definitions of files: no database is opened. Raises RegistryError."""
    from .workflow_service import WorkflowService

    return WorkflowService(make_registry(options))


@contextmanager
def reading(options: Options) -> Generator[Services]:
    """The database alone.

    Raises:
        NotFound: there is no SQLite file and `create` is off.
        SchemaError, DatabaseUnavailable: the database does not fit, or cannot be opened.
    """
    from ..engine.catalog import Catalog
    from ..engine.plans import PlanCache
    from ..engine.translate import engine_errors
    from ..repositories.database import Database
    from ..repositories.migrate import require_current
    from .execution_service import ExecutionService
    from .explain import Explainer
    from .workflow_service import WorkflowService

    if not options.create:
        _require_file(options)
    registry = make_registry(options)
    with engine_errors():
        database = Database(options.url)
        require_current(database.url)
    try:
        catalog = Catalog(database, registry, PlanCache(), executes=False)
        workflows = WorkflowService(registry, database=database, catalog=catalog)
        explainer = Explainer(database, catalog)
        executions = ExecutionService(database, catalog)
        yield Services(workflows, executions, registry, explainer, database, catalog)
    finally:
        database.close()


@contextmanager
def running(options: Options) -> Generator[Services]:
    """An engine, started; it is stopped when the block ends.

    Raises:
        NotFound: there is no SQLite file and `create` is off.
        SchemaError, DatabaseUnavailable: the database does not fit, or cannot be opened.
    """
    from ..engine.workflow_engine import WorkflowEngine
    from .execution_service import ExecutionService
    from .explain import Explainer
    from .workflow_service import WorkflowService

    if not options.create:
        _require_file(options)
    registry = make_registry(options)
    config, metrics = engine_config(options), None
    if options.telemetry is not None:
        from .telemetry import configure_telemetry

        telemetry = configure_telemetry(options.telemetry)
        config = replace(config, tracing=telemetry.tracing)
        metrics = telemetry.collector(options.namespace) if telemetry.collector is not None else None
    with WorkflowEngine(options.url, registry=registry, config=config, metrics=metrics) as engine:
        catalog = engine.parts.catalog
        workflows = WorkflowService(registry, database=engine.database, catalog=catalog)
        executions = ExecutionService(engine.database, catalog, engine)
        explainer = Explainer(engine.database, catalog)
        services = Services(workflows, executions, registry, explainer, engine.database, catalog, engine)
        if not options.watches:
            yield services
            return
        from .background import watching

        with watching(engine, explainer, every_s=options.watch_s, hooks=options.alert_hooks):
            yield services


def engine_config(options: Options) -> EngineConfig:
    """The engine's settings among a process's. Raises ValueError for one out of bounds."""
    from ..engine.config import EngineConfig
    from ..engine.membership import Lease
    from ..engine.secrets import secret_from_nowhere
    from ..engine.stored_secrets import StoredSecrets

    return EngineConfig(
        secret=None if options.namespace is None else StoredSecrets(otherwise=secret_from_nowhere),
        executes=options.executes,
        slots=options.slots,
        threads=options.threads,
        queues=options.queues or None,
        lease=Lease(options.lease_s, options.lease_margin_s),
        poll_s=options.poll_s,
        recovery_s=options.recovery_s,
        grace_s=options.grace_s,
        missing_executor_s=options.missing_executor_s,
        notify=options.notify,
        tune_gc=options.tune_gc,
        egress_allow=options.egress_allow or None,
        log_attempts=options.log_attempts,
    )


def _require_file(options: Options) -> None:
    from ..engine.errors import NotFound
    from ..repositories.url import DatabaseUrl

    url = DatabaseUrl.parse(options.url)
    if url.path is not None and not url.path.exists():
        raise NotFound(
            f"there is no database {url.label}.",
            hint="`strataflow run FILE` makes one in the current folder; name another one with --db URL.",
        )
