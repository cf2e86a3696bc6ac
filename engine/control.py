"""What one may do to a run, as coroutines: each is one event on the one write path, durable when it returns.

All of them work while no engine runs (an engine takes notice when it starts), are safe to repeat, and say why they are
refused. `WorkflowEngine` inherits them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..repositories import views
from ..repositories.database import Database
from ..repositories.records import TERMINAL_INSTANCE_STATES, TERMINAL_TASK_STATES
from .addresses import resolve_keys
from .errors import Conflict
from .evaluate import as_payload
from .events import (
    Applied,
    CancelInstance,
    ForkInstance,
    MigrateInstance,
    PauseInstance,
    ResumeInstance,
    RollbackInstance,
    SignalInstance,
    StartInstance,
    TerminateInstance,
)
from .inputs import prepare_inputs
from .membership import new_id
from .outcomes import Payload
from .repinning import MigrationPlan, plan_migration
from .starts import StartOptions, id_of, prepare_start, unknown_instance
from .targets import downstream
from .translate import engine_errors

if TYPE_CHECKING:
    from ..repositories.readmodels import InstanceView
    from .assembly import Parts
    from .scheduler import TaskScheduler
    from .state_manager import StateManager

__all__ = ["Control"]


class Control:
    """The life-cycle operations of an engine or a client."""

    @property
    def parts(self) -> Parts:
        """The running parts."""
        raise NotImplementedError

    @property
    def state_manager(self) -> StateManager:
        """The one write path."""
        raise NotImplementedError

    @property
    def scheduler(self) -> TaskScheduler:
        """What this engine takes, and when."""
        raise NotImplementedError

    @property
    def database(self) -> Database:
        """The database it works on."""
        raise NotImplementedError

    async def cancel_workflow(
        self, instance_id: str, reason: str = "cancelled by its user", *, grace_s: float | None = None
    ) -> Applied:
        """Ask a run to stop: what waits ends, what runs is told; what still runs after `grace_s` is given up.

        Raises NotFound, IllegalTransition.
        """
        grace = None if grace_s is None else int(grace_s * 1_000_000)
        return await self._apply(CancelInstance(instance_id, reason, grace))

    async def terminate_workflow(self, instance_id: str, reason: str = "terminated by its user") -> Applied:
        """End a run at once: nothing is waited for, no handler and no `finally` runs. Raises NotFound."""
        return await self._apply(TerminateInstance(instance_id, reason))

    async def pause_workflow(self, instance_id: str, reason: str = "paused by its user") -> Applied:
        """Take nothing new of a run; what runs goes on to its end. Raises NotFound, IllegalTransition."""
        return await self._apply(PauseInstance(instance_id, reason))

    async def resume_workflow(self, instance_id: str, reason: str = "resumed by its user") -> Applied:
        """Let a paused run go on. Raises NotFound, IllegalTransition."""
        return await self._apply(ResumeInstance(instance_id, reason))

    async def retry_workflow(self, instance_id: str, *nodes: str, reason: str = "retried") -> Applied:
        """Try again what failed, or the given tasks and what follows. Raises NotFound, Conflict, IllegalTransition."""
        paths = await asyncio.to_thread(resolve_keys, self.database, instance_id, nodes)
        answer = await asyncio.wrap_future(self.scheduler.retry_task(instance_id, *paths, reason=reason))
        self.parts.waiters.poke()
        return answer

    async def rollback_state(self, instance_id: str, *targets: str, reason: str = "rolled back") -> Applied:
        """Take an ended run back to before `targets`: what followed is undone, its variables are forgotten.

        Raises NotFound, Conflict, IllegalTransition.
        """
        paths = await asyncio.to_thread(resolve_keys, self.database, instance_id, targets)
        return await self._apply(RollbackInstance(instance_id, reason, paths, compensate=True))

    async def signal_workflow(
        self, instance_id: str, name: str, payload: Any = None, *, signal_id: str | None = None
    ) -> Applied:
        """Send a named message; a wait for it takes it, now or later. The same `signal_id` again changes nothing.

        Raises NotFound, PayloadError, and Conflict when the run has ended.
        """
        event = SignalInstance(instance_id, signal_id or new_id(), name, as_payload(payload))
        return await self._apply(event)

    async def _apply(self, event: Any) -> Applied:
        answer = await self.state_manager.apply(event)
        self.parts.waiters.poke()
        return answer

    # --- new runs of old ones

    async def rerun_workflow(self, instance_id: str, inputs: Any = None, *, id: str | None = None) -> str:  # noqa: A002 - the field's name
        """Start the same definition version again, with the same inputs or others; its key becomes `key#2` and so on.

        `id` is the new run's, a UUID; the same again is the same run. Raises NotFound, InputError.
        """
        if id is not None and await asyncio.to_thread(self._is_there, id_of(id)):
            return id_of(id)
        prepared = await asyncio.to_thread(self._rerun, instance_id, inputs, id)
        return (await self.state_manager.apply(prepared)).instance_id

    def _rerun(self, instance_id: str, inputs: Any, new: str | None) -> StartInstance:
        view, old = self._with_inputs(instance_id)
        parts = self.parts
        registered = parts.catalog.find(f"{view.name}@{view.version}")
        key = self._next_key(view)
        options = StartOptions(key=key, labels=view.labels, id=new)
        plan = parts.catalog.plan(registered.id)
        return prepare_start(registered, plan, old if inputs is None else inputs, options)

    def _is_there(self, instance_id: str) -> bool:
        with engine_errors(), self.database.read() as connection:
            return views.state_of(connection, instance_id) is not None

    def _next_key(self, view: InstanceView) -> str | None:
        if view.key is None:
            return None
        base, number = view.key, 2
        with engine_errors(), self.database.read() as connection:
            while views.instance_by_key(connection, view.name, f"{base}#{number}") is not None:
                number += 1
        return f"{base}#{number}"

    def _with_inputs(self, instance_id: str) -> tuple[InstanceView, Any]:
        with engine_errors(), self.database.read() as connection:
            view = views.instance(connection, instance_id)
            if view is None:
                raise unknown_instance(instance_id)
            return view, self.parts.outputs.text(connection, view.id, view.inputs, view.inputs_ref)

    async def fork_workflow(
        self,
        instance_id: str,
        *nodes: str,
        inputs: Any = None,
        outputs: Mapping[str, Any] | None = None,
        id: str | None = None,  # noqa: A002 - the field's name
    ) -> str:
        """Begin a new run that takes over what this one did before `nodes`, with other inputs or outputs.

        `nodes` belong to the definition's outermost scope; they and what follows from them run anew. `outputs` replaces
        outputs of nodes that are kept. Raises NotFound, Conflict, InputError.
        `id` is the new run's, a UUID; the same again is the same run.
        """
        event = await asyncio.to_thread(self._fork, instance_id, nodes, inputs, outputs or {})
        if id is not None:
            event = replace(event, instance_id=id_of(id))
        return (await self.state_manager.apply(event)).instance_id

    def _fork(
        self, instance_id: str, nodes: tuple[str, ...], inputs: Any, outputs: Mapping[str, Any]
    ) -> ForkInstance:
        view, old = self._with_inputs(instance_id)
        plan = self.parts.catalog.plan(view.definition_id)
        scope = plan.root
        unknown = [name for name in (*nodes, *outputs) if name not in scope.nodes]
        if unknown:
            raise Conflict(
                f"{unknown[0]!r} is no node of the definition's outermost scope.",
                hint=f"It has: {', '.join(list(scope.nodes)[:20])}.",
            )
        again = set(downstream(scope, set(nodes)))
        with engine_errors(), self.database.read() as connection:
            rows = [views.task(connection, instance_id, name) for name in scope.nodes if name not in again]
        kept = tuple(row for row in rows if row is not None and row.state in TERMINAL_TASK_STATES)
        lost = sorted(set(outputs) - {row.path for row in kept})
        if lost:
            raise Conflict(
                f"{lost[0]!r} runs anew in the fork, or has not ended: its output cannot be given."
            )
        if inputs is not None:
            registered = self.parts.catalog.find(f"{view.name}@{view.version}")
            old = prepare_inputs(registered.inputs, inputs)
        given: tuple[tuple[str, Payload], ...] = tuple((n, as_payload(v)) for n, v in outputs.items())
        return ForkInstance(
            new_id(),
            view.definition_id,
            as_payload(old),
            instance_id,
            kept,
            given,
            tuple(view.labels.items()),
        )

    # --- migration

    def plan_migration(self, instance_id: str, to: str) -> MigrationPlan:
        """What moving a run to another version (`name@3`) would meet; nothing is changed. Raises NotFound."""
        view, _ = self._with_inputs(instance_id)
        registered = self.parts.catalog.find(to)
        if registered.name != view.name:
            raise Conflict(f"instance {instance_id} runs {view.name!r}, not {registered.name!r}.")
        if view.state in TERMINAL_INSTANCE_STATES:
            return MigrationPlan(impossible=[("", f"it has ended {view.state}")])
        with engine_errors(), self.database.read() as connection:
            rows = list(views.all_tasks(connection, instance_id))
        return plan_migration(self.parts.catalog.plan(registered.id), rows)

    async def migrate_workflow(
        self, instance_id: str, to: str, *, accept_loss: bool = False, reason: str = "migrated by its user"
    ) -> Applied:
        """Let a live run go on under another version of its definition (`name@3`).

        Raises NotFound, and Conflict when something that has begun is not there, or (without `accept_loss`) when
        finished work would be lost.
        """
        found = await asyncio.to_thread(self.plan_migration, instance_id, to)
        if found.impossible:
            path, why = found.impossible[0]
            if not path:
                raise Conflict(f"instance {instance_id}: {why}.", hint="Fork or rerun it instead.")
            raise Conflict(
                f"{path} has begun, and {why}.", hint="Wait until it has ended, or cancel the run."
            )
        if found.lost and not accept_loss:
            raise Conflict(
                f"{to} has no node for what {found.lost[0]} did: its output could no longer be read.",
                hint="Pass accept_loss (--accept-loss) to go on without it.",
            )
        registered = await asyncio.to_thread(self.parts.catalog.find, to)
        return await self._apply(MigrateInstance(instance_id, registered.id, reason))
