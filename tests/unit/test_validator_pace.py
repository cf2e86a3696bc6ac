"""Rules of `limits` and `schedule`: what they may read, when a schedule fires, and whether its runs could start."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strataflow.engine.errors import DefinitionError, Problem
from strataflow.engine.parser import parse_definition
from strataflow.engine.validator import validate

RUN: dict[str, Any] = {"run": "core.noop"}
INPUTS: dict[str, Any] = {
    "type": "object",
    "required": ["day", "limit"],
    "properties": {
        "day": {"type": "string", "format": "date"},
        "limit": {"$ref": "#/$defs/limit"},
        "rows": {"type": "array", "items": {"type": "integer"}},
    },
    "$defs": {"limit": {"type": "integer", "minimum": 1, "default": 10}},
}
AT = "{{ instance.scheduled_for }}"


def limited(**limits: Any) -> dict[str, Any]:
    return {**RUN, "limits": limits}


def problems_of(nodes: dict[str, Any], **rest: Any) -> list[Problem]:
    source = {"dsl": "1", "name": "t", "inputs": INPUTS, "nodes": nodes, **rest}
    return validate(parse_definition(source))


def codes(nodes: dict[str, Any], **rest: Any) -> list[tuple[str, str]]:
    return [(problem.pointer, problem.code) for problem in problems_of(nodes, **rest)]


def scheduled(**schedule: Any) -> list[tuple[str, str]]:
    if not {"cron", "every"} & {*schedule}:
        schedule = {"every": "1h", **schedule}
    return codes({"a": RUN}, schedule={"inputs": {"day": "2027-01-31"}, **schedule})


# --- what limits read


@pytest.mark.parametrize(
    "text",
    [
        "constant",
        "{{ inputs.day }}",
        "{{ inputs.day ~ ':' ~ instance.id }}",
        "{{ instance.scheduled_for }}-{{ instance.name }}",
        "{{ 'a' if inputs.limit > 3 else 'b' }}",
    ],
)
def test_a_key_reads_what_is_known_before_the_task_runs(text: str) -> None:
    assert codes({"a": limited(key=text, concurrency=1)}) == []
    assert codes({"a": limited(mutex=["x", text])}) == []


@pytest.mark.parametrize("field", ["key", "mutex"])
@pytest.mark.parametrize(
    "expression",
    [
        *("nodes.b.output", "nodes.a.attempt", "nodes", "vars.x", "secrets.token", "task.path"),
        *("loop.index", "error.code", "trigger.path", "signal.x", "result"),
    ],
)
def test_a_key_that_reads_what_comes_later_is_refused(field: str, expression: str) -> None:
    limits = {"concurrency": 1, field: f"x:{{{{ {expression} }}}}"}
    nodes = {"b": {"set": {"x": 1}}, "l": {"loop": {"times": 1}, "do": {"nodes": {"a": limited(**limits)}}}}
    (problem,) = problems_of(nodes)
    assert (problem.pointer, problem.code) == (f"/nodes/l/do/nodes/a/limits/{field}", "unknown_root")
    assert repr(expression.partition(".")[0]) in problem.message
    assert problem.hint == "read inputs, instance, or the items of maps and loops around"


def test_names_that_are_known_nowhere_are_told_as_everywhere() -> None:
    (problem,) = problems_of({"a": limited(key="{{ input.day }}", concurrency=1)})
    assert (problem.code, problem.hint) == ("unknown_root", "did you mean 'inputs'?")
    assert codes({"a": limited(key="{{ inputs.dya }}", concurrency=1)}) == [
        ("/nodes/a/limits/key", "unknown_input")
    ]
    assert codes({"a": limited(mutex="{{ instance.ids }}")}) == [("/nodes/a/limits/mutex", "unknown_member")]


def test_names_of_items_around() -> None:
    inner = limited(mutex=["{{ bank.id }}:{{ at }}", "{{ account }}:{{ index }}:{{ total }}"])
    each = {"map": "{{ bank.accounts }}", "as": "account", "do": {"nodes": {"x": inner}}}
    around = {"loop": {"for": [1]}, "as": "bank", "index": "at", "do": {"nodes": {"each": each}}}
    assert codes({"l": around}) == []
    wrong = {"map": [1], "as": "bank", "do": limited(mutex="{{ item }}")}
    (problem,) = problems_of({"m": wrong})
    assert (problem.pointer, problem.hint) == ("/nodes/m/do/limits/mutex", "write 'bank'")


def test_limits_make_no_edge() -> None:
    nodes = {"a": RUN, "b": limited(key="{{ inputs.day }}", rate="1/s")}
    assert codes(nodes) == []
    assert codes({**nodes, "a": {**RUN, "needs": ["b"]}}) == []


@pytest.mark.parametrize("name", ["ledger", "{{ inputs.day }}"])
def test_a_mutex_that_is_named_twice(name: str) -> None:
    assert codes({"a": limited(mutex=[name, "other", name])}) == [("/nodes/a/limits/mutex/2", "bad_value")]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda node: {**RUN, "undo": node},
        lambda node: {**RUN, "on_error": [{"do": {"nodes": {"x": node}}}]},
        lambda node: {"switch": [{"when": True, "do": node}]},
        lambda node: {"parallel": {"b": {"nodes": {"x": node}}}},
    ],
)
def test_limits_are_checked_wherever_the_node_stands(wrap: Any) -> None:
    assert codes({"a": wrap(limited(mutex="{{ inputs.day }}"))}) == []
    (problem,) = problems_of({"a": wrap(limited(mutex=["x", "{{ vars.x }}"]))})
    assert problem.pointer.endswith("/limits/mutex/1")


# --- when a schedule fires


@pytest.mark.parametrize(
    "schedule",
    [
        {"cron": "15 2 * * mon-fri", "timezone": "Europe/Paris"},
        {"cron": "@weekly"},
        {"cron": "0 0 L * *", "start_at": "2027-01-01T00:00:00Z", "end_at": "2027-01-31T00:00:00Z"},
        {"every": "1s"},
        {"every": "90m", "timezone": "Asia/Kolkata"},
        {"every": "1h", "misfire": "all", "catch_up": 1},
    ],
    ids=str,
)
def test_schedules_that_fire(schedule: dict[str, Any]) -> None:
    assert scheduled(**schedule) == []


@pytest.mark.parametrize(
    ("schedule", "places"),
    [
        ({"cron": ""}, ["/cron"]),
        ({"cron": "15 2 * *"}, ["/cron"]),
        ({"cron": "15 25 * * *"}, ["/cron"]),
        ({"cron": "0 0 30 2 *"}, ["/cron"]),
        ({"cron": "@often"}, ["/cron"]),
        ({"cron": "* " * 10_000}, ["/cron"]),
        ({"every": "0s"}, ["/every"]),
        ({"every": "999ms"}, ["/every"]),
        ({"timezone": "Mars/Olympus"}, ["/timezone"]),
        ({"timezone": ""}, ["/timezone"]),
        ({"timezone": "localtime"}, ["/timezone"]),
        ({"timezone": "../../etc/passwd"}, ["/timezone"]),
        ({"timezone": "a\0b"}, ["/timezone"]),
        ({"cron": "x", "timezone": "y"}, ["/timezone", "/cron"]),
        ({"every": "1ms", "timezone": "y"}, ["/timezone", "/every"]),
        ({"start_at": "2027-01-02T00:00:00Z", "end_at": "2027-01-01T00:00:00Z"}, ["/end_at"]),
        (
            {"cron": "0 0 1 7 *", "start_at": "2027-01-01T00:00:00Z", "end_at": "2027-06-01T00:00:00Z"},
            ["/end_at"],
        ),
        ({"cron": "0 0 1 7 *", "start_at": "9999-01-01T00:00:00Z"}, [""]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_schedules_that_never_fire_or_are_none(schedule: dict[str, Any], places: list[str]) -> None:
    if not {"cron", "every"} & {*schedule}:
        schedule = {"every": "1h", **schedule}
    found = [
        p
        for p in problems_of({"a": RUN}, schedule={**schedule, "inputs": {"day": AT}})
        if p.code == "bad_schedule"
    ]
    assert sorted(problem.pointer for problem in found) == sorted(f"/schedule{place}" for place in places)
    assert all(problem.hint for problem in found)
    assert not any(problem.message.endswith(".") for problem in found)


@pytest.mark.parametrize("misfire", ["skip", "latest", None])
def test_what_is_never_caught_up_is_not_counted(misfire: str | None) -> None:
    said = {} if misfire is None else {"misfire": misfire}
    assert scheduled(catch_up=5, **said) == [("/schedule/catch_up", "bad_value")]


# --- what the runs of a schedule are given


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        ({"day": "2027-01-31"}, []),
        ({"day": "2027-01-31", "limit": 3, "rows": [1, 2]}, []),
        ({}, [("/day", "missing_input")]),
        ({"limit": 0}, [("/limit", "bad_value"), ("/day", "missing_input")]),
        ({"day": "31.1.2027"}, [("/day", "bad_format")]),
        ({"day": "2027-01-31", "rows": [1, "x"]}, [("/rows/1", "wrong_type")]),
        ({"day": "2027-01-31", "wrong": 1}, [("/wrong", "unknown_input")]),
        # Computed: the names only.
        ({"day": AT}, []),
        ({"day": "{{ instance.scheduled_for | date }}", "limit": "{{ 1 + 1 }}"}, []),
        ({"day": AT, "limit": 0}, []),
        ({"rows": [AT]}, [("/day", "missing_input")]),
        ({"day": AT, "dya": 1}, [("/dya", "unknown_input")]),
        ({"day": AT, "x~/y": 1}, [("/x~0~1y", "unknown_input")]),
        ({"day": "2027-01-31", "{{ x }}": 1}, [("/{{ x }}", "expression")]),
    ],
    ids=str,
)
def test_inputs_that_no_firing_could_start_with(inputs: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert scheduled(inputs=inputs) == [(f"/schedule/inputs{place}", code) for place, code in found]


def test_a_schedule_without_inputs_lacks_what_is_required() -> None:
    (problem,) = problems_of({"a": RUN}, schedule={"every": "1h"})
    assert (problem.pointer, problem.code) == ("/schedule/inputs/day", "missing_input")
    assert problem.message == "'day' is missing"
    assert "default" in (problem.hint or "")


@pytest.mark.parametrize(
    ("schema", "inputs", "found"),
    [
        (None, {}, []),
        (None, {"x": 1}, ["unknown_input"]),
        (None, {"x": AT}, ["unknown_input"]),
        ({"additionalProperties": True}, {"x": AT}, []),
        ({"allOf": [{"required": ["a"]}], "properties": {"a": {}}}, {}, ["missing_input"]),
        ({"allOf": [{"required": ["a"]}], "properties": {"a": {}, "b": {}}}, {"b": AT}, ["missing_input"]),
        ({"allOf": [{"required": ["a"]}], "properties": {"a": {"default": 1}, "b": {}}}, {"b": AT}, []),
        # What holds in some cases only is not asked of values that nobody knows yet.
        (
            {
                "properties": {"a": {}, "b": {}},
                "if": {"properties": {"a": {"const": "x"}}},
                "else": {"required": ["b"]},
            },
            {"a": AT},
            [],
        ),
    ],
    ids=str,
)
def test_inputs_by_the_schema(schema: Any, inputs: dict[str, Any], found: list[str]) -> None:
    schedule = {"every": "1h", "inputs": inputs}
    source = {"dsl": "1", "name": "t", "nodes": {"a": RUN}, "schedule": schedule}
    if schema is not None:
        source["inputs"] = schema
    assert [problem.code for problem in validate(parse_definition(source))] == found


def test_a_schema_that_is_refused_itself_checks_nothing() -> None:
    broken = {"type": "object", "properties": {"day": {"type": "strng"}}}
    found = codes({"a": RUN}, inputs=broken, schedule={"every": "1h", "inputs": {"x": 1}})
    assert {code for _, code in found} == {"bad_inputs_schema"}


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("inputs.day", "unknown_root"),
        ("nodes.a.output", "unknown_root"),
        ("vars.x", "unknown_root"),
        ("secrets.token", "unknown_root"),
        ("item", "unknown_root"),
        ("whatever", "unknown_root"),
        ("instance.id", "unknown_member"),
        ("instance.started_at", "unknown_member"),
        ("instance", "unknown_member"),
        ("instance[0]", "unknown_member"),
    ],
)
def test_schedules_read_the_planned_instant_and_nothing_else(expression: str, code: str) -> None:
    inputs = {"day": "{{ '2027-01-31' }}", "rows": [{"deep": f"at {{{{ {expression} }}}}"}]}
    (problem,) = problems_of({"a": RUN}, schedule={"every": "1h", "inputs": inputs})
    assert (problem.pointer, problem.code) == ("/schedule/inputs/rows/0/deep", code)
    assert problem.hint == "'schedule' reads instance.scheduled_for only"


# --- anything at all

_TEXTS = st.sampled_from(
    [
        *(
            "",
            "x",
            "*",
            "@daily",
            "15 2 * * *",
            "0 0 31 2 *",
            "* * * * *",
            "UTC",
            "Europe/Paris",
            "1h",
            "0s",
            "1ms",
        ),
        *("2027-01-31T08:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "all", "skip"),
        *("{{ instance.scheduled_for }}", "{{ inputs.day }}", "{{", "50/s", "100/10s", "gpu"),
    ]
)
_ANY = _TEXTS | st.text(max_size=8) | st.integers(-2, 20) | st.none() | st.booleans()
_NAMES = (
    "cron",
    "every",
    "timezone",
    "overlap",
    "misfire",
    "catch_up",
    "jitter",
    "start_at",
    "end_at",
    "inputs",
)
_LIMITS = ("concurrency", "rate", "burst", "key", "group", "mutex", "pools")


def some(names: tuple[str, ...]) -> Any:
    values = _ANY | st.lists(_ANY, max_size=3) | st.dictionaries(_TEXTS, _ANY, max_size=3)
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, values))


@settings(max_examples=200, deadline=None)
@given(some(_NAMES), some(_LIMITS), some(_LIMITS))
def test_any_schedule_and_limits_give_problems_or_none_and_nothing_else(
    schedule: dict[str, Any], limits: dict[str, Any], total: dict[str, Any]
) -> None:
    source = {"dsl": "1", "name": "t", "inputs": INPUTS, "nodes": {"a": {**RUN, "limits": limits}}}
    try:
        definition = parse_definition({**source, "schedule": schedule, "limits": total})
    except DefinitionError:
        return
    validate(definition)
