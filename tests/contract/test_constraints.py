"""Each CHECK and each unique index refuses its bad row, on both databases, as a `BadRow` that spoils nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import CheckConstraint, Table, insert, select

from strataflow.repositories.alert_tables import ALERT_RULES, ALERTS
from strataflow.repositories.database import Database
from strataflow.repositories.errors import BadRow
from strataflow.repositories.records import TERMINAL_TASK_STATES, InstanceState, TaskState
from strataflow.repositories.tables import (
    DEFINITIONS,
    ENGINES,
    FIRINGS,
    INSTANCES,
    KEYS,
    LIMITS,
    QUEUES,
    SCHEDULES,
    TASKS,
    TRIGGERS,
    metadata,
)
from strataflow.repositories.webhook_tables import DELIVERIES, WEBHOOKS

ID = "018f0000-0000-7000-8000-000000000001"
OTHER = "018f0000-0000-7000-8000-000000000002"

DEFINITION: dict[str, Any] = {
    "id": ID, "name": "f", "version": 1, "hash": "h", "body": "{}", "created_at": 1,
}  # fmt: skip
INSTANCE: dict[str, Any] = {
    "id": ID, "definition_id": ID, "name": "f", "version": 1, "state": "running", "created_at": 1,
}  # fmt: skip
TASK: dict[str, Any] = {"instance_id": ID, "path": "a", "scope": "", "state": "waiting"}
ENGINE: dict[str, Any] = {
    "id": ID, "role": "engine", "state": "alive", "lease_until": 1, "host": "h", "pid": 1, "release": "1",
    "started_at": 1,
}  # fmt: skip
_SINCE: dict[str, Any] = {"created_at": 1, "updated_at": 1}
_HOOK: dict[str, Any] = _SINCE | {
    "id": ID, "name": "w", "url": "u", "events": "[]", "state": "enabled", "sealed": "s", "version": 1, "cursor": 0,
    "created_by": "me",
}  # fmt: skip
_DELIVERY: dict[str, Any] = {
    "id": ID, "webhook_id": ID, "event": "task.failed", "body": "{}", "state": "pending", "due_at": 1, "created_at": 1,
}  # fmt: skip
_RULE: dict[str, Any] = {
    "name": "r", "kind": "run_failed", "enabled": 1, "severity": "warning", "settings": "{}", "updated_at": 1,
    "updated_by": "me",
}  # fmt: skip
_ALERT: dict[str, Any] = {
    "id": ID, "rule": "r", "kind": "run_failed", "subject": "s", "severity": "warning", "state": "raised",
    "message": "m", "details": "{}", "count": 1, "first_at": 1, "last_at": 1,
}  # fmt: skip
GOOD: dict[str, tuple[Table, dict[str, Any]]] = {
    "definitions": (DEFINITIONS, DEFINITION),
    "instances": (INSTANCES, INSTANCE),
    "tasks": (TASKS, TASK),
    "engines": (ENGINES, ENGINE),
    "queues": (QUEUES, {"name": "q", "updated_at": 1}),
    "limits": (LIMITS, {"name": "queue:q"}),
    "schedules": (SCHEDULES, {"id": ID, "name": "s", "definition": "f"} | _SINCE | {"fired_until": 1}),
    "firings": (FIRINGS, {"schedule_id": ID, "at": 1, "outcome": "skipped", "fired_at": 1}),
    "webhooks": (WEBHOOKS, _HOOK),
    "deliveries": (DELIVERIES, _DELIVERY),
    "alert": (ALERT_RULES, _RULE),
    "alerts": (ALERTS, _ALERT),
    "triggers": (TRIGGERS, {"id": ID, "name": "t", "pattern": "a.*", "definition": "f"} | _SINCE),
}

#: Constraint → rows it must refuse, as changes of the good row of its table.
BAD: dict[str, list[dict[str, Any]]] = {
    "definitions_version": [{"version": 0}, {"version": -1}],
    "definitions_state": [{"state": "retired"}],
    "instances_state": [{"state": "nonsense"}, {"state": ""}],
    "instances_ended": [
        {"ended_at": 1},
        *[{"state": s} for s in ("completed", "failed", "cancelled", "expired")],
    ],
    "instances_inputs": [{"inputs": "{}", "inputs_ref": "x"}],
    "instances_counters": [{"sweeps": -1}, {"gen": -1}],
    "tasks_state": [{"state": "nonsense"}, {"state": "dead"}],
    "tasks_engine": [{"engine": ID}, {"state": "running"}],
    "tasks_ready": [{"ready_at": 1}, {"state": "queued"}],
    "tasks_wake": [{"state": "running", "engine": ID, "wake_at": 1}],
    "tasks_retry": [{"state": "retrying"}],
    "tasks_pending": [{"state": "pending"}],
    "tasks_ended": [
        {"ended_at": 1},
        *[{"state": s} for s in ("completed", "skipped", "cancelled", "expired")],
        {"state": "failed", "error": "{}"},
    ],
    "tasks_counters": [
        {name: -1} for name in ("remaining", "open", "attempt", "failures", "crashes", "next")
    ],
    "tasks_items": [{name: -1} for name in ("done", "failed", "skipped")],
    "tasks_next": [{"total": 3, "next": 4}],
    "tasks_output": [{"output": "1", "output_ref": "x"}],
    "tasks_error": [{"state": "failed", "ended_at": 1}],
    "tasks_root": [{"path": ""}, {"scope": None}],
    "tasks_blocked": [{"state": "blocked"}, {"blocked_on": "*", "blocked_at": 1}],
    "tasks_holds": [{"holds": "[]"}],
    "queues_state": [{"state": "nonsense"}],
    "queues_max_size": [{"max_size": -1}],
    "limits_counters": [{"used": -1}, {"waiting": -1}],
    "limits_concurrency": [{"concurrency": -1}],
    "limits_rate": [{"rate_count": 1}, {"rate_period": 1}],
    "schedules_state": [{"state": "nonsense"}],
    "schedules_origin": [{"origin": "nonsense"}],
    "schedules_overlap": [{"overlap": "nonsense"}],
    "schedules_misfire": [{"misfire": "nonsense"}],
    "firings_outcome": [{"outcome": "nonsense"}],
    "firings_instance": [{"outcome": "started"}, {"instance_id": ID}],
    "triggers_state": [{"state": "nonsense"}],
    "webhooks_state": [{"state": "nonsense"}],
    "deliveries_state": [{"state": "nonsense"}],
    "alert_rules_enabled": [{"enabled": 2}, {"enabled": -1}],
    "alert_rules_severity": [{"severity": "nonsense"}],
    "alerts_state": [{"state": "nonsense"}],
    "alerts_severity": [{"severity": "nonsense"}],
    "alerts_resolved_at": [{"state": "resolved"}, {"resolved_at": 1}],
    "engines_state": [{"state": "nonsense"}],
    "engines_role": [{"role": "nonsense"}],
}
CASES = [(name, change) for name, changes in BAD.items() for change in changes]


def _insert(database: Database, table: Table, row: dict[str, Any]) -> None:
    with database.write() as connection:
        connection.execute(insert(table).values(**row))


def test_every_check_has_a_bad_row() -> None:
    checks = {
        str(c.name) for t in metadata.sorted_tables for c in t.constraints if isinstance(c, CheckConstraint)
    }
    assert checks == set(BAD)


def test_every_check_refuses_its_bad_rows(database: Database) -> None:
    for name, change in CASES:
        table, good = GOOD[name.split("_", maxsplit=1)[0]]
        with pytest.raises(BadRow, match=name):
            _insert(database, table, good | change)
    for table, good in GOOD.values():
        _insert(database, table, good)
        with database.read() as connection:
            assert len(connection.execute(select(table)).all()) == 1


def _task_in(state: TaskState) -> dict[str, Any]:
    shape: dict[str, Any] = {"state": state, "path": state}
    if state in TERMINAL_TASK_STATES:
        shape["ended_at"] = 1
    wanted: dict[TaskState, dict[str, Any]] = {
        TaskState.RUNNING: {"engine": ID},
        TaskState.QUEUED: {"ready_at": 1},
        TaskState.RETRYING: {"wake_at": 1},
        TaskState.PENDING: {"remaining": 1},
        TaskState.BLOCKED: {"blocked_on": "*", "blocked_at": 1},
        TaskState.FAILED: {"error": "{}"},
    }
    return TASK | shape | wanted.get(state, {})


def test_every_state_has_a_shape_that_is_taken(database: Database) -> None:
    for state in TaskState:
        _insert(database, TASKS, _task_in(state))
    for number, state in enumerate(InstanceState):
        ended = {"ended_at": 1} if state in ("completed", "failed", "cancelled", "expired") else {}
        _insert(database, INSTANCES, INSTANCE | {"id": f"{ID[:-1]}{number}", "state": state} | ended)
    _insert(database, TASKS, TASK | {"path": "", "scope": None})


UNIQUE: list[tuple[Table, dict[str, Any], dict[str, Any]]] = [
    (DEFINITIONS, DEFINITION, {"id": OTHER, "hash": "other"}),
    (DEFINITIONS, DEFINITION, {"id": OTHER, "version": 2}),
    (DEFINITIONS, DEFINITION, {"version": 2, "hash": "other"}),
    (INSTANCES, INSTANCE, {"name": "g"}),
    (TASKS, TASK, {"state": "retrying", "wake_at": 1}),
    (KEYS, {"name": "f", "kind": "start", "key": "k", "instance_id": ID}, {"instance_id": OTHER}),
    (ENGINES, ENGINE, {"pid": 2}),
]


@pytest.mark.parametrize(("table", "first", "second"), UNIQUE, ids=str)
def test_what_is_unique_stays_so(
    database: Database, table: Table, first: dict[str, Any], second: dict[str, Any]
) -> None:
    _insert(database, table, first)
    with pytest.raises(BadRow):
        _insert(database, table, first | second)


@pytest.mark.parametrize("row", [{"state": None}, {"path": None}, {"instance_id": None}])
def test_what_is_required_must_be_there(database: Database, row: dict[str, Any]) -> None:
    with pytest.raises(BadRow):
        _insert(database, TASKS, TASK | row)
