"""A definition that is stored already costs no write, so that it can be started while somebody holds the write lock."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from strataflow import WorkflowEngine
from strataflow.repositories.url import DatabaseUrl

ORDER: dict[str, Any] = {"dsl": "1", "name": "order", "nodes": {"pay": {"set": {"paid": 1}}}}


def test_a_start_inside_a_transaction_does_not_wait_for_that_transaction(migrated_sqlite_url: str) -> None:
    with WorkflowEngine(migrated_sqlite_url) as engine:
        first = engine.register(ORDER)
    path = DatabaseUrl.parse(migrated_sqlite_url).path
    assert path is not None
    with (
        WorkflowEngine(migrated_sqlite_url) as engine,
        closing(sqlite3.connect(path, isolation_level=None)) as db,
    ):
        db.execute("BEGIN IMMEDIATE")
        instance = engine.start_in_transaction(db, ORDER)  # a document: this engine has not seen it yet
        assert engine.register(ORDER).id == first.id
        db.execute("COMMIT")
        assert engine.wait_now(instance, 30).output == {"pay": {"paid": 1}}


def test_a_known_definition_can_still_be_made_the_active_one(db_url: str) -> None:
    with WorkflowEngine(db_url) as engine:
        assert not engine.register(ORDER).active
    with WorkflowEngine(db_url) as engine:
        assert engine.register(ORDER, activate=True).active
    with WorkflowEngine(db_url) as engine:
        assert engine.register(ORDER, activate=True).active
