"""Use cases around instances: start, wait, cancel, and everything one may ask about them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from ..engine.catalog import Catalog, DefinitionSource, Registered
from ..engine.errors import EngineStopped, NotFound
from ..engine.outputs import OutputReader
from ..engine.status import WorkflowStatus, status_of
from ..engine.translate import engine_errors
from ..engine.waiters import Waiters
from ..repositories import views
from ..repositories.database import Database
from ..repositories.readmodels import HistoryRow, InstanceSummary, LogEntry, PrefixAmbiguous, PrefixUnknown
from ..repositories.records import EngineRole, InstanceState, TaskRow, TaskState
from .live import LiveView
from .task_view import TaskView, TaskViews

if TYPE_CHECKING:
    from ..engine.starts import StartOptions
    from ..engine.workflow_engine import WorkflowEngine
    from ..repositories.filters import InstanceFilter

__all__ = ["ExecutionService"]

_PAGE: Final = 500


class ExecutionService:
    """Instances of one database. Without an engine it only reads."""

    def __init__(self, database: Database, catalog: Catalog, engine: WorkflowEngine | None = None) -> None:
        self._database = database
        self._catalog = catalog
        self._engine = engine
        self._outputs = OutputReader(database)
        self._waiters = Waiters(database) if engine is None else engine.parts.waiters

    @property
    def database(self) -> Database:
        """The database it reads."""
        return self._database

    # --- changing

    def start(
        self,
        definition: DefinitionSource | Registered,
        inputs: Any = None,
        *,
        key: str | None = None,
        options: StartOptions | None = None,
    ) -> str:
        """Start an instance and return its id; durable then. Raises DefinitionError, InputError, NotFound, Conflict."""
        return self._running.start_now(definition, inputs, key=key, options=options)

    def wait(self, instance_id: str, timeout_s: float | None = None) -> bool:
        """Block until the instance has ended, in whatever process; False after the timeout. Raises NotFound."""
        return self._waiters.wait(instance_id, timeout_s)

    def cancel(
        self, instance_id: str, reason: str = "cancelled by its user", grace_s: float | None = None
    ) -> None:
        """Ask an instance to stop; durable when this returns. Raises NotFound, IllegalTransition."""
        asyncio.run(self._running.cancel_workflow(instance_id, reason, grace_s=grace_s))

    @property
    def _running(self) -> WorkflowEngine:
        if self._engine is None:
            raise EngineStopped("this service was opened for reading only.")
        return self._engine

    # --- asking

    def resolve(self, prefix: str) -> str:
        """The id of the one instance whose id begins like this. Raises NotFound."""
        with engine_errors(), self._database.read() as connection:
            try:
                return views.find_instance(connection, prefix).id
            except PrefixUnknown as exc:
                raise NotFound(f"{exc}.", hint="`strataflow list` shows what there is.") from exc
            except PrefixAmbiguous as exc:
                raise NotFound(f"{exc}.", hint="Write more of the id.") from exc

    def known(self, instance_id: str) -> str:
        """The id as it is, of an instance that there is. Raises NotFound."""
        with engine_errors(), self._database.read() as connection:
            if views.state_of(connection, instance_id) is None:
                raise NotFound(
                    f"there is no instance {instance_id}.", hint="`strataflow list` shows what there is."
                )
        return instance_id

    def status(self, instance_id: str) -> WorkflowStatus:
        """One instance with its inputs and its result. Raises NotFound."""
        with engine_errors():
            with self._database.read() as connection:
                view = views.instance(connection, instance_id)
                root = views.task(connection, instance_id, "") if view is not None else None
            if view is None:
                raise NotFound(
                    f"there is no instance {instance_id}.", hint="`strataflow list` shows what there is."
                )
            plan = self._catalog.plan(view.definition_id)
            with self._database.read() as connection:
                return status_of(connection, self._outputs, view, plan, root)

    def instances(
        self,
        *,
        state: InstanceState | None = None,
        name: str | None = None,
        limit: int | None = None,
        where: InstanceFilter | None = None,
        after: tuple[int, str] | None = None,
        oldest_first: bool = False,
        page_size: int = _PAGE,
    ) -> Iterator[InstanceSummary]:
        """Instances, newest first or oldest first, at most `limit`; `after` is the `cursor` of the last one seen.

        `page_size` is how many are read at a time, here and below: who wants only some of them says so.
        """
        before = after
        left = limit
        while left is None or left > 0:
            size = page_size if left is None else min(page_size, left)
            with engine_errors(), self._database.read() as connection:
                page = views.instances(
                    connection,
                    state=state,
                    name=name,
                    limit=size,
                    before=before,
                    where=where,
                    oldest_first=oldest_first,
                )
            yield from page
            if len(page) < size:
                return
            before = page[-1].cursor
            left = None if left is None else left - len(page)

    def tasks(
        self,
        instance_id: str,
        *,
        state: TaskState | None = None,
        under: str | None = None,
        after: str = "",
        whole: bool = True,
        at_once: int | None = None,
    ) -> Iterator[TaskView]:
        """The instance's nodes and map items in path order, each with what it got and what it gave.

        `under` takes only what is inside one task (`settle`, `settle["ACME"]`), `after` goes on behind a path.
        `at_once` is how many are read together: who wants few need not wait for more.
        Not `whole` is for a quick look: without inputs, and without outputs that are put together from many rows.
        """
        with engine_errors():
            yield from TaskViews(self._database, self._catalog).of(
                instance_id, state=state, under=under, after=after, whole=whole, at_once=at_once
            )

    def history(self, instance_id: str, after: int = 0, *, page_size: int = _PAGE) -> Iterator[HistoryRow]:
        """Every transition, oldest first, from behind number `after` on."""
        while True:
            with engine_errors(), self._database.read() as connection:
                page = views.history(connection, instance_id, page_size, after)
            yield from page
            if len(page) < page_size:
                return
            after = page[-1].seq

    def logs(
        self,
        instance_id: str,
        *,
        path: str | None = None,
        level: str | None = None,
        search: str | None = None,
        since: int | None = None,
        until: int | None = None,
        after: int = 0,
        page_size: int = _PAGE,
    ) -> Iterator[LogEntry]:
        """Log lines, oldest first, from behind number `after` on.

        `search` is text that a line must have, whatever the case; `since` and `until` are instants in microseconds.
        """
        wanted: dict[str, Any] = {"path": path, "level": level, "since": since, "until": until}
        # the databases know the case of ASCII letters alone alike; of others this process does
        here = search.casefold() if search and not search.isascii() else None
        if here is None:
            wanted["search"] = search
        while True:
            with engine_errors(), self._database.read() as connection:
                page = views.logs(connection, instance_id, **wanted, after=after, limit=page_size)
            yield from page if here is None else (each for each in page if here in each.message.casefold())
            if len(page) < page_size:
                return
            after = page[-1].seq

    def live(self, instance_id: str) -> LiveView:
        """A view to look at again and again while the instance runs. Raises NotFound."""
        return LiveView(self._database, self._catalog, instance_id)

    def pending_tasks(self, limit: int = 100) -> list[TaskRow]:
        """Ready tasks of all instances in the order in which they would be claimed."""
        with engine_errors(), self._database.read() as connection:
            return views.ready_tasks(connection, limit)

    def unfinished(self) -> int:
        """How many instances have not ended and would go on by themselves; paused ones do not."""
        with engine_errors(), self._database.read() as connection:
            return views.unfinished_count(connection)

    def workers(self) -> int:
        """How many processes execute tasks of this database now, as far as it knows."""
        with engine_errors(), self._database.read() as connection:
            return sum(
                1 for each in views.engines(connection, alive_only=True) if each.role is EngineRole.ENGINE
            )

    def paused(self) -> int:
        """How many instances are paused: they go on only when somebody resumes them."""
        return sum(1 for _ in self.instances(state=InstanceState.PAUSED))

    def started_before(self, name: str, key: str) -> str | None:
        """The instance that was started under this key of this definition name."""
        with engine_errors(), self._database.read() as connection:
            view = views.instance_by_key(connection, name, key)
        return None if view is None else view.id
