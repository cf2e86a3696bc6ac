"""The one database writer of a process: takes what has gathered, runs it as one transaction, answers after the commit.

`GroupCommitWriter` batches naturally, with no timer: while one transaction commits, further events gather; the next
takes them all. `InlineWriter` commits each event by itself and is the oracle under the same contract tests. Failures:
a retryable error runs the whole batch again; a refused row splits the batch by instance, never within one; after a
lost connection the receipt tells whether the commit arrived.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from ..executors.base import TaskError
from ..repositories.connection import Connection
from ..repositories.dialect import PostgresConnection, connect
from ..repositories.errors import BadRow, ConnectionLost, Fenced, RepositoryError, Retryable, Unwritable
from ..repositories.translation import LostPrepared
from ..repositories.url import DatabaseUrl
from .errors import Conflict, DatabaseUnavailable, EngineError, EngineStopped
from .events import Applied, CancelInstance, StartInstance, TaskEnded
from .membership import Membership
from .outcomes import Failed, is_internal
from .plans import PlanCache
from .transaction import BatchReport, Pending, Standing, Transaction, Wishes

__all__ = ["GroupCommitWriter", "InlineWriter", "Listener", "Writer"]

log: Final = logging.getLogger("strataflow.writer")
#: Events per transaction. More would not be faster and would hold locks longer.
MAX_BATCH: Final = 1_000
#: How long a client's submission is retried while the database is away, before its sender is told.
GIVE_UP_S: Final = 30.0


class Listener(Protocol):
    """Who drives the writer and is told what it did: the scheduler of an engine."""

    @property
    def breath_s(self) -> float:
        """How long to leave the database to other processes after a batch, in seconds."""
        ...

    def wishes(self, pendings: list[Pending]) -> Wishes:
        """What to claim and promote with this batch."""
        ...

    def committed(self, report: BatchReport) -> None:
        """Called on the writer's thread after the commit, before senders are answered."""
        ...

    def fenced(self, member: Membership) -> None:
        """The database says this membership is dead: all it held is lost. Returns with a new one."""
        ...

    def unplanned(self, definition_id: str, pendings: list[Pending]) -> None:
        """Load a definition outside the batch, then submit the events again."""
        ...

    def reconnected(self) -> None:
        """The connection was lost and is back: compare what runs with what the database says."""
        ...


class Writer(Protocol):
    """Both writers: `submit` returns at once, `done` is called after the commit on the writer's thread."""

    def start(self) -> None:
        """Begin; idempotent."""
        ...

    def submit(self, pending: Pending) -> None:
        """Queue an event; returns at once."""
        ...

    def poke(self) -> None:
        """Run a batch even without events."""
        ...

    def stop(self, timeout_s: float) -> None:
        """Commit what is queued, then end."""
        ...


