"""Log lines by age, deleted apart from their runs: what was done stays known when what was said is too old."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Final

from ..engine.translate import engine_errors
from ..repositories.log_retention import LINES_AT_ONCE, RUNS_AT_ONCE, delete_lines, logged_runs

if TYPE_CHECKING:
    from ..repositories.database import Database
    from ..repositories.records import InstanceState

__all__ = ["delete_logs", "purge_logs"]

#: After everything.
_END: Final = 2**63 - 1


def purge_logs(
    database: Database, older_s: float, *, states: Collection[InstanceState] = (), name: str | None = None
) -> Iterator[int]:
    """Delete log lines written longer ago than this, of live runs too; gives how many each transaction deleted."""
    before = int((time.time() - older_s) * 1_000_000)
    after: tuple[int, str] | None = None
    while True:
        with engine_errors():
            page = logged_runs(database, before, states=states, name=name, after=after)
        ids = [instance_id for _, instance_id in page]
        gone = LINES_AT_ONCE if ids else 0
        while gone >= LINES_AT_ONCE:
            with engine_errors():
                gone = delete_lines(database, ids, before)
            yield gone
        if len(page) < RUNS_AT_ONCE:
            return
        after = page[-1]


def delete_logs(database: Database, instance_id: str, before: int | None = None) -> Iterator[int]:
    """Delete one run's log lines, all or those before an instant; gives how many each transaction deleted."""
    gone = LINES_AT_ONCE
    while gone >= LINES_AT_ONCE:
        with engine_errors():
            gone = delete_lines(database, [instance_id], _END if before is None else before)
        yield gone
