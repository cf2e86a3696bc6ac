"""What one may do to instances, one by one and in bulk; for the command line and APIs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..engine.errors import EngineError
from ..engine.starts import StartOptions
from ..engine.translate import engine_errors
from ..repositories import views
from ..repositories.filters import InstanceFilter
from .references import checked_reference

if TYPE_CHECKING:
    from ..engine.catalog import DefinitionSource, Registered
    from ..engine.repinning import MigrationPlan
    from ..engine.workflow_engine import WorkflowEngine

__all__ = ["BULK", "BulkAnswer", "Operations"]

_PAGE: Final = 500
#: Operations that may be asked for many instances at once.
BULK: Final = ("cancel", "terminate", "pause", "resume", "retry")


@dataclass(slots=True, frozen=True)
class BulkAnswer:
    """What a bulk operation came to for one instance: `accepted`, `ignored`, or `refused` and why."""

    instance_id: str
    status: str
    problem: str | None = None


class Operations:
    """Life-cycle operations for synchronous callers; each is durable when it returns."""

    def __init__(self, engine: WorkflowEngine) -> None:
        self._engine = engine

    def start(self, definition: DefinitionSource | Registered, inputs: Any, options: StartOptions) -> str:
        """Start an instance. Raises DefinitionError, InputError, NotFound, Conflict."""
        return self._engine.start_now(definition, inputs, options=options)

    def cancel(self, instance_id: str, reason: str, grace_s: float | None = None) -> str:
        """Ask it to stop; what still runs after the grace is given up."""
        return asyncio.run(self._engine.cancel_workflow(instance_id, reason, grace_s=grace_s)).status

    def terminate(self, instance_id: str, reason: str) -> str:
        """End it at once."""
        return asyncio.run(self._engine.terminate_workflow(instance_id, reason)).status

    def pause(self, instance_id: str, reason: str) -> str:
        """Take nothing new of it."""
        return asyncio.run(self._engine.pause_workflow(instance_id, reason)).status

    def resume(self, instance_id: str, reason: str) -> str:
        """Let it go on."""
        return asyncio.run(self._engine.resume_workflow(instance_id, reason)).status

    def retry(self, instance_id: str, reason: str, *tasks: str) -> str:
        """Try again what failed, or these tasks and what follows from them."""
        return asyncio.run(self._engine.retry_workflow(instance_id, *tasks, reason=reason)).status

    def rollback(self, instance_id: str, reason: str, *tasks: str) -> str:
        """Undo what followed these tasks, then decide it again."""
        return asyncio.run(self._engine.rollback_state(instance_id, *tasks, reason=reason)).status

    def signal(self, instance_id: str, name: str, payload: Any, signal_id: str | None) -> str:
        """Send a named message to its waits."""
        return asyncio.run(
            self._engine.signal_workflow(instance_id, name, payload, signal_id=signal_id)
        ).status

    def fork(
        self,
        instance_id: str,
        *nodes: str,
        inputs: Any = None,
        outputs: Mapping[str, Any] | None = None,
        new_id: str | None = None,
    ) -> str:
        """A new instance from a point of this one; gives its id, which is `new_id` if that is given."""
        made = self._engine.fork_workflow(instance_id, *nodes, inputs=inputs, outputs=outputs, id=new_id)
        return asyncio.run(made)

    def rerun(self, instance_id: str, inputs: Any = None, new_id: str | None = None) -> str:
        """The same again as a new instance; gives its id, which is `new_id` if that is given."""
        return asyncio.run(self._engine.rerun_workflow(instance_id, inputs, id=new_id))

    def migration(self, instance_id: str, to: str) -> MigrationPlan:
        """What moving it to another version would meet."""
        return self._engine.plan_migration(instance_id, checked_reference(to))

    def migrate(self, instance_id: str, to: str, *, accept_loss: bool) -> str:
        """Let it go on under another version of its definition."""
        moved = self._engine.migrate_workflow(instance_id, checked_reference(to), accept_loss=accept_loss)
        return asyncio.run(moved).status

    def bulk(self, operation: str, where: InstanceFilter, reason: str) -> Iterator[BulkAnswer]:
        """Do one of BULK to every instance that matches, newest first; one that refuses does not stop the rest."""
        act: dict[str, Callable[[str], str]] = {
            "cancel": lambda one: self.cancel(one, reason),
            "terminate": lambda one: self.terminate(one, reason),
            "pause": lambda one: self.pause(one, reason),
            "resume": lambda one: self.resume(one, reason),
            "retry": lambda one: self.retry(one, reason),
        }
        before: tuple[int, str] | None = None
        while True:
            with engine_errors(), self._engine.database.read() as connection:
                page = views.instances(connection, where=where, limit=_PAGE, before=before)
            for each in page:
                try:
                    yield BulkAnswer(each.id, act[operation](each.id))
                except EngineError as exc:
                    yield BulkAnswer(each.id, "refused", exc.message)
            if len(page) < _PAGE:
                return
            before = page[-1].cursor
