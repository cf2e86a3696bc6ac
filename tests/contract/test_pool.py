"""The pool of connections: whoever finds none free in time is told so in this layer's words."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from strataflow.repositories import database as module
from strataflow.repositories.database import READ_CONNECTIONS, Database
from strataflow.repositories.errors import Retryable


def test_no_connection_is_free(db_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_WAIT_S", 0.01)
    database = Database(db_url)
    try:
        with ExitStack() as stack:
            for _ in range(READ_CONNECTIONS):
                stack.enter_context(database.read())
            with pytest.raises(Retryable, match="no connection was free"), database.read():
                pass
        with database.read() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    finally:
        database.close()
