"""Steps 7 and 8 for a batch: lock, read, decide, write, commit (DESIGN section 3a), on one connection.

A batch holds events of many instances. Each instance folds on its own; rows that a fold lacks are read for all
instances together, so a batch needs few round trips however wide it is. The transaction either commits everything or
nothing; how a failing batch is split is the writer's matter (`engine/writer.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from ..executors.base import TaskError
from ..repositories.batch import Batch, Changes, Opening
from ..repositories.connection import Connection
from ..repositories.records import InstanceRow, TaskRow, TaskState
from .admission import Work, in_turn, refuse_full
from .answering import answer
from .batching import BatchReport, ClaimedTask, Pending, Standing, Wishes
from .counters import Counters
from .decide import Decision, Need, decide, first_keys
from .draft import SWEEP_LIMIT, Terms
from .errors import Conflict, EngineError, NotFound
from .events import (
    Applied,
    Claim,
    Event,
    ForkInstance,
    MigrateInstance,
    PauseInstance,
    StartInstance,
    TaskEnded,
    TimerDue,
)
from .outcomes import Failed, Succeeded
from .plan import Plan, address_of, given
from .plans import PlanCache
from .starting import runs_executor

__all__ = ["BatchReport", "ClaimedTask", "Pending", "Standing", "Transaction", "Wishes"]

log: Final = logging.getLogger("strataflow.transaction")
_PATHS_END: Final = "]"  # the first character after every separator that may follow a scope's path
#: Crashes from which on a task runs alone among its like on an engine: it may be what crashes engines.
_SUSPECT: Final = 2
#: Rounds of reading that one fold may ask for; more means a defect, not a deep definition.
_MAX_ROUNDS: Final = 10_000


class Transaction:
    """Runs batches on one connection. Not thread-safe: one writer thread owns it."""

    def __init__(self, connection: Connection, plans: PlanCache) -> None:
        self._batch = Batch(connection)
        self._plans = plans
        self._counters = Counters(self._batch)
        #: Messages whose instance is gone.
        self._undeliverable: list[tuple[str, str]] = []

    def run(
        self,
        pendings: list[Pending],
        standing: Standing,
        wishes: Wishes,
        *,
        also_lock: Iterable[str] = (),
    ) -> BatchReport:
        """One transaction. Raises `Fenced`, `Retryable`, `BadRow`, … with everything rolled back."""
        try:
            return self._run(pendings, standing, wishes, tuple(also_lock))
        except BaseException:
            self._batch.rollback()
            raise

    def _run(
        self, pendings: list[Pending], standing: Standing, wishes: Wishes, also_lock: tuple[str, ...]
    ) -> BatchReport:
        works = _grouped(pendings)
        self._undeliverable.clear()
        opening = self._open(works, standing, wishes, also_lock)
        self._counters.begin(opening.epoch, opening.now)
        report = BatchReport(now=opening.now, peeked=wishes.claim is not None)
        report.paused = self._counters.control.paused
        self._settle_keys(works, report)
        refuse_full(self._batch, self._counters.control, works, report)
        self._add_due_and_ready(works, opening, wishes, report)
        self._fill(works, opening, report)
        self._counters.foresee(_touched(works, opening))
        self._decide_all(works, opening, standing, wishes)
        changes = Changes(delivered=list(self._undeliverable), limits=self._counters.changed())
        for work in works.values():
            if work.decision is not None and work.plan is not None:
                changes.extend(work.decision.changes)
                changes.released += _unused_keys(work)
                changes.delivered += _refused_messages(work)
        self._batch.write(changes)
        _account(report, works, changes)
        report.messages = changes.messages
        return report

    def _open(
        self,
        works: dict[str, Work],
        standing: Standing,
        wishes: Wishes,
        also_lock: tuple[str, ...],
    ) -> Opening:
        keys: dict[tuple[str, str], None] = {}
        new_keys: list[tuple[str, str, str, str]] = []
        for work in works.values():
            for pending in work.pending:
                event = pending.event
                if isinstance(event, StartInstance):
                    plan = self._plans.get(event.definition_id)
                    if event.key is not None and plan is not None:
                        new_keys.append((plan.name, "start", event.key, event.instance_id))
                    work.plan = plan
                elif isinstance(event, ForkInstance):
                    work.plan = self._plans.get(event.definition_id)
                else:
                    for path in first_keys(self._plans.hint(work.instance_id), event):
                        keys[work.instance_id, path] = None
        opening = self._batch.open(
            engine_id=standing.engine_id,
            batch=standing.batch,
            ttl=standing.ttl,
            instance_ids=sorted({*works, *also_lock}),
            task_keys=list(keys),
            new_keys=sorted(new_keys),
            claim=wishes.claim,
            due_limit=wishes.due,
        )
        for instance_id, path in keys:
            works[instance_id].snapshot.tasks[path] = None
        return opening

    def _settle_keys(self, works: dict[str, Work], report: BatchReport) -> None:
        """A keyed start whose key belongs to another instance answers with that instance and starts nothing."""
        for work in list(works.values()):
            event = work.pending[0].event
            if not isinstance(event, StartInstance) or event.key is None or work.plan is None:
                continue
            owner = self._batch.key_owner(work.plan.name, "start", event.key)
            if owner == event.instance_id or owner is None:
                continue
            answer: Applied | EngineError = Applied("existing", owner)
            if event.on_duplicate == "reject":
                answer = Conflict(
                    f"{work.plan.name!r} was started under the key {event.key!r} before: instance {owner}.",
                    hint="Start it with another key, or with on_duplicate 'return_existing'.",
                )
            report.answers += [(p, answer) for p in work.pending]
            if event.message is not None:
                self._undeliverable.append((event.instance_id, event.message))
            del works[work.instance_id]

    def _add_due_and_ready(
        self, works: dict[str, Work], opening: Opening, wishes: Wishes, report: BatchReport
    ) -> None:
        for row in opening.due:
            _work(works, row).events.append(TimerDue(row.instance_id, row.path))
        budget = _claim_budget(works, wishes, self._plans)
        suspects = wishes.suspects
        for row in in_turn(opening, wishes, self._counters.control):
            if row.crashes >= _SUSPECT:
                suspects -= 1
                if suspects < 0:
                    continue
            if runs_executor(row) and budget <= 0:
                _leave_waiting(report, row)
                continue
            work = _work(works, row)
            work.events.append(Claim(row.instance_id, row.path))
            if runs_executor(row):
                budget -= 1
                work.own_claims += 1
        for row in opening.ready_elsewhere:
            _leave_waiting(report, row)
        seen = [*opening.ready, *opening.ready_elsewhere]
        full = wishes.claim is not None and len(seen) >= wishes.claim.limit
        if full and any(row.crashes < _SUSPECT for row in seen):
            _leave_waiting(
                report, min(seen, key=lambda row: row.priority)
            )  # there may be more than was looked at
        report.ready_elsewhere = tuple({row.instance_id for row in opening.ready_elsewhere})

    def _fill(self, works: dict[str, Work], opening: Opening, report: BatchReport) -> None:
        for row in (*opening.tasks, *opening.due, *opening.ready):
            if row.instance_id in works:
                works[row.instance_id].snapshot.tasks[row.path] = row
        for work in list(works.values()):
            instance = opening.instances.get(work.instance_id)
            work.snapshot.instance = instance
            work.events = [pending.event for pending in work.pending] + work.events
            missing = self._find_plan(work, instance, report)
            if missing is not None:
                report.unplanned.setdefault(missing, []).extend(work.pending)
                del works[work.instance_id]
            elif work.plan is None:
                del works[work.instance_id]

    def _find_plan(self, work: Work, instance: InstanceRow | None, report: BatchReport) -> str | None:
        """Give the work its plan; the definition that has to be loaded first, or None."""
        first = work.pending[0].event if work.pending else None
        if instance is not None:
            wanted = instance.definition_id
            if isinstance(first, MigrateInstance):
                wanted = first.definition_id  # what comes behind it in this batch is decided by the new plan
        elif isinstance(first, StartInstance | ForkInstance):
            wanted = first.definition_id
        else:
            error = NotFound(f"there is no instance {work.instance_id}.")
            report.answers += [(pending, error) for pending in work.pending]
            told = (getattr(pending.event, "message", None) for pending in work.pending)
            self._undeliverable += [(work.instance_id, message) for message in told if message is not None]
            work.plan = None
            return None
        work.plan = self._plans.get(wanted)
        return wanted if work.plan is None else None

    def _decide_all(
        self, works: dict[str, Work], opening: Opening, standing: Standing, wishes: Wishes
    ) -> None:
        open_slots = max(0, wishes.slots - sum(work.own_claims for work in works.values()))
        todo = list(works.values())
        for _ in range(_MAX_ROUNDS):
            needs: list[tuple[Work, Need]] = []
            for work in todo:
                terms = Terms(
                    now=opening.now,
                    engine=standing.engine_id,
                    executes=standing.executes,
                    executors=standing.executors,
                    slots=open_slots + work.own_claims,
                    floor=wishes.floor,
                    queues=wishes.queues,
                    control=self._counters.control,
                    limits=self._counters.rows,
                )
                found = _decide_safely(work, terms)
                if isinstance(found, Need):
                    needs.append((work, found))
                else:
                    work.decision = found
                    open_slots = terms.slots - found.slots_used
                    self._counters.note(found.counters)
            if not needs:
                return
            self._read(needs)
            todo = [work for work, _ in needs]
        raise EngineError("a decision asked for rows without end; this is a defect of the engine.")

    def _read(self, needs: list[tuple[Work, Need]]) -> None:
        keys = [(work.instance_id, path) for work, need in needs for path in need.keys]
        by_id = {work.instance_id: work.snapshot for work, _ in needs}
        for instance_id, path in keys:
            by_id[instance_id].tasks[path] = None
        for row in self._batch.read_tasks(keys):
            by_id[row.instance_id].tasks[row.path] = row
        self._counters.lock(name for _, need in needs for name in need.limits)
        for work, need in needs:
            if need.ask is not None:
                work.snapshot.answers[need.ask] = answer(self._batch, work.instance_id, need.ask)
            if need.sweep is not None:
                scope, after = need.sweep
                high = scope + _PATHS_END if scope else "~"
                work.snapshot.sweeps[need.sweep] = self._batch.open_under(
                    work.instance_id, after, high, SWEEP_LIMIT
                )


def _touched(works: dict[str, Work], opening: Opening) -> Iterable[tuple[Plan, TaskRow]]:
    """Tasks of this batch that may take from limits or give back to them."""
    for row in (*opening.tasks, *opening.due, *opening.ready):
        work = works.get(row.instance_id)
        if work is not None and work.plan is not None:
            yield work.plan, row


def _refused_messages(work: Work) -> Iterable[tuple[str, str]]:
    """What another run, a schedule or an event asked for and the state does not allow is not asked again."""
    decision = work.decision
    for pending, result in zip(work.pending, decision.results if decision else (), strict=False):
        message = getattr(pending.event, "message", None)
        if message is not None and isinstance(result, EngineError):
            log.warning("%s was refused: %s", message, result, extra={"action": "message_refused"})
            yield work.instance_id, message


def _unused_keys(work: Work) -> list[tuple[str, str, str, str]]:
    """A start that was refused, or met another instance, leaves no key behind."""
    first = work.pending[0].event if work.pending else None
    decision, plan = work.decision, work.plan
    if (
        not isinstance(first, StartInstance)
        or decision is None
        or plan is None
        or decision.instance is not None
    ):
        return []
    return [(plan.name, "start", first.key, first.instance_id)] if first.key is not None else []


def _grouped(pendings: list[Pending]) -> dict[str, Work]:
    works: dict[str, Work] = {}
    for pending in pendings:
        instance_id = pending.event.instance_id
        work = works.get(instance_id)
        if work is None:
            work = works[instance_id] = Work(instance_id)
        work.pending.append(pending)
    return works


def _work(works: dict[str, Work], row: TaskRow) -> Work:
    work = works.get(row.instance_id)
    if work is None:
        work = works[row.instance_id] = Work(row.instance_id)
    return work


def _leave_waiting(report: BatchReport, row: TaskRow) -> None:
    if report.waiting is None or row.priority > report.waiting:
        report.waiting = row.priority


def _claim_budget(works: dict[str, Work], wishes: Wishes, plans: PlanCache) -> int:
    """Slots for waiting tasks: all but what successors of this batch will want, and at least a quarter."""
    expected = 0
    for work in works.values():
        plan = plans.hint(work.instance_id)
        for pending in work.pending:
            event = pending.event
            if isinstance(event, TaskEnded) and isinstance(event.outcome, Succeeded) and plan is not None:
                node = plan.nodes.get(address_of(event.path))
                expected += node is not None and bool(node.successors)
    return max(wishes.slots - expected, -(-wishes.slots // 4))


def _decide_safely(work: Work, terms: Terms) -> Decision | Need:
    """A defect met while folding must not stop the other instances: the outcome becomes Failed(internal) once."""
    try:
        return decide(given(work.plan, "instance"), work.snapshot, work.events, terms)
    except Exception as exc:
        log.exception("deciding failed", extra={"action": "decide_failed", "instance_id": work.instance_id})
        if work.internal:
            error = EngineError(
                f"instance {work.instance_id} is set aside: {type(exc).__name__}: {exc}",
                hint="This is a defect of the engine; please report it with `strataflow history`.",
            )
            return _set_aside(work, terms, error)
        work.internal = True
        work.events = [_as_internal(event, exc) for event in work.events]
        return _decide_safely(work, terms)


def _set_aside(work: Work, terms: Terms, error: EngineError) -> Decision | Need:
    """Pause an instance that cannot be decided, so that a person can look; senders get the error."""
    pause = PauseInstance(work.instance_id, error.message)
    try:
        found = decide(given(work.plan, "instance"), work.snapshot, [pause], terms)
    except Exception:
        log.exception(
            "setting aside failed", extra={"action": "set_aside_failed", "instance_id": work.instance_id}
        )
        found = Decision(Changes(), [], instance=work.snapshot.instance)
    if isinstance(found, Decision):
        found.results = [error for _ in work.events]
    return found


def _as_internal(event: Event, exc: Exception) -> Event:
    if not isinstance(event, TaskEnded):
        return event
    error = TaskError("internal", f"{type(exc).__name__}: {exc}", retryable=False)
    return TaskEnded(event.instance_id, event.path, event.attempt, event.engine, Failed(error), event.logs)


def _account(report: BatchReport, works: dict[str, Work], changes: Changes) -> None:
    for work in works.values():
        decision, plan = work.decision, work.plan
        if decision is None or plan is None:
            continue
        report.answers += zip(work.pending, decision.results, strict=False)
        report.decisions.append((plan, decision))
        if decision.instance is not None:
            report.claimed += [ClaimedTask(plan, decision.instance, row) for row in decision.claimed]
            report.freed |= decision.freed
            report.stopped += [(work.instance_id, path, attempt) for path, attempt in decision.stopped]
    for rows in (changes.leaves, changes.scopes, changes.new_leaves, changes.new_scopes):
        for row in rows:
            if row.wake_at is not None and (report.wake_at is None or row.wake_at < report.wake_at):
                report.wake_at = row.wake_at
            if row.state is TaskState.QUEUED:
                _leave_waiting(report, row)
