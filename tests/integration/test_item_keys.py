"""Items of a map with `key` are found by their key, and what failed in a map page by page."""

from __future__ import annotations

import asyncio

import pytest

from strataflow import NotFound
from strataflow.engine.addresses import resolve_path
from strataflow.repositories.records import TaskState
from strataflow.services.task_view import TaskViews
from tests.integration.kit import Doc, Flow

_BANKS = ["north", "south", 'the "odd" one', "south", "west"]


def _map() -> Doc:
    return {
        "m": {
            "map": _BANKS,
            "as": "bank",
            "key": "{{ bank }}",
            "join": {"need": "all", "rest": "keep"},
            "do": {
                "run": "t.fail",
                "with": {"times": "{{ 1 if bank in ['south', 'west'] else 0 }}"},
                "retry": {"max": 0},
            },
        }
    }


def test_a_task_is_named_by_its_items_key(flow: Flow) -> None:
    instance_id = flow.start(_map())
    assert flow.wait(instance_id).state == "failed"
    database = flow.engine.database
    assert resolve_path(database, instance_id, 'm["south"]') == "m[1]"
    assert resolve_path(database, instance_id, 'm["the \\"odd\\" one"].x') == "m[2].x"
    assert resolve_path(database, instance_id, "m[1]") == "m[1]"
    with pytest.raises(NotFound, match="no item of 'm' has the key 'east'"):
        resolve_path(database, instance_id, 'm["east"]')


def test_an_item_is_tried_again_by_its_key(flow: Flow) -> None:
    instance_id = flow.start(_map())
    flow.wait(instance_id)
    asyncio.run(flow.engine.retry_workflow(instance_id, 'm["west"]', 'm["south"]'))
    assert flow.wait(instance_id).state == "completed"
    assert flow.probe.attempts("m[3]") == [1, 2]
    assert flow.probe.attempts("m[0]") == [1]


def test_failures_inside_a_map_come_page_by_page(flow: Flow) -> None:
    instance_id = flow.start(_map())
    flow.wait(instance_id)
    tasks = TaskViews(flow.engine.database, flow.engine.parts.catalog)
    failed = [task.path for task in tasks.of(instance_id, state=TaskState.FAILED, under="m", after="m[1]")]
    assert failed == ["m[3]"]
    assert [task.path for task in tasks.of(instance_id, under='m["north"]')] == []
    assert len(list(tasks.of(instance_id, under="m"))) == len(set(_BANKS))
