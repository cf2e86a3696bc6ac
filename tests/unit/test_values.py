"""The cache of committed values is bounded, whatever one instance or many of them put into it."""

from __future__ import annotations

from strataflow.engine import values as module
from strataflow.engine.rows import new_task
from strataflow.engine.values import Values
from strataflow.repositories.database import Database
from strataflow.repositories.records import TaskRow, TaskState


def ended(path: str) -> TaskRow:
    row = new_task("i", path, "", gen=0)
    row.state, row.ended_at = TaskState.COMPLETED, 1
    return row


def kept(values: Values) -> int:
    return sum(len(one.rows) for one in values._instances.values())


def test_one_wide_instance_keeps_only_its_newest_rows(sqlite_url: str) -> None:
    values = Values(Database(sqlite_url))
    for start in range(0, 3 * module._PER_INSTANCE, 500):
        values.keep("i", 0, [ended(f"m[{n}].a") for n in range(start, start + 500)])
    assert len(values._instances["i"].rows) == module._PER_INSTANCE
    assert values._entries == kept(values)


def test_many_instances_keep_no_more_than_the_bound_and_the_count_is_exact(sqlite_url: str) -> None:
    values = Values(Database(sqlite_url))
    for number in range(3_000):
        values.keep(str(number), 0, [ended(f"n{n}") for n in range(10)])
        values.keep(str(number), 0, [ended(f"n{n}") for n in range(10)])  # the same rows again count once
    assert kept(values) == values._entries <= module._MAX_ENTRIES
    for number in range(3_000):
        values.forget(str(number))
    assert (values._entries, kept(values)) == (0, 0)