class _Runner:
    """One connection with its failure handling; used by one thread at a time."""

    def __init__(
        self,
        url: DatabaseUrl,
        plans: PlanCache,
        membership: Callable[[], Membership],
        executors: Callable[[], frozenset[str]],
        listener: Listener,
    ) -> None:
        self._url = url
        self._plans = plans
        self._membership = membership
        self._executors = executors
        self._listener = listener
        self._db: Connection | None = None
        self._prepared = True
        self._connected = False
        self._elsewhere: tuple[str, ...] = ()
        self._writing_as = membership()
        self.stopping = threading.Event()

    def run(self, pendings: list[Pending], wishes: Wishes) -> BatchReport | None:
        """Commit the batch, whatever it takes; senders of what cannot be committed are told. None = nothing was."""
        started = time.monotonic()
        tries = 0
        while True:
            try:
                return self._commit(pendings, wishes)
            except Fenced:
                self._fenced(pendings, self._writing_as)
                return None
            except BadRow as exc:
                return self._split(pendings, wishes, exc)
            except LostPrepared:
                self._prepared = False
                self._disconnect()
            except (Retryable, Unwritable) as exc:
                tries += 1
                if self._give_up(pendings, exc, started):
                    return None
                self._pause(tries, exc)
            except Exception as exc:  # one event that cannot be written must not take the others with it
                log.exception("a batch was refused", extra={"action": "batch_refused"})
                self._disconnect()
                return self._split(pendings, wishes, exc)

    def _commit(self, pendings: list[Pending], wishes: Wishes) -> BatchReport:
        db = self._db or self._connect()
        member = self._writing_as = self._membership()
        standing = Standing(
            engine_id=member.id,
            batch=member.next_batch(),
            ttl=member.lease.ttl,
            executes=member.executes and wishes.executes,
            executors=self._executors() if wishes.executes else frozenset(),
        )
        begun = time.monotonic()
        try:
            report = Transaction(db, self._plans).run(pendings, standing, wishes, also_lock=self._elsewhere)
        except ConnectionLost:
            self._disconnect()
            raise
        member.renewed(begun)
        report.seconds = time.monotonic() - begun
        self._elsewhere = report.ready_elsewhere
        self._listener.committed(report)
        for definition_id, waiting in report.unplanned.items():
            self._listener.unplanned(definition_id, waiting)
        for pending, answer in report.answers:
            _answer(pending, answer)
        return report

    def _split(self, pendings: list[Pending], wishes: Wishes, cause: Exception) -> BatchReport | None:
        """Halve a refused batch by instance, in order; a single instance's events go one by one."""
        groups: dict[str, list[Pending]] = {}
        for pending in pendings:
            groups.setdefault(pending.event.instance_id, []).append(pending)
        if not pendings:
            log.error("a claim was refused: %s", cause, extra={"action": "claim_refused"})
            return None
        if len(pendings) == 1:
            self._refuse(pendings[0], cause)
            return None
        units = list(groups.values()) if len(groups) > 1 else [[pending] for pending in pendings]
        middle = len(units) // 2
        for half in (units[:middle], units[middle:]):
            self.run([pending for unit in half for pending in unit], Wishes(executes=wishes.executes))
        return None

    def _refuse(self, pending: Pending, cause: Exception) -> None:
        """An event that cannot be written by itself. An outcome becomes Failed(internal), so that its task ends."""
        log.error("an event was refused: %s", cause, extra={"action": "event_refused"})
        event = pending.event
        if isinstance(event, TaskEnded) and not is_internal(event.outcome):
            error = TaskError(
                "internal", f"the outcome cannot be written: {type(cause).__name__}", retryable=False
            )
            again = TaskEnded(event.instance_id, event.path, event.attempt, event.engine, Failed(error))
            self._requeue(Pending(again, pending.done))
            return
        self._settled([(pending, Conflict(f"the database refused the change: {cause}"))])

    def _settled(self, answers: list[tuple[Pending, Applied | EngineError]]) -> None:
        """Answers that no batch gave: whoever counts what this engine holds hears of them as of any other."""
        self._listener.committed(BatchReport(now=0, answers=answers))
        for pending, answer in answers:
            _answer(pending, answer)

    def _fenced(self, pendings: list[Pending], member: Membership) -> None:
        """This engine is dead in the database: what it held is not its own any more; other events are not its fault."""
        old = member.id
        self._listener.fenced(member)
        for pending in pendings:
            if getattr(pending.event, "engine", None) == old:
                _answer(pending, Applied("stale", pending.event.instance_id))
            else:
                self._requeue(pending)

    def _requeue(self, pending: Pending) -> None:
        raise NotImplementedError

    def _give_up(self, pendings: list[Pending], exc: RepositoryError, started: float) -> bool:
        """A lost commit may have arrived: ask for the receipt. Senders do not wait for ever."""
        if isinstance(exc, ConnectionLost) and self._arrived():
            self._arrived_unheard(pendings)
            return True
        waited = time.monotonic() - started
        if self.stopping.is_set() or (waited > GIVE_UP_S and not self._membership().executes):
            _answer_all(pendings, DatabaseUnavailable(f"the database cannot be written: {exc}"))
            return True
        return False

    def _arrived_unheard(self, pendings: list[Pending]) -> None:
        """The commit arrived and its answers were lost.

        Starts and cancels are idempotent: ask again what they came to. Outcomes are recorded. What the batch claimed
        is found by the comparison after the reconnect.
        """
        done = list[tuple[Pending, Applied | EngineError]]()
        for pending in pendings:
            if isinstance(pending.event, StartInstance | CancelInstance):
                self._requeue(pending)
            else:
                done.append((pending, Applied("accepted", pending.event.instance_id)))
        self._settled(done)

    def _arrived(self) -> bool:
        """Reconnect and compare the receipt; False when the batch did not arrive (or it cannot be known yet)."""
        try:
            db = self._connect()
            db.begin()  # for the search path
            found = db.rows(db.run("receipt", {"me": self._membership().id}))
            db.rollback()
        except RepositoryError:
            self._disconnect()
            return False
        return bool(found) and found[0][0] == self._membership().batch

    def _pause(self, tries: int, exc: RepositoryError) -> None:
        delay = random.uniform(0.5, 1.0) * min(2.0, 0.002 * 2 ** min(tries, 12))
        if tries in {5, 50} or tries % 500 == 0:
            log.warning("the database refuses: %s; trying again", exc, extra={"action": "batch_retry"})
        self.stopping.wait(delay)

    def _connect(self) -> Connection:
        self._disconnect()
        db = connect(self._url)
        if not self._prepared and isinstance(db, PostgresConnection):
            db.without_prepared_statements()
        self._db = db
        if self._connected:  # a commit that was on its way may have arrived, with claims nobody heard of
            self._listener.reconnected()
        self._connected = True
        return db

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    close = _disconnect


