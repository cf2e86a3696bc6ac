"""What the plan says of `limits` and `schedule`."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from strataflow.engine.bindings import bind, templates_of
from strataflow.engine.builder import Scope, Workflow, expr
from strataflow.engine.compiler import build_plan, compile_definition
from strataflow.engine.parser import parse_definition
from strataflow.engine.plan import LimitRule, Plan, Rate, ScheduleRule, given
from strataflow.engine.rows import new_task
from strataflow.engine.schema import definition_schema
from strataflow.services.formatting import format_document

RUN: dict[str, Any] = {"run": "core.noop"}
SECOND = 1_000_000
VALIDATOR = jsonschema.Draft202012Validator(definition_schema())


def limited(**limits: Any) -> dict[str, Any]:
    return {**RUN, "limits": limits}


def plan_of(nodes: dict[str, Any], **rest: Any) -> Plan:
    source = {"dsl": "1", "name": "shop.pay", "nodes": nodes, **rest}
    assert list(VALIDATOR.iter_errors(source)) == []
    _, plan, warnings = compile_definition(source, definition_id="d1", version=3)
    assert not warnings
    return plan


def limits_of(plan: Plan, address: str) -> LimitRule:
    return given(plan.nodes[address].limits, "limits")


# --- limits


def test_nothing_is_limited_where_nothing_is_said() -> None:
    plan = plan_of({"a": RUN})
    assert (plan.nodes["a"].limits, plan.limits, plan.limited) == (None, None, False)


def test_limits_of_a_node() -> None:
    plan = plan_of(
        {
            "plain": limited(concurrency=5),
            "fast": limited(rate="100/10s", burst=7),
            "slow": limited(rate="1/d"),
            "both": limited(concurrency=1, rate="50/s"),
            "pool": limited(pools={"gpu": 2, "licence": 1}),
        }
    )
    assert limits_of(plan, "plain") == LimitRule("node:shop.pay/plain", concurrency=5)
    assert limits_of(plan, "fast") == LimitRule("node:shop.pay/fast", rate=Rate(100, 10 * SECOND, 7))
    assert limits_of(plan, "slow") == LimitRule("node:shop.pay/slow", rate=Rate(1, 86_400 * SECOND))
    assert limits_of(plan, "both").rate == Rate(50, SECOND, 1)
    assert limits_of(plan, "pool").pools == (("gpu", 2), ("licence", 1))
    assert plan.limited
    assert not any(given(node.limits, "limits").is_evaluated for node in plan.nodes.values())


def test_keys_and_mutexes_are_templates_and_constants_too() -> None:
    plan = plan_of(
        {
            "a": limited(key="fixed", group="bank-api", concurrency=1),
            "b": limited(mutex="ledger"),
            "c": limited(mutex=["ledger", "account:{{ instance.id }}", "{{ instance.key }}"]),
            "d": limited(key="{{ instance.id }}", rate="1/s", mutex="{{ instance.id }}"),
        }
    )
    a, b, c, d = (limits_of(plan, name) for name in "abcd")
    assert a.name == "group:bank-api"
    assert given(a.key, "key").render({}) == "fixed"
    assert [template.source for template in b.mutex] == ["ledger"]
    assert [template.source for template in c.mutex] == [
        "ledger",
        "account:{{ instance.id }}",
        "{{ instance.key }}",
    ]
    assert c.mutex[1].render({"instance": {"id": "i7"}}) == "account:i7"
    assert (d.name, given(d.key, "key").source, len(d.mutex)) == ("node:shop.pay/d", "{{ instance.id }}", 1)
    assert all(rule.is_evaluated for rule in (a, b, c, d))


def test_a_counter_is_named_by_the_static_address_wherever_the_node_stands() -> None:
    one = limited(concurrency=1)
    plan = plan_of(
        {
            "m": {"map": [1], "do": {"nodes": {"x": one}}},
            "n": {"map": [1], "do": limited(key="{{ item }}", concurrency=1)},
            "l": {"loop": {"times": 1}, "do": {"nodes": {"y": one}}},
            "h": {**RUN, "on_error": [{"do": one}], "undo": one},
        },
        **{"finally": {"nodes": {"z": one}}},
    )
    names = {node.limits.name.removeprefix("node:shop.pay/") for node in plan.nodes.values() if node.limits}
    assert names == {"m[].x", "n[]", "l#.y", "h!error", "h!undo", "!finally.z"}


def test_limits_of_the_definition() -> None:
    plan = plan_of({"a": RUN}, limits={"concurrency": 9, "rate": "2/m", "burst": 4})
    assert plan.limits == LimitRule("definition:shop.pay", 9, Rate(2, 60 * SECOND, 4))
    assert plan.limited
    assert plan_of({"a": RUN}, limits={"concurrency": 9}).limits == LimitRule("definition:shop.pay", 9)


def test_limits_make_no_edges() -> None:
    plan = plan_of({"a": RUN, "b": limited(key="{{ instance.id }}", concurrency=1)})
    assert plan.root.roots == ("a", "b")


def test_a_claim_that_evaluates_limits_alone() -> None:
    nodes = {
        "a": {"set": {"on": True}},
        "m": {
            "map": [1],
            "as": "bank",
            "do": {
                "run": "core.noop",
                "when": "{{ nodes.a.output.on }}",
                "with": "{{ nodes.a.output }}",
                "limits": {"key": "{{ bank }}", "concurrency": 1, "mutex": ["x", "{{ index }}"]},
            },
        },
        "p": limited(concurrency=1),
        "w": {**limited(mutex="x"), "when": "{{ nodes.p.output.ok }}"},
    }
    plan = plan_of(nodes)

    def asked(path: str) -> list[Any]:
        row = new_task("i", path, "", gen=0, node=plan.nodes[path.replace("[3]", "[]")])
        row.phase = "limits"
        templates, inside = templates_of(plan, row)
        assert not inside
        return templates

    each = asked("m[3]")
    assert [template.source for template in each] == [
        "{{ nodes.a.output.on }}",
        "{{ bank }}",
        "x",
        "{{ index }}",
    ]
    bindings = bind(plan, "m[3]", each, inside=False)
    assert bindings.items == (("bank", "m"),)
    assert [name for name, _ in bindings.indexes] == ["index"]
    assert asked("p") == []
    assert [template.source for template in asked("w")] == ["{{ nodes.p.output.ok }}", "x"]


# --- schedule


def test_what_a_schedule_does_not_say() -> None:
    assert plan_of({"a": RUN}).schedule is None
    assert plan_of({"a": RUN}, schedule={"every": "90s"}).schedule == ScheduleRule(every=90 * SECOND)
    assert plan_of({"a": RUN}, schedule={"cron": "@daily"}).schedule == ScheduleRule(cron="@daily")


def test_a_schedule_with_everything() -> None:
    inputs = {"day": "{{ instance.scheduled_for | date }}", "full": True}
    rule = plan_of(
        {"a": RUN},
        inputs={"properties": {"day": {}, "full": {}}},
        schedule={
            "cron": "15 2 * * *",
            "timezone": "Europe/Paris",
            "overlap": "queue",
            "misfire": "all",
            "catch_up": 7,
            "jitter": "1m30s",
            "start_at": "1970-01-02T00:00:00Z",
            "end_at": "2027-01-01T00:00:00.5+01:00",
            "inputs": inputs,
        },
    ).schedule
    assert rule is not None
    template = given(rule.inputs, "inputs")
    assert rule == ScheduleRule(
        cron="15 2 * * *",
        timezone="Europe/Paris",
        overlap="queue",
        misfire="all",
        catch_up=7,
        jitter=90 * SECOND,
        start_at=86_400 * SECOND,
        end_at=1_798_758_000 * SECOND + SECOND // 2,
        inputs=template,
    )
    roots = {"instance": {"scheduled_for": "2026-11-20T23:30:00+00:00"}}
    assert template.render(roots) == {"day": "2026-11-20", "full": True}


@pytest.mark.parametrize("inputs", [{}, {"n": 1}])
def test_constant_inputs_are_a_template_too(inputs: dict[str, Any]) -> None:
    schema = {"properties": {"n": {"type": "integer"}}}
    rule = plan_of({"a": RUN}, inputs=schema, schedule={"every": "1h", "inputs": inputs}).schedule
    assert given(given(rule, "schedule").inputs, "inputs").render({}) == inputs


def test_a_stored_definition_gives_the_same_plan() -> None:
    source = {
        "dsl": "1",
        "name": "t",
        "nodes": {"a": limited(key="x", rate="1/s")},
        "schedule": {"every": "1h"},
        "limits": {"concurrency": 2},
    }
    plan = build_plan(parse_definition(source), definition_id="d", version=1)
    assert plan.schedule == ScheduleRule(every=3600 * SECOND)
    assert plan.limits == LimitRule("definition:t", 2)
    assert limits_of(plan, "a").name == "node:t/a"


# --- written in Python, laid out


def test_the_builder_writes_them() -> None:
    flow = Workflow("shop.pay", schedule={"every": "1h", "overlap": "skip"}, limits={"rate": "5/s"})
    banks = flow.input("banks", type="array", default=[])
    with Scope() as one:
        one.run("charge", "core.noop", limits={"key": expr("bank.id"), "concurrency": 2, "mutex": ["x"]})
    flow.map("each", banks, one, as_="bank")
    document = flow.document()
    assert document["schedule"] == {"every": "1h", "overlap": "skip"}
    assert document["limits"] == {"rate": "5/s"}
    charge = document["nodes"]["each"]["do"]["nodes"]["charge"]
    assert charge["limits"] == {"key": "{{ bank.id }}", "concurrency": 2, "mutex": ["x"]}
    assert compile_definition(document)[1].limited


def test_their_place_in_the_layout() -> None:
    source = {
        "limits": {"concurrency": 1},
        "nodes": {"a": {"retry": {"max": 1}, "limits": {"concurrency": 1}, "queue": "q", "run": "core.noop"}},
        "schedule": {"every": "1h"},
        "defaults": {},
        "start": {"key": "x"},
        "name": "t",
    }
    laid_out = format_document(source)
    assert list(laid_out) == ["name", "start", "schedule", "limits", "defaults", "nodes"]
    assert list(laid_out["nodes"]["a"]) == ["run", "queue", "limits", "retry"]
