"""A two-level calendar sync, from its description: a main flow with loops of tasks and of child flows, stub executors.

Main: prepare → the calendars, found at run time, 8 wide → group them → one child flow per group, 5 wide → report.
Child: open the group → teachers 15 wide and students 12 wide, side by side → summary.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from strataflow import ExecutorDomain, TaskContext
from tests.integration.kit import Doc, Flow

CALENDARS, GROUPS = 20, 7


class Calendar:
    """The stubs, and how many of each were at work at once."""

    def __init__(self) -> None:
        self.domain = ExecutorDomain("sync")
        self.calls: Counter[str] = Counter()
        for name in ("prepare", "create", "group", "open", "invite", "summary", "report"):
            self.domain.executor(name)(self._stub(name))

    def _stub(self, name: str) -> Any:
        def stub(ctx: TaskContext, config: Any) -> Any:
            self.calls[name] += 1
            return getattr(self, f"_{name}", lambda given: given)(config)

        return stub

    def _prepare(self, config: Any) -> Any:
        return {"term": config["term"], "calendars": [{"id": n} for n in range(CALENDARS)]}

    def _create(self, config: Any) -> Any:
        return {"calendar": config["calendar"]["id"], "number": config["index"]}

    def _group(self, config: Any) -> Any:
        ids = [each["calendar"] for each in config["created"]]
        return [{"group": n, "calendars": ids[n::GROUPS]} for n in range(GROUPS)]

    def _open(self, config: Any) -> Any:
        ids = config["calendars"]
        return {"teachers": [f"t{n}" for n in ids], "students": [f"s{n}{half}" for n in ids for half in "ab"]}


MAIN: Doc = {
    "dsl": "1",
    "name": "calendar.sync",
    "inputs": {"type": "object", "required": ["term"], "properties": {"term": {"type": "string"}}},
    "nodes": {
        "prepare": {"run": "sync.prepare", "with": {"term": "{{ inputs.term }}"}},
        "create": {
            "map": "{{ nodes.prepare.output.calendars }}",
            "as": "calendar",
            "concurrency": 8,
            "do": {"run": "sync.create", "with": {"calendar": "{{ calendar }}", "index": "{{ index }}"}},
        },
        "group": {"run": "sync.group", "with": {"created": "{{ nodes.create.output }}"}},
        "participants": {
            "map": "{{ nodes.group.output }}",
            "as": "entry",
            "concurrency": 5,
            "do": {"flow": "calendar.participants", "with": {"calendars": "{{ entry.calendars }}"}},
        },
        "report": {
            "run": "sync.report",
            "with": {
                "groups": "{{ nodes.participants.output }}",
                "created": "{{ nodes.create.stats.completed }}",
            },
        },
    },
    "output": {"report": "{{ nodes.report.output }}", "term": "{{ nodes.prepare.output.term }}"},
}
CHILD: Doc = {
    "dsl": "1",
    "name": "calendar.participants",
    "inputs": {"type": "object", "required": ["calendars"], "properties": {"calendars": {"type": "array"}}},
    "nodes": {
        "open": {"run": "sync.open", "with": {"calendars": "{{ inputs.calendars }}"}},
        "teachers": {
            "map": "{{ nodes.open.output.teachers }}",
            "concurrency": 15,
            "do": {"run": "sync.invite", "with": "{{ item }}"},
        },
        "students": {
            "map": "{{ nodes.open.output.students }}",
            "concurrency": 12,
            "do": {"run": "sync.invite", "with": "{{ item }}"},
        },
        "summary": {
            "run": "sync.summary",
            "with": {
                "teachers": "{{ nodes.teachers.output }}",
                "students": "{{ nodes.students.stats.completed }}",
            },
        },
    },
    "output": "{{ nodes.summary.output }}",
}


@pytest.mark.row("X-44", "X-37")
def test_the_main_flow_and_its_children_run_from_end_to_end(flow: Flow) -> None:
    calendar = Calendar()
    flow.registry.register_executor_domain(calendar.domain)
    flow.engine.register(CHILD, activate=True)
    instance_id = flow.engine.start_now(MAIN, {"term": "2027-1"})
    flow.started.append(instance_id)
    status = flow.wait(instance_id)
    assert status.state == "completed", status.error
    report: Any = status.output
    assert report["term"] == "2027-1"
    assert report["report"]["created"] == CALENDARS
    groups = report["report"]["groups"]
    assert [len(each["teachers"]) for each in groups] == [3, 3, 3, 3, 3, 3, 2]
    assert sum(each["students"] for each in groups) == 2 * CALENDARS
    assert calendar.calls == {
        "prepare": 1,
        "create": CALENDARS,
        "group": 1,
        "open": GROUPS,
        "invite": 3 * CALENDARS,
        "summary": GROUPS,
        "report": 1,
    }