class GroupCommitWriter(_Runner):
    """One thread, one transaction at a time, everything that gathered meanwhile in the next one."""

    _thread: threading.Thread | None = None
    #: A batch is on its way, since `began_at` by `time.monotonic()`: what it claims is not known yet.
    working = False
    began_at = 0.0

    def start(self) -> None:
        """Start the thread; idempotent."""
        if self._thread is None:
            self._queue: deque[Pending] = deque()
            self._signal = threading.Condition()
            self._poked = False
            self._thread = threading.Thread(target=self._loop, name="strataflow-writer", daemon=True)
            self._thread.start()

    def submit(self, pending: Pending) -> None:
        """Queue an event; returns at once. Raises EngineStopped after `stop`."""
        with self._signal:
            if self.stopping.is_set():
                raise EngineStopped("the engine is stopped and takes nothing any more.")
            self._queue.append(pending)
            self._signal.notify()

    @property
    def backlog(self) -> int:
        """Events that wait for the next transaction."""
        return len(self._queue)

    def poke(self) -> None:
        """Run a batch even without events: there may be something to claim."""
        with self._signal:
            self._poked = True
            self._signal.notify()

    def stop(self, timeout_s: float) -> None:
        """Commit what is queued, then end; after `timeout_s` what is left is answered with an error."""
        thread = self._thread
        if thread is None:
            return
        deadline = time.monotonic() + timeout_s
        with self._signal:
            while self._queue and time.monotonic() < deadline and thread.is_alive():
                self._signal.wait(0.01)
            self.stopping.set()
            self._signal.notify()
        thread.join(max(0.1, deadline - time.monotonic()))
        self.close()

    def _requeue(self, pending: Pending) -> None:
        with self._signal:
            self._queue.append(pending)

    def _take(self) -> list[Pending] | None:
        with self._signal:
            self.working = False
            while not self._queue and not self._poked and not self.stopping.is_set():
                self._signal.wait()
            if self.stopping.is_set() and not self._queue:
                return None
            self._poked, self.working, self.began_at = False, True, time.monotonic()
            return [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]

    def _loop(self) -> None:
        while (pendings := self._take()) is not None:
            try:
                wishes = self._listener.wishes(pendings)
                if pendings or wishes.claim is not None or wishes.due:
                    self.run(pendings, wishes)
                    if self._listener.breath_s:
                        time.sleep(self._listener.breath_s)  # others wait for the file's one write lock
            except Exception as exc:  # the loop outlives every defect: a dead writer is an outage
                log.exception("a batch failed", extra={"action": "batch_failed"})
                _answer_all(pendings, EngineError(f"the batch failed: {type(exc).__name__}: {exc}"))
                self.close()
                self.stopping.wait(0.05)
        _answer_all(list(self._queue), EngineStopped("the engine stopped before this was written."))


class InlineWriter(_Runner):
    """The plain writer: every event in a transaction of its own, on the caller's thread. The oracle of the other."""

    def start(self) -> None:
        """Nothing to begin: every call runs on its caller's thread."""
        self._gate = threading.RLock()
        self._again: deque[Pending] = deque()

    def submit(self, pending: Pending) -> None:
        """Commit one event now, and whatever it made necessary."""
        with self._gate:
            if self.stopping.is_set():
                raise EngineStopped("the engine is stopped and takes nothing any more.")
            self._again.append(pending)
            while self._again:
                batch = [self._again.popleft()]
                self.run(batch, self._listener.wishes(batch))

    def poke(self) -> None:
        """Claim and promote now, if there is anything to."""
        with self._gate:
            wishes = self._listener.wishes([])
            if wishes.claim is not None or wishes.due:
                self.run([], wishes)

    def stop(self, timeout_s: float) -> None:
        """Take nothing any more."""
        self.stopping.set()
        self.close()

    def _requeue(self, pending: Pending) -> None:
        self._again.append(pending)


def _answer(pending: Pending, answer: Applied | EngineError) -> None:
    if pending.done is None:
        return
    try:
        pending.done(answer)
    except Exception:
        log.exception("a listener failed", extra={"action": "answer_failed"})


def _answer_all(pendings: list[Pending], answer: EngineError) -> None:
    for pending in pendings:
        _answer(pending, answer)
