"""The audit log: whatever comes at once is written, once each, and who cannot be written is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from strataflow.engine.errors import DatabaseUnavailable
from strataflow.repositories import access_store
from strataflow.repositories.database import Database
from strataflow.repositories.errors import ConnectionLost
from strataflow.services.access.audit import AuditLog


def entry(number: int) -> dict[str, Any]:
    return {
        "key_id": None,
        "who": "ci",
        "action": "start:instances",
        "target": f"POST /instances {number}",
        "outcome": "done",
        "status": 201,
        "request_id": str(number),
    }


def test_many_at_once_are_written_once_each_and_in_few_transactions(
    db_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(db_url)
    audit = AuditLog(database)
    sizes: list[int] = []
    write = access_store.write_audit

    def counted(where: Database, entries: Any) -> None:
        sizes.append(len(entries))
        write(where, entries)

    monkeypatch.setattr(access_store, "write_audit", counted)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: audit.write(entry(number)), range(200)))
    found = access_store.audit_entries(database, 500)
    assert sorted(int(each.request_id) for each in found) == list(range(200))
    assert len({each.seq for each in found}) == 200
    assert sum(sizes) == 200
    assert max(sizes) > 1, "some waited while others were written"
    database.close()


def test_all_that_were_in_a_failed_transaction_are_told_and_the_next_is_written(
    db_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(db_url)
    audit = AuditLog(database)
    write, away = access_store.write_audit, [True]

    def failing(where: Database, entries: Any) -> None:
        if away[0]:
            raise ConnectionLost("gone")
        write(where, entries)

    monkeypatch.setattr(access_store, "write_audit", failing)

    def tried(number: int) -> str:
        try:
            audit.write(entry(number))
        except DatabaseUnavailable as exc:
            return exc.code
        return "written"

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(tried, range(40))) == {"database"}
    away[0] = False
    assert tried(41) == "written"
    assert [each.request_id for each in access_store.audit_entries(database, 10)] == ["41"]
    database.close()
