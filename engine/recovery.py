"""RecoveryManager: finds engines that are gone and brings their tasks back; runs on every engine, from its start on.

An engine is declared dead while its lease is over (looked at again under its row's lock), or when its OS file lock can
be taken (same boot of the same machine); on SQLite the file lock decides, not the clock. Then, on every round, running
tasks whose engine is not alive re-enter `decide` as LeaseExpired, so a recoverer that crashes leaves no hole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from ..repositories import access_store, control_store, engines, views
from ..repositories.database import Database
from ..repositories.readmodels import HeldTask
from .config import EngineConfig
from .events import ExecutorMissing, LeaseExpired
from .membership import FileLock, Membership
from .outputs import OutputReader
from .plan import Plan
from .transaction import Pending
from .values import record_of

__all__ = ["RecoveryManager"]

log: Final = logging.getLogger("strataflow.recovery")
_PAGE: Final = 500
_KEEP_ENGINES: Final = timedelta(days=7)
#: Rounds between two looks for old engine rows.
_FORGET_EVERY: Final = 1_000
#: Rounds between two looks for counters of limits that nobody uses any more, and how long they must have been idle.
_TIDY_EVERY: Final = 150
_IDLE: Final = timedelta(hours=1)
#: How long the answer to a write can be had again, and how long it is known who did what.
_KEEP_ANSWERS: Final = timedelta(days=1)
_KEEP_AUDIT: Final = timedelta(days=90)
#: Transactions of one round that delete them.
_AT_MOST: Final = 50


class RecoveryManager:
    """Scans for interrupted work. `run_once` is one round; the engine's recovery loop calls it."""

    def __init__(
        self,
        config: EngineConfig,
        database: Database,
        *,
        membership: Callable[[], Membership],
        submit: Callable[[Pending], None],
        plan_of: Callable[[str], Plan],
        others_alive: Callable[[bool], None],
    ) -> None:
        self._config = config
        self._database = database
        self._membership = membership
        self._submit = submit
        self._plan_of = plan_of
        self._others_alive = others_alive
        self._rounds = 0
        self._found: dict[str, list[HeldTask]] = {}

    def run_once(self) -> float | None:
        """One round: mark the dead, bring back their tasks, fail what nobody can execute."""
        member = self._membership()
        with self._database.read() as connection:
            others = views.dead_candidates(connection, member.id)
            now = views.now(connection)
        gone = [other for other in others if self._is_gone(other, now)]
        if gone:
            names = ", ".join(other.id for other in gone)
            log.warning("engines are gone: %s", names, extra={"action": "engines_gone"})
        self._others_alive(len(others) > len(gone))
        for instance_id in self.scan_interrupted_workflows():
            self.recover_workflow(instance_id)
        self._fail_unexecutable(others, now)
        self._rounds += 1
        if self._rounds % _FORGET_EVERY == 0:
            engines.forget(self._database, _KEEP_ENGINES)
        if self._rounds % _TIDY_EVERY == 0:
            self._forget_calls(now)
            control_store.delete_idle_counters(self._database, now - _IDLE // timedelta(microseconds=1))
        return None

    def _forget_calls(self, now: int) -> None:
        """Answers kept for repeated requests, and the audit log, some at a time."""
        answers, audit = (now - age // timedelta(microseconds=1) for age in (_KEEP_ANSWERS, _KEEP_AUDIT))
        for _ in range(_AT_MOST):
            if not access_store.delete_old(self._database, requests_before=answers, audit_before=audit):
                return

    def _is_gone(self, other: Any, now: int) -> bool:
        member = self._membership()
        if other.lock_file is not None and other.boot_id is not None and other.boot_id == member.boot_id:
            path = Path(other.lock_file)
            held = path.exists()
            if held and self._take_over(path, other.id):
                return True
            if self._database.url.dialect == "sqlite":
                return not held and engines.mark_dead(self._database, other.id)
        if other.lease_until < now:
            return engines.mark_dead_if_expired(self._database, other.id)
        return False

    def _take_over(self, path: Path, engine_id: str) -> bool:
        """Its lock can be taken: the process is gone. The row is marked while the lock is held."""
        lock = FileLock(path)
        if not lock.take():
            return False
        try:
            return engines.mark_dead(self._database, engine_id)
        finally:
            lock.free(remove=True)

    def scan_interrupted_workflows(self) -> list[str]:
        """Ids of unfinished instances with a running task whose engine is not alive."""
        found: dict[str, list[HeldTask]] = {}
        after: tuple[str, str] | None = None
        while True:
            with self._database.read() as connection:
                page = views.interrupted(connection, _PAGE, after)
            for held in page:
                found.setdefault(held.instance_id, []).append(held)
            if len(page) < _PAGE:
                break
            after = page[-1].cursor
        self._found = found
        return list(found)

    def recover_workflow(self, instance_id: str) -> int:
        """Bring back the interrupted tasks of one instance that the last scan found; returns how many."""
        interrupted = self._found.pop(instance_id, [])
        for held in interrupted:
            self._submit(Pending(LeaseExpired(held.instance_id, held.path, held.attempt, held.engine)))
        return len(interrupted)

    def rebuild_context(self, instance_id: str) -> dict[str, Any]:
        """The values that expressions of the instance's outermost scope see, read from the database alone."""
        with self._database.read() as connection:
            instance = views.instance(connection, instance_id)
            if instance is None:
                return {}
            plan = self._plan_of(instance.definition_id)
            rows = views.task_values(connection, instance_id, list(plan.root.nodes))
            reader = OutputReader(self._database)
            nodes = {
                path: record_of(row, reader.read(connection, plan, row)) for path, row in sorted(rows.items())
            }
            names = sorted({name for scope, name in plan.vars if scope == ""})
            found = views.vars(connection, instance_id, "", names)
            return {
                "inputs": reader.text(connection, instance_id, instance.inputs, instance.inputs_ref),
                "nodes": nodes,
                "vars": {
                    name: reader.text(connection, instance_id, row.value, row.value_ref)
                    for name, row in sorted(found.items())
                },
            }

    def _fail_unexecutable(self, others: list[Any], now: int) -> None:
        grace = self._config.missing_executor_s
        if grace is None or not self._config.executes:
            return
        known = {name for other in others for name in other.executors}
        with self._database.read() as connection:
            me = views.engine(connection, self._membership().id)
            known |= set(me.executors) if me is not None else set()
            missing = views.unclaimable(connection, sorted(known), now - round(grace * 1_000_000), _PAGE)
        for task in missing:
            log.error("no engine has executor %s", task.executor, extra={"action": "executor_missing"})
            self._submit(Pending(ExecutorMissing(task.instance_id, task.path, task.executor)))
