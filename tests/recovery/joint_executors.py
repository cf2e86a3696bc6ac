"""An executor that does SQL of its own with `ctx.transaction()`, and dies where its configuration says.

`strataflow worker --import` loads this file.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from typing import Any

from sqlalchemy import Connection, event, text

from strataflow import ExecutorDomain, TaskContext

__all__ = ["joint"]

joint = ExecutorDomain("joint")


@joint.executor("pay")
def pay(ctx: TaskContext, config: Any) -> Any:
    """Write a row; in the first attempt die `inside` the block, at its `commit`, or `after` it."""
    dies = config["dies"] if ctx.attempt == 1 else None
    with ctx.transaction() as transaction:
        values = {"id": ctx.instance_id, "attempt": ctx.attempt}
        transaction.connection.execute(
            text("INSERT INTO payments (id, attempt) VALUES (:id, :attempt)"), values
        )
        transaction.result({"attempt": ctx.attempt})
        if dies == "inside":
            _die()
        if dies == "commit":
            _die_at_commit(transaction.connection)
    if dies == "after":
        _die()


def _die_at_commit(connection: Connection) -> None:
    """Everything is written, the completion too; nothing is committed."""
    raw = connection.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):
        raw.set_trace_callback(lambda statement: _die() if statement == "COMMIT" else None)
    else:
        event.listen(connection, "commit", lambda _: _die())


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()
