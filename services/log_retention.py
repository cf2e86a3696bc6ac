"""Log lines by age, deleted apart from their runs: what was done stays known when what was said is too old."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from ..engine.translate import engine_errors
from ..repositories.log_retention import LINES_AT_ONCE, RUNS_AT_ONCE, delete_lines, logged_runs

if TYPE_CHECKING:
    from ..repositories.database import Database
    from ..repositories.records import InstanceState

__all__ = ["purge_logs"]


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
