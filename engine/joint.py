"""`ctx.transaction()`: a task's own SQL and its completion in one transaction: both happen, or neither.

It is steps 2 to 7 of any transaction, after the user's statements, for the one event "this attempt succeeded". It
claims nothing. Leaving the block is the attempt's success; what the executor returns afterwards does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ..executors.base import TaskTransaction
from ..repositories.joined import joined
from .batching import BatchReport, ClaimedTask, Pending, Standing, Wishes
from .errors import EngineError, StaleLease
from .events import Applied, TaskEnded
from .transaction import Transaction
from .translate import engine_errors

if TYPE_CHECKING:
    from ..repositories.database import Database, Session
    from .plans import PlanCache

__all__ = ["JointTransactions"]

#: On SQLite it is the only writer of the whole file meanwhile.
LONGEST_ON_SQLITE_S: Final = 5.0


class JointTransactions:
    """Makes them for one engine."""

    def __init__(self, database: Database, plans: PlanCache, recorded: Callable[[BatchReport], None]) -> None:
        self._database = database
        self._plans = plans
        self._recorded = recorded

    @contextmanager
    def open(self, task: ClaimedTask, ended: Callable[[Any], TaskEnded]) -> Generator[TaskTransaction]:
        """A transaction for the user; `ended` makes the attempt's end of the result. Raises StaleLease."""
        began = time.monotonic()
        sqlite = self._database.url.dialect == "sqlite"
        self._plans.put(task.plan)
        with engine_errors(), self._database.write() as connection:
            transaction = TaskTransaction(connection)
            yield transaction
            took = time.monotonic() - began
            if sqlite and took > LONGEST_ON_SQLITE_S:
                raise EngineError(
                    f"the transaction of {task.row.path!r} held the whole SQLite file for {took:.1f} s.",
                    hint=f"Do what is slow before it; {LONGEST_ON_SQLITE_S:g} s are allowed.",
                )
            report = self._complete(connection, ended(transaction.value))
        self._recorded(report)

    def _complete(self, connection: Session, event: TaskEnded) -> BatchReport:
        transaction = Transaction(joined(connection, self._database.url), self._plans)
        standing = Standing(event.engine, 0, 0, executes=False, executors=frozenset())
        report = transaction.run([Pending(event)], standing, Wishes())
        answer = report.answers[0][1] if report.answers else EngineError("the plan is not in memory.")
        if not isinstance(answer, Applied):
            raise answer
        if answer.status != "accepted":
            raise StaleLease(
                f"attempt {event.attempt} no longer holds task {event.path!r}.",
                hint="Its transaction was rolled back.",
            )
        return report
