"""Shape of `limits` and `schedule`: each refusal with its place and code, and what is stored as it stands."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from strataflow.engine.compiler import compile_definition
from strataflow.engine.definition import RunNode
from strataflow.engine.definition_pace import Limits, Schedule, TotalLimits
from strataflow.engine.errors import DefinitionError, Problem
from strataflow.engine.fields import instant_of, rate_of
from strataflow.engine.parser import canonical_text, parse_definition, read_definition

RUN: dict[str, Any] = {"run": "c.n"}
SECOND = 1_000_000


def document(of_node: Any = None, /, **rest: Any) -> dict[str, Any]:
    """Make a definition of one node, which has the limits that are given."""
    node = RUN if of_node is None else {**RUN, "limits": of_node}
    return {"dsl": "1", "name": "test", "nodes": {"a": node}, **rest}


def problems_of(source: Any) -> list[Problem]:
    with pytest.raises(DefinitionError) as caught:
        parse_definition(source)
    return list(caught.value.problems)


def found(source: Any) -> list[tuple[str, str]]:
    return [(problem.pointer, problem.code) for problem in problems_of(source)]


# --- limits of a node

GOOD_LIMITS: list[dict[str, Any]] = [
    {"concurrency": 1},
    {"rate": "50/s"},
    {"rate": "1/d", "burst": 1_000_000_000},
    {"mutex": "ledger"},
    {"mutex": "{{ inputs.account }}"},
    {"mutex": ["ledger", "account:{{ inputs.account }}"]},
    {"pools": {"gpu": 2, "run": 1, "a.b_c-D": 1_000_000_000}},
    {"key": "constant", "concurrency": 2},
    {"key": "{{ inputs.bank }}", "group": "bank-api.v2", "concurrency": 2, "rate": "100/10s", "burst": 3},
    {"key": "k" * 512, "rate": "1/1h30m", "mutex": "m", "pools": {"gpu": 1}},
]


@pytest.mark.parametrize("limits", GOOD_LIMITS, ids=lambda limits: str(limits)[:60])
def test_limits_that_are_read_and_stored_as_they_stand(limits: dict[str, Any]) -> None:
    definition = parse_definition(document(limits))
    assert parse_definition(canonical_text(definition)) == definition
    assert json.loads(canonical_text(definition))["nodes"]["a"]["limits"] == limits


def test_what_limits_do_not_say_has_its_default() -> None:
    definition = parse_definition(document({"rate": "1/s"}, limits={"rate": "1/s"}))
    node = definition.nodes["a"]
    assert isinstance(node, RunNode)
    assert node.limits == Limits(rate="1/s")
    assert node.limits is not None
    assert (node.limits.burst, node.limits.key, node.limits.mutex, node.limits.pools) == (1, None, None, None)
    assert definition.limits == TotalLimits(rate="1/s")
    assert parse_definition(document()).limits is None


BAD_LIMITS: list[tuple[Any, str, str]] = [
    (5, "", "wrong_type"),
    (None, "", "wrong_type"),
    ([], "", "wrong_type"),
    ({}, "", "missing_field"),
    ({"key": "x"}, "", "missing_field"),
    ({"key": "x", "group": "g"}, "", "missing_field"),
    ({"concurrency": 0}, "/concurrency", "bad_value"),
    ({"concurrency": -1}, "/concurrency", "bad_value"),
    ({"concurrency": 10**10}, "/concurrency", "bad_value"),
    ({"concurrency": 1.0}, "/concurrency", "wrong_type"),
    ({"concurrency": True}, "/concurrency", "wrong_type"),
    ({"concurrency": "5"}, "/concurrency", "wrong_type"),
    ({"concurrency": None}, "/concurrency", "wrong_type"),
    ({"concurrency": "{{ inputs.n }}"}, "/concurrency", "expression_not_allowed"),
    ({"rate": 50}, "/rate", "wrong_type"),
    ({"rate": ""}, "/rate", "bad_value"),
    ({"rate": "50"}, "/rate", "bad_value"),
    ({"rate": "/s"}, "/rate", "bad_value"),
    ({"rate": "50/"}, "/rate", "bad_value"),
    ({"rate": "50/x"}, "/rate", "bad_value"),
    ({"rate": "50/S"}, "/rate", "bad_value"),
    ({"rate": "50 /s"}, "/rate", "bad_value"),
    ({"rate": "50/s "}, "/rate", "bad_value"),
    ({"rate": "50/s\n"}, "/rate", "bad_value"),
    ({"rate": "-5/s"}, "/rate", "bad_value"),
    ({"rate": "0.5/s"}, "/rate", "bad_value"),
    ({"rate": "\u0665/s"}, "/rate", "bad_value"),
    ({"rate": "5/10"}, "/rate", "bad_value"),
    ({"rate": "5/s/s"}, "/rate", "bad_value"),
    ({"rate": "0/s"}, "/rate", "bad_value"),
    ({"rate": "5/0s"}, "/rate", "bad_value"),
    ({"rate": "5/200000d"}, "/rate", "bad_value"),
    ({"rate": "1000001/s"}, "/rate", "bad_value"),
    ({"rate": "9999999999/d"}, "/rate", "bad_value"),
    ({"rate": "9" * 10_000 + "/s"}, "/rate", "bad_value"),
    ({"rate": "{{ inputs.r }}"}, "/rate", "expression_not_allowed"),
    ({"rate": "1/s", "burst": 0}, "/burst", "bad_value"),
    ({"rate": "1/s", "burst": "2"}, "/burst", "wrong_type"),
    ({"concurrency": 1, "burst": 2}, "/burst", "misplaced_field"),
    ({"concurrency": 1, "key": 5}, "/key", "wrong_type"),
    ({"concurrency": 1, "key": ""}, "/key", "bad_value"),
    ({"concurrency": 1, "key": "k" * 513}, "/key", "bad_value"),
    ({"concurrency": 1, "key": "a\0b"}, "/key", "bad_value"),
    ({"mutex": "m", "key": "x"}, "/key", "misplaced_field"),
    ({"pools": {"gpu": 1}, "group": "x"}, "/group", "misplaced_field"),
    ({"concurrency": 1, "group": "a b"}, "/group", "bad_name"),
    ({"concurrency": 1, "group": "a:b"}, "/group", "bad_name"),
    ({"concurrency": 1, "group": ""}, "/group", "bad_name"),
    ({"concurrency": 1, "group": "g" * 64}, "/group", "bad_name"),
    ({"concurrency": 1, "group": "{{ inputs.g }}"}, "/group", "expression_not_allowed"),
    ({"mutex": []}, "/mutex", "bad_value"),
    ({"mutex": ""}, "/mutex", "bad_value"),
    ({"mutex": 5}, "/mutex", "wrong_type"),
    ({"mutex": {"a": 1}}, "/mutex", "wrong_type"),
    ({"mutex": ["a", 5]}, "/mutex/1", "wrong_type"),
    ({"mutex": ["a", None]}, "/mutex/1", "wrong_type"),
    ({"mutex": ["a", ["b"]]}, "/mutex/1", "wrong_type"),
    ({"pools": {}}, "/pools", "bad_value"),
    ({"pools": ["gpu"]}, "/pools", "wrong_type"),
    ({"pools": "gpu"}, "/pools", "wrong_type"),
    ({"pools": {"gpu": 0}}, "/pools/gpu", "bad_value"),
    ({"pools": {"gpu": None}}, "/pools/gpu", "wrong_type"),
    ({"pools": {"gpu": 1.5}}, "/pools/gpu", "wrong_type"),
    ({"pools": {"gpu": "{{ inputs.n }}"}}, "/pools/gpu", "expression_not_allowed"),
    ({"pools": {"run": 0}}, "/pools/run", "bad_value"),
    ({"pools": {"g p/u": 1}}, "/pools/g p~1u", "bad_name"),
    ({"pools": {"": 1}}, "/pools/", "bad_name"),
    ({"concurency": 1}, "", "missing_field"),
]


@pytest.mark.parametrize(("limits", "place", "code"), BAD_LIMITS, ids=lambda value: str(value)[:60])
def test_limits_that_are_refused(limits: Any, place: str, code: str) -> None:
    source = document({}) if limits is None else document(limits)
    source["nodes"]["a"]["limits"] = limits
    problems = found(source)
    assert (f"/nodes/a/limits{place}", code) in problems
    if limits != {"concurency": 1}:
        assert len(problems) == 1


def test_a_field_of_limits_that_does_not_exist_is_told_with_the_one_meant() -> None:
    (problem,) = problems_of(document({"concurrency": 1, "mutexes": ["a"]}))
    assert (problem.pointer, problem.code) == ("/nodes/a/limits/mutexes", "unknown_field")
    assert problem.hint == "did you mean 'mutex'?"


@pytest.mark.parametrize(
    "verb",
    [
        {"map": [], "do": RUN},
        {"parallel": {"b": RUN}},
        {"loop": {"times": 2}, "do": RUN},
        {"switch": [{"when": True, "do": RUN}]},
        {"set": {"x": 1}},
        {"wait": {"for": "1s"}},
        {"flow": "other"},
        {"do": {"nodes": {"b": RUN}}},
    ],
    ids=str,
)
def test_limits_belong_to_run(verb: dict[str, Any]) -> None:
    source = {**document(), "nodes": {"n": {**verb, "limits": {"concurrency": 1}}}}
    (problem,) = problems_of(source)
    assert (problem.pointer, problem.code) == ("/nodes/n/limits", "misplaced_field")
    assert "'run'" in problem.message
    assert "'run' nodes" in (problem.hint or "")


# --- rates, instants


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("50/s", (50, SECOND)),
        ("1/m", (1, 60 * SECOND)),
        ("1000/h", (1000, 3600 * SECOND)),
        ("1/d", (1, 86_400 * SECOND)),
        ("100/10s", (100, 10 * SECOND)),
        ("3/250ms", (3, SECOND // 4)),
        ("7/1h30m", (7, 5400 * SECOND)),
        ("2/PT5M", (2, 300 * SECOND)),
        ("1000000/s", (1_000_000, SECOND)),
        ("007/s", (7, SECOND)),
    ],
)
def test_what_a_rate_means(text: str, rate: tuple[int, int]) -> None:
    assert rate_of(text) == rate


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00.000001+01:00", 1),
        ("1969-12-31T23:59:59Z", -SECOND),
        ("2027-01-01T00:00:00+01:00", 1_798_758_000 * SECOND),
        ("0001-01-01T00:00:00+14:00", -62_135_647_200 * SECOND),
        ("9999-12-31T23:59:59.999999-14:00", 253_402_351_199_999_999),
    ],
)
def test_what_an_instant_means(text: str, microseconds: int) -> None:
    assert instant_of(text) == microseconds
    assert parse_definition(document(schedule={"every": "1h", "start_at": text})).schedule is not None


# --- limits of the definition


@pytest.mark.parametrize(
    ("limits", "place", "code"),
    [
        (5, "", "wrong_type"),
        (None, "", "wrong_type"),
        ({}, "", "missing_field"),
        ({"burst": 2}, "", "missing_field"),
        ({"concurrency": 1, "burst": 2}, "/burst", "misplaced_field"),
        ({"concurrency": 1, "key": "x"}, "/key", "misplaced_field"),
        ({"concurrency": 1, "group": "x"}, "/group", "misplaced_field"),
        ({"mutex": "x"}, "/mutex", "misplaced_field"),
        ({"rate": "1/s", "pools": {"gpu": 1}}, "/pools", "misplaced_field"),
        ({"rate": "1/s", "per": "s"}, "/per", "unknown_field"),
        ({"rate": "often"}, "/rate", "bad_value"),
        ({"concurrency": "{{ inputs.n }}"}, "/concurrency", "expression_not_allowed"),
    ],
    ids=str,
)
def test_limits_of_the_definition_that_are_refused(limits: Any, place: str, code: str) -> None:
    problems = found(document(limits=limits))
    assert (f"/limits{place}", code) in problems
    assert len(problems) == (2 if limits == {"burst": 2} else 1)


# --- schedule

GOOD_SCHEDULES: list[dict[str, Any]] = [
    {"cron": "15 2 * * *"},
    {"cron": "@daily", "timezone": "Europe/Paris", "overlap": "skip", "misfire": "skip"},
    {"every": "10m", "overlap": "queue", "misfire": "all", "catch_up": 10_000},
    {"every": "PT1H", "jitter": "30s", "inputs": {}},
    {
        "every": "1d",
        "overlap": "cancel",
        "start_at": "2027-01-31T08:00:00Z",
        "end_at": "2027-02-28T08:00:00+01:00",
        "inputs": {"day": "{{ instance.scheduled_for | date }}", "deep": [{"x": None}]},
    },
]


@pytest.mark.parametrize("schedule", GOOD_SCHEDULES, ids=str)
def test_schedules_that_are_read_and_stored_as_they_stand(schedule: dict[str, Any]) -> None:
    definition = parse_definition(document(schedule=schedule))
    assert parse_definition(canonical_text(definition)) == definition
    assert json.loads(canonical_text(definition))["schedule"] == schedule


def test_what_a_schedule_does_not_say_has_its_default() -> None:
    schedule = parse_definition(document(schedule={"every": "1h"})).schedule
    assert schedule == Schedule(every="1h")
    assert schedule is not None
    said = (schedule.timezone, schedule.overlap, schedule.misfire, schedule.catch_up, schedule.jitter)
    assert said == ("UTC", "allow", "latest", 100, "0s")
    assert (schedule.cron, schedule.start_at, schedule.end_at, schedule.inputs) == (None, None, None, None)


BAD_SCHEDULES: list[tuple[Any, str, str]] = [
    ("15 2 * * *", "", "wrong_type"),
    (None, "", "wrong_type"),
    ([], "", "wrong_type"),
    ({}, "", "missing_field"),
    ({"timezone": "UTC"}, "", "missing_field"),
    ({"cron": "@daily", "every": "1h"}, "", "bad_value"),
    ({"cron": None}, "/cron", "wrong_type"),
    ({"cron": 5}, "/cron", "wrong_type"),
    ({"cron": ["@daily"]}, "/cron", "wrong_type"),
    ({"cron": "{{ inputs.c }}"}, "/cron", "expression_not_allowed"),
    ({"every": 60}, "/every", "bad_duration"),
    ({"every": "hourly"}, "/every", "bad_duration"),
    ({"every": "P1M"}, "/every", "bad_duration"),
    ({"every": "{{ inputs.e }}"}, "/every", "expression_not_allowed"),
    ({"every": "1h", "timezone": 1}, "/timezone", "wrong_type"),
    ({"every": "1h", "timezone": "{{ inputs.tz }}"}, "/timezone", "expression_not_allowed"),
    ({"every": "1h", "overlap": "replace"}, "/overlap", "bad_value"),
    ({"every": "1h", "misfire": "none"}, "/misfire", "bad_value"),
    ({"every": "1h", "misfire": "all", "catch_up": 0}, "/catch_up", "bad_value"),
    ({"every": "1h", "misfire": "all", "catch_up": 10_001}, "/catch_up", "bad_value"),
    ({"every": "1h", "misfire": "all", "catch_up": "5"}, "/catch_up", "wrong_type"),
    ({"every": "1h", "misfire": "all", "catch_up": True}, "/catch_up", "wrong_type"),
    ({"every": "1h", "jitter": 5}, "/jitter", "bad_duration"),
    ({"every": "1h", "start_at": "2027-01-31"}, "/start_at", "bad_value"),
    ({"every": "1h", "start_at": "2027-01-31T08:00:00"}, "/start_at", "bad_value"),
    ({"every": "1h", "start_at": 1_800_000_000}, "/start_at", "wrong_type"),
    ({"every": "1h", "end_at": "{{ inputs.at }}"}, "/end_at", "expression_not_allowed"),
    ({"every": "1h", "inputs": []}, "/inputs", "wrong_type"),
    ({"every": "1h", "inputs": "{{ instance }}"}, "/inputs", "wrong_type"),
    ({"every": "1h", "inputs": None}, "/inputs", "wrong_type"),
    ({"every": "1h", "at": "2027-01-31T08:00:00Z"}, "/at", "unknown_field"),
]


@pytest.mark.parametrize(("schedule", "place", "code"), BAD_SCHEDULES, ids=str)
def test_schedules_that_are_refused(schedule: Any, place: str, code: str) -> None:
    assert found(document(schedule=schedule)) == [(f"/schedule{place}", code)]


def test_a_hint_for_a_cron_beside_an_interval() -> None:
    (problem,) = problems_of(document(schedule={"cron": "@daily", "every": "1h"}))
    assert "'cron' and 'every'" in problem.message
    assert problem.hint == "keep one"


# --- together


@pytest.mark.row("X-02")
def test_all_problems_of_limits_and_schedule_come_at_once_in_document_order() -> None:
    source = {
        "dsl": "1",
        "name": "t",
        "schedule": {
            "cron": "15 25 * * *",
            "timezone": "Mars/Olympus",
            "jitter": 5,
            "inputs": {"x": "{{ 1 + }}"},
        },
        "limits": {"mutex": "x", "rate": "fast"},
        "nodes": {
            "a": {
                "run": "c.n",
                "limits": {
                    "mutex": [5, "a:{{ nodes.b.output }}", "b:{{ vars.x }}", "c", "c"],
                    "key": "{{ task.path }}",
                    "pools": {"gpu": 0},
                    "burst": 2,
                },
            },
            "b": {"run": "c.n", "limits": {"concurrency": 1, "key": "{{ inputs.x ~ }}"}},
        },
    }
    with pytest.raises(DefinitionError) as caught:
        compile_definition(source)
    assert [(problem.pointer, problem.code) for problem in caught.value.problems] == [
        ("/schedule/cron", "bad_schedule"),
        ("/schedule/timezone", "bad_schedule"),
        ("/schedule/jitter", "bad_duration"),
        ("/schedule/inputs/x", "expression"),
        ("/schedule/inputs/x", "unknown_input"),
        ("/limits/mutex", "misplaced_field"),
        ("/limits/rate", "bad_value"),
        ("/nodes/a/limits/mutex/0", "wrong_type"),
        ("/nodes/a/limits/mutex/1", "unknown_root"),
        ("/nodes/a/limits/mutex/2", "unknown_root"),
        ("/nodes/a/limits/mutex/4", "bad_value"),
        ("/nodes/a/limits/key", "misplaced_field"),
        ("/nodes/a/limits/pools/gpu", "bad_value"),
        ("/nodes/a/limits/burst", "misplaced_field"),
        ("/nodes/b/limits/key", "expression"),
    ]
    assert all(problem.message for problem in caught.value.problems)


@pytest.mark.parametrize(
    "source",
    [
        document({"mutex": [[[[]]]], "pools": {"nodes": {"run": {}}, "do": [], "map": "x"}, "key": {}}),
        document({"pools": {f"p{number}": 0 for number in range(300)}}),
        document(limits={"rate": {"x": []}, "concurrency": []}),
        document(
            schedule={"cron": {}, "every": [], "inputs": 5, "timezone": {}, "start_at": [], "catch_up": {}}
        ),
    ],
    ids=range(4),
)
def test_a_definition_is_left_whatever_stands_there(source: dict[str, Any]) -> None:
    reading = read_definition(source)
    assert reading.definition is not None
    assert reading.problems


def test_compiling_a_definition_without_a_schedule_imports_no_calendar() -> None:
    code = (
        "import sys\n"
        "from strataflow.engine.compiler import compile_definition\n"
        f"compile_definition({document({'concurrency': 1})!r})\n"
        "print([name for name in ('apscheduler', 'jsonschema', 'strataflow.engine.cron') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
