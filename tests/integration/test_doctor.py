"""Every check of `doctor`, well and unwell."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from strataflow.executors.builtin import default_registry
from strataflow.executors.domain import RegistryProblem
from strataflow.executors.registry import ExecutorRegistry
from strataflow.repositories.health import PostgresFacts, SqliteFacts
from strataflow.services import storage
from strataflow.services.checks import Check, worst
from strataflow.services.container import Options, running
from strataflow.services.doctor import diagnose

SAFE = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "100",
    "server_version": "15.1",
    "server_version_num": "150001",
}


@pytest.fixture
def registry() -> ExecutorRegistry:
    return default_registry(entry_points=False)


def found(url: str, registry: ExecutorRegistry) -> dict[str, Check]:
    checks = {check.name: check for check in diagnose(url, registry)}
    assert all(check.hint for check in checks.values() if check.level != "ok")
    return checks


def execute(url: str, statement: str) -> None:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw:
            raw.execute(statement)
            raw.commit()
    else:
        with psycopg.connect(url) as raw:
            raw.execute(statement.encode())


@pytest.fixture
def waiting(db_url: str) -> str:
    """Give a database with one instance that waits for an engine."""
    with running(Options(url=db_url)) as services:
        nodes = {"a": {"run": "core.noop"}}
        services.executions.start({"dsl": "1", "name": "t.doctor", "nodes": nodes})
    return db_url


def test_a_healthy_database_has_nothing_to_mend(db_url: str, registry: ExecutorRegistry) -> None:
    checks = found(db_url, registry)
    expected = {"plugins", "database", "writable", "engines", "interrupted", "queues", "executors"}
    expected |= {"pools", "paused", "counters"}
    own = (
        {"sqlite", "filesystem", "space"}
        if "sqlite" in db_url
        else {"postgres", "durability", "connections", "clock"}
    )
    assert set(checks) == expected | own
    surroundings = {
        "durability",
        "filesystem",
        "space",
    }  # the tests' own server runs without fsync, files in memory
    assert {check.level for name, check in checks.items() if name not in surroundings} == {"ok"}


def test_doctor_changes_nothing(migrated_sqlite_url: str, registry: ExecutorRegistry) -> None:
    def dump() -> list[str]:
        with closing(sqlite3.connect(migrated_sqlite_url.removeprefix("sqlite:///"))) as raw:
            return list(raw.iterdump())

    before = dump()
    found(migrated_sqlite_url, registry)
    assert dump() == before


def test_a_missing_database_is_not_made(sqlite_url: str, tmp_path: Path, registry: ExecutorRegistry) -> None:
    checks = found(sqlite_url, registry)
    assert set(checks) == {"plugins", "database"}
    assert (checks["database"].level, list(tmp_path.iterdir())) == ("fail", [])
    assert "db upgrade" in str(checks["database"].hint)


def test_an_unreachable_server_fails_alone(registry: ExecutorRegistry) -> None:
    checks = found("postgresql://127.0.0.1:1/none", registry)
    assert set(checks) == {"plugins", "database"}
    assert checks["database"].level == "fail"


def test_work_without_a_worker_is_told(waiting: str, registry: ExecutorRegistry) -> None:
    checks = found(waiting, registry)
    assert checks["engines"].level == "warn"
    assert checks["engines"].message == "0 engines alive, 1 unfinished instance"
    assert checks["queues"].level == "ok"


def test_a_task_that_waits_for_long_is_told(waiting: str, registry: ExecutorRegistry) -> None:
    execute(waiting, "UPDATE tasks SET ready_at = ready_at - 120000000 WHERE ready_at IS NOT NULL")
    check = found(waiting, registry)["queues"]
    assert (check.level, check.message) == ("warn", "1 task ready, the oldest for 120 s")
    assert "default" in str(check.hint)


def test_an_executor_that_nobody_has_is_told(waiting: str, registry: ExecutorRegistry) -> None:
    registry.unregister_executor("core.noop")
    check = found(waiting, registry)["executors"]
    assert check.level == "warn"
    assert "core.noop" in check.message


def test_tasks_of_a_dead_engine_are_told(waiting: str, registry: ExecutorRegistry) -> None:
    execute(
        waiting,
        "UPDATE tasks SET state = 'running', ready_at = NULL, attempt = 1, started_at = 1, "
        "engine = (SELECT id FROM engines LIMIT 1) WHERE path = 'a'",
    )
    check = found(waiting, registry)["interrupted"]
    assert (check.level, check.message) == ("warn", "1 running task held by engines that are gone")


def test_an_engine_beyond_its_lease_is_told(waiting: str, registry: ExecutorRegistry) -> None:
    execute(waiting, "UPDATE engines SET state = 'alive', role = 'engine', ended_at = NULL, lease_until = 1")
    check = found(waiting, registry)["engines"]
    assert check.level == "warn"
    assert "1 engine silent" in check.message


def test_a_broken_plugin_is_told(sqlite_url: str, registry: ExecutorRegistry) -> None:
    registry.problems.append(RegistryProblem("acme", "entry point acme = acme:domain", "cannot be loaded"))
    check = found(sqlite_url, registry)["plugins"]
    assert check.level == "warn"
    assert "acme:domain: cannot be loaded" in check.message


def test_a_read_only_file_is_not_writable(
    migrated_sqlite_url: str, registry: ExecutorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from strataflow.repositories import health
    from strataflow.repositories.errors import Unwritable

    def refuse(_connection: Any) -> None:
        raise Unwritable("attempt to write a readonly database")

    monkeypatch.setattr(health, "probe_write", refuse)
    assert found(migrated_sqlite_url, registry)["writable"].level == "fail"


@pytest.mark.parametrize(
    ("facts", "levels"),
    [
        (SqliteFacts("3.45.1", "wal"), {"ok"}),
        (SqliteFacts("3.39.9", "wal"), {"fail"}),
        (SqliteFacts("3.45.1", "delete"), {"warn"}),
    ],
)
def test_sqlite_facts(tmp_path: Path, facts: SqliteFacts, levels: set[str]) -> None:
    checks = [check for check in storage.check_sqlite(tmp_path / "x.db", facts) if check.name == "sqlite"]
    assert {check.level for check in checks} == levels


@pytest.mark.parametrize(
    ("kind", "level"), [("ext4", "ok"), (None, "ok"), ("nfs4", "fail"), ("tmpfs", "warn")]
)
def test_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None, level: str) -> None:
    monkeypatch.setattr(storage, "filesystem_of", lambda _path: kind)
    checks = {
        check.name: check for check in storage.check_sqlite(tmp_path / "x.db", SqliteFacts("3.45.1", "wal"))
    }
    assert checks["filesystem"].level == level


def test_the_file_system_is_that_of_the_deepest_mount() -> None:
    assert storage.filesystem_of(Path("/proc/self")) == "proc"


@pytest.mark.parametrize(
    ("change", "name", "level"),
    [
        ({}, "durability", "ok"),
        ({"fsync": "off"}, "durability", "warn"),
        ({"synchronous_commit": "off"}, "durability", "warn"),
        ({"server_version_num": "130009"}, "postgres", "fail"),
        ({"max_connections": "10"}, "connections", "warn"),
    ],
)
def test_postgres_facts(change: dict[str, str], name: str, level: str) -> None:
    checks = {
        check.name: check
        for check in storage.check_postgres(PostgresFacts(SAFE | change, 10, in_recovery=False))
    }
    assert checks[name].level == level
    assert worst(checks.values()) == level


def test_a_standby_is_told() -> None:
    (first, *_) = storage.check_postgres(PostgresFacts(SAFE, 10, in_recovery=True))
    assert first.level == "fail"
