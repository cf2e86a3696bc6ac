"""The plan of every verb, body, handler and group, and whole definitions that use them together."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from strataflow.engine.compiler import compile_definition
from strataflow.engine.plan import (
    Edge,
    ErrorEntry,
    FlowRule,
    JoinRule,
    NeedGroup,
    Plan,
    PlanNode,
    RetryPolicy,
    ScopePlan,
    address_of,
    given,
)
from strataflow.engine.rows import parent_path
from strataflow.engine.schema import definition_schema

RUN: dict[str, Any] = {"run": "core.noop"}
SECOND = 1_000_000
VALIDATOR = jsonschema.Draft202012Validator(definition_schema())


def run(value: Any = None, **fields: Any) -> dict[str, Any]:
    return {**RUN, **({} if value is None else {"with": value}), **fields}


def plan_of(nodes: dict[str, Any], **rest: Any) -> Plan:
    source = {"dsl": "1", "name": "test", "nodes": nodes, **rest}
    assert list(VALIDATOR.iter_errors(source)) == []
    return compile_definition(source, definition_id="d1", version=3)[1]


def shown(template: Any) -> Any:
    return None if template is None else template.source


# --- bodies, addresses, owners (rule 28)

BOTH = {"nodes": {"one": RUN, "two": run(needs=["one"])}, "output": 1}
BODIES: dict[str, Any] = {
    "m": {"map": [1], "do": BOTH},
    "m1": {"map": [1], "do": RUN},
    "l": {"loop": {"times": 2}, "do": BOTH},
    "l1": {"loop": {"times": 2}, "do": {"set": {"v": 1}}},
    "p": {"parallel": {"left": BOTH, "right": RUN}},
    "s": {"switch": [{"when": True, "do": BOTH}, {"when": False, "do": RUN}], "else": BOTH},
    "g": {"do": BOTH},
    "h": run(
        on_error=[
            {"on": ["a"], "output": 1},
            {"on": ["b"], "do": BOTH},
            {"on": ["c"], "continue": True},
            {"on": ["d"], "do": RUN},
            {"do": BOTH},
        ],
        undo=BOTH,
    ),
    "u": run(undo=RUN),
    "w": {"wait": {"signal": "go", "timeout": "1s", "on_timeout": {"do": BOTH}}},
    "w1": {"wait": {"signal": "go", "timeout": "1s", "on_timeout": {"do": RUN}}},
}
LAST: dict[str, Any] = {"on_error": [{"on": ["a"], "do": RUN}, {"do": BOTH}], "finally": BOTH}
SCOPES = {
    "": "definition",
    "m[]": "item",
    "l#": "turn",
    "p.left": "branch",
    "s.0": "case",
    "s.else": "case",
    "g": "group",
    "h!error": "handler",
    "h!error3": "handler",
    "h!undo": "undo",
    "w!timeout": "handler",
    "!error2": "handler",
    "!finally": "finally",
}
SINGLE = {
    "m1[]": "m1",
    "l1#": "l1",
    "p.right": "p",
    "s.1": "s",
    "h!error2": "h",
    "u!undo": "u",
    "w1!timeout": "w1",
    "!error": "",
}


def test_every_body_has_its_address_and_its_owner() -> None:
    plan = plan_of(BODIES, **LAST)
    assert {address: scope.kind for address, scope in plan.scopes.items()} == SCOPES
    inner = {f"{scope}.{name}" for scope in SCOPES if scope for name in ("one", "two")}
    assert set(plan.nodes) == {*BODIES, *inner, *SINGLE}
    for address, owner in SINGLE.items():
        node = plan.nodes[address]
        assert (node.name, node.address, node.scope, node.deps) == ("", address, owner, ())
    for address in inner:
        assert plan.nodes[address].scope == address.rpartition(".")[0]


def test_addresses_are_those_of_the_paths_that_tasks_have() -> None:
    plan = plan_of(BODIES, **LAST)
    paths = {
        "m[3].one": "m[3]",
        "l#7.one": "l#7",
        "p.left.one": "p.left",
        "s.else.two": "s.else",
        "h!error3.one": "h!error3",
        "h!undo.two": "h!undo",
        "!finally.one": "!finally",
        "l#7": "l",
        "p.right": "p",
        "!error": "",
        "!finally": "",
        "w!timeout": "w",
    }
    for path, parent in paths.items():
        assert address_of(path) in {*plan.nodes, *plan.scopes}
        assert parent_path(path) == parent
        node = plan.nodes.get(address_of(path))
        assert node is None or node.scope == address_of(parent)


def test_a_container_knows_its_bodies_in_document_order() -> None:
    plan = plan_of(BODIES, **LAST)
    nodes = plan.nodes
    assert nodes["m"].body is plan.scopes["m[]"]
    assert nodes["l"].body is plan.scopes["l#"]
    assert nodes["l1"].body is nodes["l1#"]
    assert nodes["g"].body is plan.scopes["g"]
    assert list(nodes["p"].bodies.items()) == [("left", plan.scopes["p.left"]), ("right", nodes["p.right"])]
    assert list(nodes["s"].bodies) == ["0", "1", "else"]
    assert [shown(template) for template in nodes["s"].cases] == [True, False]
    assert nodes["h"].undo is plan.scopes["h!undo"]
    assert plan.finally_ is plan.scopes["!finally"]
    assert isinstance(nodes["p"].bodies["left"], ScopePlan)
    assert nodes["p"].bodies["left"].leaves == ("two",)
    assert shown(nodes["p"].bodies["left"].output) == 1


def entries(found: tuple[ErrorEntry, ...]) -> list[tuple[Any, ...]]:
    return [(e.on, e.undo, e.action, shown(e.template), e.body and e.body.address, e.suffix) for e in found]


def test_entries_of_on_error() -> None:
    plan = plan_of(BODIES, **LAST)
    assert entries(plan.nodes["h"].on_error) == [
        (("a",), False, "output", 1, None, ""),
        (("b",), False, "do", None, "h!error", "!error"),
        (("c",), False, "continue", None, None, ""),
        (("d",), False, "do", None, "h!error2", "!error2"),
        ((), False, "do", None, "h!error3", "!error3"),
    ]
    assert entries(plan.on_error) == [
        (("a",), False, "do", None, "!error", "!error"),
        ((), False, "do", None, "!error2", "!error2"),
    ]
    wait = given(plan.nodes["w"].wait, "wait")
    assert entries((given(wait.on_timeout, "on_timeout"),)) == [
        ((), False, "do", None, "w!timeout", "!timeout")
    ]


def test_entries_that_only_undo_or_fail() -> None:
    fail = {"code": "a.B", "message": "{{ error.message }}"}
    group = {
        "do": {"nodes": {"x": RUN}},
        "on_error": [{"on": ["a"], "undo": True}, {"undo": True, "fail": fail}],
    }
    plan = plan_of({"g": group}, on_error=[{"undo": True, "output": None}])
    assert entries(plan.nodes["g"].on_error) == [
        (("a",), True, "none", None, None, ""),
        ((), True, "fail", fail, None, ""),
    ]
    entry = plan.on_error[0]
    assert (entry.action, entry.undo, entry.template is not None) == ("output", True, True)


def test_who_has_something_to_undo() -> None:
    undone = run(undo=RUN)
    plan = plan_of(
        {
            "plain": RUN,
            "own": undone,
            "m": {"map": [1], "do": undone},
            "g": {"do": {"nodes": {"deep": {"do": {"nodes": {"x": undone}}}, "y": RUN}}},
            "p": {"parallel": {"a": RUN, "b": {"nodes": {"z": undone}}}},
            "s": {"switch": [{"when": True, "do": RUN}], "else": undone},
            "l": {"loop": {"times": 1}, "do": {"nodes": {"k": RUN}}},
            "h": run(
                on_error=[
                    {"do": {"nodes": {"c": {"do": {"nodes": {"i": undone}}, "on_error": [{"undo": True}]}}}}
                ]
            ),
        }
    )
    assert {name for name, node in plan.root.nodes.items() if node.has_undo} == {"own", "m", "g", "p", "s"}
    assert plan.nodes["g.deep"].has_undo
    assert not plan.nodes["g.y"].has_undo
    assert plan.nodes["h!error.c"].has_undo
    assert not plan.nodes["own!undo"].has_undo


# --- rules of single verbs


@pytest.mark.parametrize(
    ("loop", "values"),
    [
        ({"while": "{{ loop.index < 3 }}"}, ("{{ loop.index < 3 }}", None, None, None, 1000, 0, 100)),
        ({"until": True, "max": 5}, (None, True, None, None, 5, 0, 100)),
        ({"until": True, "every": "30s", "keep_last": 7}, (None, True, None, None, 1000, 30 * SECOND, 7)),
        ({"times": 3}, (None, None, 3, None, None, 0, None)),
        ({"times": 3, "max": 3, "keep_last": 2}, (None, None, 3, None, 3, 0, 2)),
        ({"for": [1, 2], "every": "1m"}, (None, None, None, [1, 2], None, 60 * SECOND, None)),
    ],
)
def test_loops(loop: dict[str, Any], values: tuple[Any, ...]) -> None:
    rule = given(plan_of({"l": {"loop": loop, "do": RUN}}).nodes["l"].loop, "loop")
    templates = (rule.while_, rule.until, rule.times, rule.for_)
    assert (*map(shown, templates), rule.max, rule.every, rule.keep_last) == values


def test_names_of_a_loop_over_a_list() -> None:
    plan = plan_of(
        {
            "l": {"loop": {"for": [1]}, "as": "row", "index": "at", "do": run("{{ row ~ at }}")},
            "k": {"loop": {"for": [1]}, "do": RUN},
        }
    )
    assert [(plan.nodes[n].as_, plan.nodes[n].index_as) for n in "lk"] == [("row", "at"), ("item", None)]


WAIT_SIGNAL = {"signal": "go", "match": "{{ signal.ok }}", "timeout": "4h"}


@pytest.mark.parametrize(
    ("wait", "values"),
    [
        ({"for": "30s"}, ("for", "30s", None, None, None, None)),
        (
            {"until": "{{ instance.started_at }}"},
            ("until", "{{ instance.started_at }}", None, None, None, None),
        ),
        (WAIT_SIGNAL, ("signal", None, "go", "{{ signal.ok }}", None, 4 * 3600 * SECOND)),
        (
            {"condition": "{{ vars.v }}", "every": "2s", "timeout": "3s"},
            ("condition", "{{ vars.v }}", None, None, 2 * SECOND, 3 * SECOND),
        ),
    ],
)
def test_waits(wait: dict[str, Any], values: tuple[Any, ...]) -> None:
    plan = plan_of({"w": {"wait": wait}, "v": {"set": {"v": True}}})
    rule = given(plan.nodes["w"].wait, "wait")
    found = (rule.kind, shown(rule.template), rule.signal, shown(rule.match), rule.every, rule.timeout)
    assert found == values
    assert rule.on_timeout is None
    assert plan.watches_vars is ("condition" in wait)


@pytest.mark.parametrize(
    ("flow", "rule"),
    [
        ({"flow": "a.b"}, FlowRule("a.b")),
        ({"flow": "a.b@12"}, FlowRule("a.b", 12)),
        ({"flow": "a", "detach": True}, FlowRule("a", detach=True)),
    ],
)
def test_flows(flow: dict[str, Any], rule: FlowRule) -> None:
    assert plan_of({"f": flow}).nodes["f"].flow == rule


def test_defaults_reach_runs_and_the_retry_of_flows() -> None:
    defaults = {"queue": "q", "timeout": "1m", "heartbeat": "5s", "retry": {"max": 3, "delay": "2s"}}
    nodes = {
        "r": RUN,
        "own": run(heartbeat="9s"),
        "f": {"flow": "other"},
        "f2": {"flow": "other", "with": {"a": "{{ instance.id }}"}, "retry": {"max": 1}},
        "l": {"loop": {"times": 1}, "do": RUN},
    }
    plan = plan_of(nodes, defaults=defaults)
    own, flow = plan.nodes["own"], plan.nodes["f"]
    assert (plan.nodes["r"].heartbeat, own.heartbeat) == (5 * SECOND, 9 * SECOND)
    assert plan.nodes["l#"].heartbeat == 5 * SECOND
    assert flow.retry == RetryPolicy(max=3, delay=2 * SECOND)
    assert plan.nodes["f2"].retry == RetryPolicy(max=1, delay=2 * SECOND)
    assert (flow.queue, flow.timeout, flow.heartbeat) == (None, None, None)
    assert plan.nodes["l"].retry == RetryPolicy()
    assert shown(plan.nodes["f2"].with_) == {"a": "{{ instance.id }}"}


def test_maps_and_parallels() -> None:
    plan = plan_of(
        {
            "m": {"map": [1], "do": RUN, "key": "{{ item.id }}", "collect": "stats", "join": "first"},
            "k": {"map": [1], "do": RUN},
            "p": {"parallel": {"a": RUN, "b": RUN}, "concurrency": 1, "join": {"need": 1, "rest": "keep"}},
            "q": {"parallel": {"a": RUN}, "concurrency": "{{ 1 }}", "deadline": "1h"},
        }
    )
    m, k, p, q = plan.root.nodes.values()
    assert (shown(m.key), m.collect, m.join) == ("{{ item.id }}", "stats", JoinRule(need="first"))
    assert (k.key, k.collect) == (None, "list")
    assert (p.concurrency, p.join) == (1, JoinRule(need=1, rest="keep"))
    assert (shown(q.concurrency), q.deadline, p.deadline) == ("{{ 1 }}", 3600 * SECOND, None)


def test_what_the_definition_says_about_its_runs() -> None:
    plan = plan_of(
        {"a": RUN},
        inputs={"properties": {"id": {}}},
        start={"key": "{{ inputs.id }}", "mutex": "one", "on_duplicate": "queue"},
        labels={"team": "x"},
        on_failure="finish",
        deadline="1h",
    )
    start = given(plan.start, "start")
    assert (shown(start.key), shown(start.mutex), start.on_duplicate) == ("{{ inputs.id }}", "one", "queue")
    assert (dict(plan.labels), plan.on_failure, plan.deadline) == ({"team": "x"}, "finish", 3600 * SECOND)
    plain = plan_of({"a": RUN})
    assert (plain.start, dict(plain.labels), plain.on_failure, plain.deadline) == (None, {}, "stop", None)
    assert (plain.on_error, plain.finally_) == ((), None)


# --- needs in groups

EITHER = frozenset({"completed", "failed"})


def test_groups_of_needs() -> None:
    a_or_b = {"any": ["b", {"node": "a", "on": ["failed", "completed"]}]}
    plan = plan_of(
        {
            "a": RUN,
            "b": RUN,
            "c": RUN,
            "n": run(needs=[a_or_b, {"all": ["c"]}, {"none": ["b", "c_"]}]),
            "c_": RUN,
            "only": run(needs={"any": ["a"]}),
            "both": run(needs={"all": ["a", {"node": "b", "on": ["skipped"]}]}),
        }
    )
    n = plan.nodes["n"]
    assert n.deps == (Edge("c"),)
    assert n.groups == (
        NeedGroup("any", (Edge("a", EITHER), Edge("b"))),
        NeedGroup("none", (Edge("b"), Edge("c_"))),
    )
    assert plan.nodes["both"].deps == (Edge("a"), Edge("b", frozenset({"skipped"})))
    assert plan.nodes["both"].groups == ()
    successors = {name: node.successors for name, node in plan.root.nodes.items()}
    assert successors == {
        "a": ("n", "only", "both"),
        "b": ("n", "both"),
        "c": ("n",),
        "c_": ("n",),
        "n": (),
        "only": (),
        "both": (),
    }
    assert plan.root.roots == ("a", "b", "c", "c_")
    assert plan.root.leaves == ("n", "only", "both")
    order = list(plan.root.nodes)
    assert all(order.index(name) < order.index("n") for name in ("a", "b", "c", "c_"))


@pytest.mark.parametrize(
    ("needs", "handled"),
    [
        (["a"], False),
        ([{"node": "a", "on": ["failed"]}], True),
        ({"any": ["a"]}, False),
        ({"any": [{"node": "a", "on": ["failed", "completed"]}]}, True),
        ({"none": ["a"]}, True),
        ({"none": [{"node": "a", "on": ["skipped"]}]}, True),
        ([{"all": [{"node": "a", "on": ["failed"]}]}], True),
    ],
)
def test_who_waits_for_a_failure_handles_it(needs: Any, *, handled: bool) -> None:
    plan = plan_of({"a": RUN, "n": run(needs=needs)})
    assert plan.nodes["a"].failure_handled is handled


# --- edges and owners in the new bodies


def deps(plan: Plan, address: str) -> set[str]:
    return {edge.node for edge in plan.nodes[address].deps}


def test_references_in_new_forward_fields_and_bodies_make_the_container_wait() -> None:
    read = run("{{ nodes.a.output }}")
    cond = "{{ nodes.a.output == 1 }}"
    nodes: dict[str, Any] = {
        "while": {"loop": {"while": cond}, "do": RUN},
        "until": {"loop": {"until": cond}, "do": RUN},
        "times": {"loop": {"times": "{{ nodes.a.output }}"}, "do": RUN},
        "for": {"loop": {"for": "{{ nodes.a.output }}"}, "do": RUN},
        "turn": {"loop": {"times": 1}, "do": {"nodes": {"x": read}}},
        "turn_output": {"loop": {"times": 1}, "do": {"nodes": {"x": RUN}, "output": "{{ nodes.a.output }}"}},
        "branch": {"parallel": {"b": read}},
        "wide": {"parallel": {"b": RUN}, "concurrency": "{{ nodes.a.output }}"},
        "case": {"switch": [{"when": True, "do": read}]},
        "cond": {"switch": [{"when": cond, "do": RUN}]},
        "other": {"switch": [{"when": True, "do": RUN}], "else": read},
        "flow": {"flow": "x", "with": {"v": "{{ nodes.a.output }}"}},
        "until_": {"wait": {"until": "{{ nodes.a.output }}"}},
        "match": {"wait": {"signal": "x", "match": cond}},
        "key": {"map": [1], "key": "{{ item ~ nodes.a.output }}", "do": RUN},
    }
    plan = plan_of({"a": RUN, **nodes})
    assert {name: deps(plan, name) for name in nodes} == {name: {"a"} for name in nodes}
    assert deps(plan, "turn#.x") == deps(plan, "branch.b") == set()


def test_what_comes_after_an_end_makes_no_edge() -> None:
    read = run("{{ nodes.a.output }} {{ vars.v }}")
    late = {"on_error": [{"on": ["a"], "output": "{{ nodes.a.output }}"}, {"do": read}], "undo": read}
    nodes = {"a": RUN, "v": {"set": {"v": 1}}, "n": run(needs=["a", "v"], **late)}
    plan = plan_of(nodes, **{"finally": read, "on_error": [{"do": read}]})
    assert deps(plan, "n") == {"a", "v"}
    assert plan.nodes["n!error"].deps == plan.nodes["n!undo"].deps == ()
    assert plan.root.leaves == ("n",)


def test_a_condition_does_not_wait_for_the_end_of_a_writer() -> None:
    nodes = {
        "gate": {"wait": {"condition": "{{ vars.v > 1 and nodes.a.output }}"}},
        "w": {"set": {"v": 2}},
        "a": RUN,
    }
    assert deps(plan_of(nodes), "gate") == {"a"}


def test_inside_a_handler_nodes_wait_for_each_other() -> None:
    body = {"nodes": {"x": RUN, "y": run("{{ nodes.x.output }} {{ vars.v }}"), "w": {"set": {"v": 1}}}}
    plan = plan_of({"n": run(on_error=[{"do": body}])})
    assert deps(plan, "n!error.y") == {"x", "w"}


def test_owners_of_variables_in_every_body() -> None:
    def body(name: str) -> dict[str, Any]:
        return {
            "nodes": {f"s_{name}": {"set": {name: 1}}, f"g_{name}": {"do": {"nodes": {f"x_{name}": RUN}}}}
        }

    plan = plan_of(
        {
            "top": {"set": {"v": 1}},
            "m": {"map": [1], "do": body("each")},
            "l": {"loop": {"times": 1}, "do": body("turn")},
            "p": {"parallel": {"b": body("branch")}},
            "s": {"switch": [{"when": True, "do": body("case")}]},
            "h": run(needs=["s"], on_error=[{"do": body("handler")}], undo=body("undo")),
            "n": {"parallel": {"b": {"loop": {"times": 1}, "do": {"set": {"deep": 1}}}}},
        },
        **{"finally": body("last"), "on_error": [{"do": body("end")}]},
    )
    owners = {
        ("m[].g_each", "each"): "m[]",
        ("l#.g_turn", "turn"): "l",
        ("l", "turn"): "l",
        ("l#", "turn"): "l",
        ("p.b", "branch"): "p.b",
        ("s.0.g_case", "case"): "",
        ("", "case"): "",
        ("h!error", "handler"): "",
        ("h!undo.g_undo", "undo"): "h!undo",
        ("!finally", "last"): "!finally",
        ("!error", "end"): "",
        **{
            (scope, "v"): ""
            for scope in ("m[]", "l#", "l", "p.b", "h!undo.g_undo", "!finally", "!error", "n.b#")
        },
        ("n.b#", "deep"): "n.b",
    }
    assert {key: plan.vars[key] for key in owners} == owners
    hidden = [
        ("", "each"),
        ("", "turn"),
        ("p", "branch"),
        ("", "undo"),
        ("h", "undo"),
        ("", "last"),
        ("n", "deep"),
    ]
    assert [key for key in hidden if key in plan.vars] == []


# --- whole definitions

SETTLEMENT: dict[str, Any] = {
    "dsl": "1",
    "name": "billing.nightly_settlement",
    "description": "Fetch the day's orders, settle each one, approve outliers, publish a report.",
    "inputs": {
        "type": "object",
        "required": ["day"],
        "properties": {
            "day": {"type": "string", "format": "date"},
            "currency": {"type": "string", "default": "EUR"},
        },
    },
    "start": {"key": "{{ inputs.day ~ ':' ~ inputs.currency }}", "on_duplicate": "return_existing"},
    "deadline": "6h",
    "defaults": {
        "queue": "billing",
        "timeout": "2m",
        "retry": {"max": 5, "delay": "2s", "factor": 2, "max_delay": "1m", "jitter": 0.2},
    },
    "nodes": {
        "orders": {"run": "billing.list_orders", "with": {"day": "{{ inputs.day }}"}},
        "settle": {
            "map": "{{ nodes.orders.output.rows }}",
            "as": "order",
            "concurrency": 200,
            "join": {"need": "all", "tolerate": "1%", "rest": "cancel"},
            "do": {
                "nodes": {
                    "risk": {"run": "risk.score", "with": {"order": "{{ order }}"}},
                    "charge": {
                        "when": "{{ nodes.risk.output.score < 0.8 }}",
                        "run": "bank.charge",
                        "with": {
                            "order_id": "{{ order.id }}",
                            "amount": "{{ order.amount }}",
                            "token": "{{ secrets.bank_token }}",
                        },
                        "heartbeat": "30s",
                        "retry": {
                            "max": 8,
                            "on": ["bank.Unavailable", "timeout"],
                            "never": ["bank.Declined"],
                        },
                        "on_error": [
                            {
                                "on": ["bank.Declined"],
                                "output": {"status": "declined", "reason": "{{ error.message }}"},
                            }
                        ],
                        "undo": {"run": "bank.refund", "with": {"charge_id": "{{ nodes.charge.output.id }}"}},
                    },
                },
                "output": {
                    "id": "{{ order.id }}",
                    "status": "{{ 'held' if nodes.charge.state == 'skipped' "
                    "else nodes.charge.output.status | default('settled') }}",
                },
            },
        },
        "held": {
            "set": {"held": "{{ nodes.settle.output | select | selectattr('status', '==', 'held') | list }}"}
        },
        "review": {
            "when": "{{ vars.held | length > 0 }}",
            "wait": {"signal": "review", "timeout": "4h", "on_timeout": {"output": {"approve": False}}},
        },
        "release": {
            "switch": [
                {
                    "when": "{{ nodes.review.output.approve | default(false) }}",
                    "do": {"flow": "billing.release@2", "with": {"orders": "{{ vars.held }}"}},
                }
            ],
            "else": {"run": "core.log", "with": {"message": "held orders stay held"}},
            "needs": [{"node": "review", "on": ["completed", "skipped"]}],
        },
        "ledger": {
            "needs": ["release"],
            "loop": {"until": "{{ loop.output.state == 'balanced' }}", "max": 20, "every": "30s"},
            "do": {
                "run": "ledger.reconcile",
                "with": {"day": "{{ inputs.day }}", "turn": "{{ loop.index }}"},
            },
        },
        "report": {
            "parallel": {
                "pdf": {"run": "reports.render"},
                "mail": {"run": "mail.send", "with": {"to": "cfo@example.com"}},
            },
            "join": "all",
            "needs": ["ledger"],
        },
    },
    "on_error": [
        {
            "undo": True,
            "do": {"run": "notify.webhook", "with": {"text": "{{ error.path }}: {{ error.message }}"}},
        }
    ],
    "finally": {"run": "core.log", "with": {"message": "settlement of {{ inputs.day }} ended"}},
    "output": {"orders": "{{ nodes.settle.stats }}", "held": "{{ vars.held | length }}"},
}


@pytest.mark.row("X-01", "X-02")
def test_a_definition_that_uses_the_whole_language() -> None:
    assert list(VALIDATOR.iter_errors(SETTLEMENT)) == []
    _, plan, warnings = compile_definition(SETTLEMENT)
    assert not warnings
    assert {name: deps(plan, name) for name in plan.root.nodes} == {
        "orders": set(),
        "settle": {"orders"},
        "held": {"settle"},
        "review": {"held"},
        "release": {"held", "review"},
        "ledger": {"release"},
        "report": {"ledger"},
    }
    assert plan.nodes["settle[].charge!undo"].executor == "bank.refund"
    assert plan.nodes["settle"].has_undo
    assert plan.nodes["settle[].charge"].retry.max_delay == 60 * SECOND
    assert isinstance(plan.finally_, PlanNode)
    assert plan.nodes["release.0"].flow == FlowRule("billing.release", 2)
    assert plan.nodes["ledger#"].scope == "ledger"
    assert plan.root.leaves == ("report",)


#: Full synchronisation of a calendar system: courses in batches, then a run of its own per group of courses.
SYNC_ALL: dict[str, Any] = {
    "dsl": "1",
    "name": "calendar.sync_all",
    "inputs": {
        "type": "object",
        "required": ["term"],
        "properties": {"term": {"type": "string"}, "force": {"type": "boolean", "default": False}},
    },
    "start": {"mutex": "calendar:{{ inputs.term }}", "on_duplicate": "reject"},
    "deadline": "2h",
    "nodes": {
        "prepare": {"run": "calendar.aggregate", "with": {"term": "{{ inputs.term }}"}},
        "create": {
            "map": "{{ nodes.prepare.output.batches }}",
            "as": "batch",
            "concurrency": 8,
            "join": {"need": "all", "tolerate": "10%"},
            "do": {
                "run": "calendar.create",
                "with": {"batch": "{{ batch }}", "number": "{{ index }}", "of": "{{ total }}"},
                "retry": {"max": 3, "delay": "1s"},
                "timeout": "5m",
            },
        },
        "participants": {
            "run": "calendar.list_groups",
            "with": {
                "created": "{{ nodes.create.stats.completed }}",
                "ids": "{{ nodes.create.output | select | list }}",
            },
        },
        "groups": {
            "map": "{{ nodes.participants.output.groups }}",
            "as": "group",
            "concurrency": 5,
            "key": "{{ group.id }}",
            "do": {
                "flow": "calendar.sync_group",
                "with": {"group": "{{ group }}", "force": "{{ inputs.force }}"},
                "retry": {"max": 1},
                "on_error": [{"continue": True}],
            },
        },
        "report": {
            "run": "calendar.report",
            "with": {"groups": "{{ nodes.groups.stats }}", "started": "{{ instance.started_at }}"},
        },
    },
    "output": {"report": "{{ nodes.report.output }}", "groups": "{{ nodes.groups.stats }}"},
}
SYNC_GROUP: dict[str, Any] = {
    "dsl": "1",
    "name": "calendar.sync_group",
    "inputs": {"type": "object", "properties": {"group": {"type": "object"}, "force": {"type": "boolean"}}},
    "nodes": {
        "fetch": {"run": "calendar.fetch", "with": {"group": "{{ inputs.group }}"}},
        "people": {
            "map": "{{ nodes.fetch.output.people }}",
            "as": "person",
            "concurrency": 15,
            "collect": "stats",
            "do": {"run": "calendar.add_person", "with": {"person": "{{ person }}"}},
        },
        "events": {
            "map": "{{ nodes.fetch.output.events }}",
            "as": "event",
            "concurrency": 12,
            "collect": "stats",
            "do": {"run": "calendar.add_event", "with": {"event": "{{ event }}"}},
        },
        "summary": {"set": {"done": "{{ nodes.people.stats.completed + nodes.events.stats.completed }}"}},
    },
    "output": {"done": "{{ vars.done }}"},
}


@pytest.mark.parametrize("source", [SYNC_ALL, SYNC_GROUP], ids=lambda source: source["name"])
def test_a_synchronisation_with_a_run_per_group(source: dict[str, Any]) -> None:
    assert list(VALIDATOR.iter_errors(source)) == []
    _, plan, warnings = compile_definition(source)
    assert not warnings
    if source is SYNC_ALL:
        assert [deps(plan, name) for name in plan.root.nodes] == [
            set(),
            {"prepare"},
            {"create"},
            {"participants"},
            {"groups"},
        ]
        assert plan.nodes["groups[]"].flow == FlowRule("calendar.sync_group")
        assert plan.nodes["groups[]"].on_error[0].action == "continue"
    else:
        assert plan.nodes["fetch"].successors == ("people", "events")
        assert deps(plan, "summary") == {"people", "events"}


@pytest.mark.timeout(120)
def test_twenty_thousand_nodes_of_many_kinds() -> None:
    nodes: dict[str, Any] = {}
    for number in range(5_000):
        nodes[f"n{number}"] = {
            "parallel": {
                "a": {"loop": {"times": 2}, "do": RUN},
                "b": {"nodes": {"x": run(on_error=[{"output": "{{ error.code }}"}])}},
            },
            "needs": {"any": [f"n{number - 1}", f"n{number // 2}"]} if number > 2 else [],
        }
    assert len(plan_of_large(nodes).nodes) == 20_000


def plan_of_large(nodes: dict[str, Any]) -> Plan:
    return compile_definition({"dsl": "1", "name": "large", "nodes": nodes})[1]
