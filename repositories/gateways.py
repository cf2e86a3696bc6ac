"""Reads by subject, each on one database: definitions, instances, tasks, logs. Thin over `views` and `definitions`."""

from __future__ import annotations

from . import definitions, views
from .database import Database
from .definitions import DefinitionBody, StoredDefinition
from .readmodels import HistoryRow, InstanceSummary, InstanceView, LogEntry
from .records import DefinitionState, InstanceState, TaskRow

__all__ = ["InstanceRepository", "LogRepository", "TaskRepository", "WorkflowRepository"]


class _Repository:
    def __init__(self, database: Database) -> None:
        self._database = database


class WorkflowRepository(_Repository):
    """Stored definition versions."""

    def get(self, definition_id: str) -> DefinitionBody | None:
        """One version by id."""
        with self._database.read() as connection:
            return definitions.get(connection, definition_id)

    def by_name(self, name: str, version: int | None = None) -> StoredDefinition | None:
        """One version by name, without its body; without a version the active one, else the newest draft."""
        with self._database.read() as connection:
            return definitions.meant(connection, name, version)

    def state_of(self, definition_id: str) -> DefinitionState | None:
        """What a version is now: draft, active, deprecated, archived."""
        with self._database.read() as connection:
            return definitions.state_of(connection, definition_id)

    def newest(self, name: str) -> StoredDefinition | None:
        """The newest version of a name, whatever its state."""
        with self._database.read() as connection:
            return next(iter(definitions.listing(connection, name=name, limit=1)), None)

    def store(
        self, *, definition_id: str, name: str, digest: str, body: str, now: int, activate: bool
    ) -> StoredDefinition:
        """Store a version by its content, once."""
        return definitions.store(
            self._database, id=definition_id, name=name, hash=digest, body=body, now=now, activate=activate
        )


class InstanceRepository(_Repository):
    """Runs of definitions."""

    def get(self, instance_id: str) -> InstanceView | None:
        """One run with its payloads."""
        with self._database.read() as connection:
            return views.instance(connection, instance_id)

    def state_of(self, instance_id: str) -> InstanceState | None:
        """The state of one run."""
        with self._database.read() as connection:
            return views.state_of(connection, instance_id)

    def find(self, prefix: str) -> InstanceSummary:
        """The one run whose id begins so."""
        with self._database.read() as connection:
            return views.find_instance(connection, prefix)

    def unfinished(self) -> int:
        """How many runs have not ended."""
        with self._database.read() as connection:
            return views.unfinished_count(connection)


class TaskRepository(_Repository):
    """Tasks of runs."""

    def get(self, instance_id: str, path: str) -> TaskRow | None:
        """One task."""
        with self._database.read() as connection:
            return views.task(connection, instance_id, path)

    def pending(self, limit: int = 100) -> list[TaskRow]:
        """Ready tasks in the order in which they would be claimed."""
        with self._database.read() as connection:
            return views.ready_tasks(connection, limit)


class LogRepository(_Repository):
    """What happened: transitions, and what executors logged."""

    def history(self, instance_id: str, limit: int = 1000, after: int = 0) -> list[HistoryRow]:
        """Transitions in the order in which they were committed."""
        with self._database.read() as connection:
            return views.history(connection, instance_id, limit, after)

    def lines(self, instance_id: str, limit: int = 1000, after: int = 0) -> list[LogEntry]:
        """Log lines, oldest first."""
        with self._database.read() as connection:
            return views.logs(connection, instance_id, after=after, limit=limit)
