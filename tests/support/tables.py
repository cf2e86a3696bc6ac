"""Rows as dictionaries, written straight into tables, for tests of the read side."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy

from strataflow.repositories import engines
from strataflow.repositories.database import Database
from strataflow.repositories.engines import EngineRow
from strataflow.repositories.records import EngineRole

TTL = 30_000_000
#: Ids in the order of their numbers, as UUIDv7 gives them.
IDS = [f"018f0000-0000-7000-8000-{n:012d}" for n in range(10)]
ENDED = {"completed", "failed", "skipped", "cancelled", "expired"}


def insert(database: Database, table: Any, *rows: dict[str, Any]) -> None:
    with database.write() as connection:
        for row in rows:
            connection.execute(sqlalchemy.insert(table).values(**row))


def instance(number: int, state: str = "running", **values: Any) -> dict[str, Any]:
    ended = {"ended_at": 99} if state in ENDED else {}
    base = {"id": IDS[number], "definition_id": IDS[0], "name": "flow", "version": 1, "created_at": number}
    return base | {"state": state} | ended | values


def task(number: int, path: str, state: str = "waiting", **values: Any) -> dict[str, Any]:
    shape: dict[str, Any] = {"ended_at": 99} if state in ENDED else {}
    if state == "queued":
        shape["ready_at"] = 5
    if state == "failed":
        shape["error"] = "{}"
    scope = None if path == "" else ""
    return {"instance_id": IDS[number], "path": path, "scope": scope, "state": state} | shape | values


def engine(database: Database, ttl: int = TTL) -> str:
    engine = EngineRow(str(uuid.uuid4()), EngineRole.ENGINE, "here", 1, "1", executors=("a.x",), slots=2)
    engines.register(database, engine, ttl)
    return engine.id
