"""`InstanceFilter` on both databases: each criterion, every combination of them, and pages that are bounded."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pytest
from sqlalchemy import insert

from strataflow.repositories import views
from strataflow.repositories.database import Database
from strataflow.repositories.filters import InstanceFilter
from strataflow.repositories.readmodels import MAX_PAGE
from strataflow.repositories.records import InstanceState
from strataflow.repositories.tables import INSTANCES, LABELS
from tests.support.tables import ENDED, IDS, instance

Row = dict[str, Any]
RUNNING, FAILED, QUEUED = InstanceState.RUNNING, InstanceState.FAILED, InstanceState.QUEUED


def store(database: Database, *rows: Row) -> None:
    """Write runs; `labels` is an object, kept with the run and as rows, as a start does."""
    with database.write() as connection:
        blank = dict.fromkeys(("key", "parent_id", "ended_at"))
        plain = [
            blank | row | {"labels": json.dumps(row["labels"]) if row.get("labels") else None} for row in rows
        ]
        connection.execute(insert(INSTANCES), plain)
        labels = [
            {"instance_id": row["id"], "name": name, "value": value}
            for row in rows
            for name, value in (row.get("labels") or {}).items()
        ]
        if labels:
            connection.execute(insert(LABELS), labels)


def found(database: Database, where: InstanceFilter, **page: Any) -> list[str]:
    with database.read() as connection:
        return [row.id for row in views.instances(connection, where=where, **page)]


def numbers(database: Database, **criteria: Any) -> list[int]:
    """Give the numbers of the runs that match, newest first."""
    return [IDS.index(each) for each in found(database, InstanceFilter(**criteria))]


@pytest.fixture
def runs(database: Database) -> Database:
    """Give six runs that differ in everything a filter may ask for."""
    store(
        database,
        instance(1, "running", name="a", key="k", labels={"team": "core", "n": "1"}),
        instance(2, "failed", name="a", version=2, labels={"team": "core"}),
        instance(3, "completed", name="b", labels={"team": "shop", "other": "core"}, parent_id=IDS[1]),
        instance(4, "queued", name="a.b", key="K", labels={"team": "Core", "weird": "50% o'clock é"}),
        instance(5, "paused", name="b", version=2, parent_id=IDS[3]),
        instance(6, "failed", name="b", key="k", parent_id=IDS[1], labels=None),
    )
    return database


CASES: list[tuple[Row, list[int]]] = [
    ({}, [6, 5, 4, 3, 2, 1]),
    ({"states": frozenset({FAILED})}, [6, 2]),
    ({"states": frozenset({RUNNING, QUEUED})}, [4, 1]),
    ({"states": frozenset({InstanceState.EXPIRED})}, []),
    ({"name": "a"}, [2, 1]),
    ({"name": "a%"}, []),
    ({"version": 2}, [5, 2]),
    ({"key": "k"}, [6, 1]),
    ({"key": ""}, []),
    ({"labels": {"team": "core"}}, [2, 1]),
    ({"labels": {"team": "core", "n": "1"}}, [1]),
    ({"labels": {"team": "core", "other": "core"}}, []),
    ({"labels": {"weird": "50% o'clock é"}}, [4]),
    ({"labels": {"weird": "50%"}}, []),
    ({"labels": {"none": "x"}}, []),
    ({"created_after": 5}, [6, 5]),
    ({"created_before": 2}, [1]),
    ({"created_after": 2, "created_before": 4}, [3, 2]),
    ({"parent_id": IDS[1]}, [6, 3]),
    ({"parent_id": IDS[1].upper().replace("-", "")}, [6, 3]),
    ({"parent_id": IDS[9]}, []),
    ({"parent_id": "no id"}, []),
    ({"parent_id": ""}, []),
    ({"roots": True, "parent_id": "no id"}, []),
    ({"roots": True}, [4, 2, 1]),
    ({"roots": True, "parent_id": IDS[1]}, []),
    ({"states": frozenset({FAILED}), "name": "b", "key": "k", "parent_id": IDS[1]}, [6]),
]


def test_each_criterion_finds_what_meets_it_and_nothing_else(runs: Database) -> None:
    for criteria, expected in CASES:
        assert numbers(runs, **criteria) == expected, criteria


# --- every combination


def meets(row: Row, criteria: Mapping[str, Any]) -> bool:
    """Say what a filter means, row by row."""
    labels = row["labels"] or {}
    tests = {
        "states": lambda value: row["state"] in {state.value for state in value},
        "labels": lambda value: value.items() <= labels.items(),
        "created_after": lambda value: row["created_at"] >= value,
        "created_before": lambda value: row["created_at"] < value,
        "roots": lambda _: row["parent_id"] is None,
    }
    return all(
        tests[name](value) if name in tests else row[name] == value for name, value in criteria.items()
    )


def some_rows(seed: int, count: int) -> list[Row]:
    draw = random.Random(seed)
    rows: list[Row] = []
    for number in range(count):
        state = draw.choice(["running", "failed", "completed", "queued"])
        row = instance(0, state, name=draw.choice("ab"), version=draw.choice([1, 2]))
        row |= {
            "id": f"018f0000-0000-7000-8000-{number:012d}",
            "created_at": draw.randrange(20),
            "key": draw.choice([None, "k"]),
            "labels": draw.choice([None, {"team": "core"}, {"team": "core", "n": "1"}, {"n": "1"}]),
            "parent_id": draw.choice([None, IDS[7]]),
            "ended_at": 99 if state in ENDED else None,
        }
        rows.append(row)
    return rows


CRITERIA: Row = {
    "states": frozenset({RUNNING, FAILED}),
    "name": "a",
    "version": 1,
    "labels": {"team": "core", "n": "1"},
    "key": "k",
    "created_after": 4,
    "created_before": 17,
    "parent_id": IDS[7],
    "roots": True,
}


def test_what_is_given_must_hold_all_together(database: Database) -> None:
    rows = sorted(some_rows(1, 200), key=lambda row: (row["created_at"], row["id"]), reverse=True)
    store(database, *rows)
    hits = 0
    for size in (0, 1, 2, 3, len(CRITERIA)):
        for names in combinations(CRITERIA, size):
            criteria = {name: CRITERIA[name] for name in names}
            expected = [row["id"] for row in rows if meets(row, criteria)]
            assert found(database, InstanceFilter(**criteria), limit=1000) == expected, names
            hits += bool(expected)
    assert hits > 100, "most combinations find something"


# --- pages


def test_pages_of_a_filter_neither_repeat_nor_skip(database: Database) -> None:
    rows = some_rows(2, 150)
    store(database, *rows)
    where = InstanceFilter(name="a", labels={"team": "core"})
    seen: list[str] = []
    before: tuple[int, str] | None = None
    with database.read() as connection:
        while page := views.instances(connection, where=where, limit=7, before=before):
            assert len(page) <= 7
            seen += [row.id for row in page]
            before = page[-1].cursor
    wanted = sorted((r for r in rows if meets(r, {"name": "a", "labels": {"team": "core"}})), key=_order)
    assert seen == [row["id"] for row in wanted[::-1]]
    assert len(seen) > 14


def _order(row: Row) -> tuple[int, str]:
    return row["created_at"], row["id"]


def test_no_page_is_longer_than_the_limit_of_all_pages(database: Database) -> None:
    row = instance(0, "running", name="a")
    ids = [f"018f0000-0000-7000-8000-{number:012d}" for number in range(MAX_PAGE + 1)]
    with database.write() as connection:
        values = [{**row, "id": each, "created_at": n} for n, each in enumerate(ids)]
        connection.execute(insert(INSTANCES), values)
    where = InstanceFilter(name="a")
    assert found(database, where, limit=10**9) == ids[:0:-1]
    assert found(database, where, limit=0) == found(database, where, limit=-5) == []
    assert len(found(database, where)) == 100


def test_a_filter_and_the_older_arguments_hold_together(runs: Database) -> None:
    where = InstanceFilter(labels={"team": "core"})
    assert found(runs, where, state=FAILED) == [IDS[2]]
    assert found(runs, where, name="b") == []


def test_an_empty_filter_has_no_condition() -> None:
    assert InstanceFilter().conditions() == []
