"""From a document to a definition: what is read, and every problem of shape with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strataflow.engine import parser, shape
from strataflow.engine.compiler import compile_definition
from strataflow.engine.definition import (
    Definition,
    DoNode,
    LoopNode,
    MapNode,
    Node,
    ParallelNode,
    RunNode,
    Scope,
    SetNode,
    SwitchNode,
    WaitNode,
)
from strataflow.engine.definition_parts import Join, Model, NeedGroup, NeedOn, Start
from strataflow.engine.errors import DefinitionError, Problem
from strataflow.engine.parser import canonical_text, content_hash, parse_definition

EVERYTHING: dict[str, Any] = {
    "dsl": "1",
    "name": "billing.settle-up_2",
    "description": "Every field of this version.",
    "labels": {"team": "billing", "cost-centre": "42"},
    "inputs": {"type": "object", "properties": {"day": {"type": "string", "format": "date"}}},
    "start": {"key": "{{ inputs.day }}", "mutex": "billing", "on_duplicate": "queue"},
    "schedule": {
        "cron": "15 2 * * mon-fri",
        "timezone": "Europe/Paris",
        "overlap": "skip",
        "misfire": "all",
        "catch_up": 7,
        "jitter": "90s",
        "start_at": "2027-01-01T00:00:00+01:00",
        "end_at": "2028-01-01T00:00:00Z",
        "inputs": {"day": "{{ instance.scheduled_for | date }}"},
    },
    "limits": {"concurrency": 50, "rate": "1000/h", "burst": 20},
    "defaults": {
        "queue": "billing",
        "priority": 5,
        "timeout": "2m",
        "heartbeat": "30s",
        "retry": {"max": 5, "delay": "2s"},
    },
    "deadline": "6h",
    "on_failure": "finish",
    "nodes": {
        "orders": {
            "run": "billing.list",
            "with": {"day": "{{ inputs.day }}", "deep": [1, {"x": None}], "token": "{{ secrets.bank }}"},
            "description": "Lists the day's orders.",
            "when": "{{ inputs.day != '' }}",
            "output": {"rows": "{{ result.rows }}"},
            "retry": {
                "max": 3,
                "delay": "250ms",
                "backoff": "linear",
                "factor": 3,
                "max_delay": "PT5M",
                "jitter": 0.5,
                "on": ["billing.Unavailable", "timeout"],
                "never": ["billing.*"],
            },
            "timeout": "1h30m",
            "heartbeat": "10s",
            "deadline": "2h",
            "queue": "slow",
            "priority": -1,
            "limits": {
                "key": "{{ inputs.day }}",
                "group": "bank-api",
                "concurrency": 3,
                "rate": "100/10s",
                "burst": 5,
                "mutex": ["ledger", "day:{{ inputs.day }}"],
                "pools": {"gpu": 1, "licence.a": 2},
            },
            "on_error": [
                {"on": ["billing.Closed"], "output": {"rows": [], "why": "{{ error.message }}"}},
                {"on": ["billing.*"], "fail": {"code": "billing.NoOrders", "message": "{{ error.code }}"}},
                {"continue": True},
            ],
            "undo": {"run": "billing.forget", "with": {"rows": "{{ nodes.orders.output.rows }}"}},
        },
        "settle": {
            "map": "{{ nodes.orders.output.rows }}",
            "as": "order",
            "index": "number",
            "concurrency": 200,
            "join": {"need": "all", "tolerate": "1.5%", "rest": "keep"},
            "key": "{{ order.id }}",
            "collect": "stats",
            "do": {
                "nodes": {"charge": {"run": "bank.charge", "with": "{{ order }}"}},
                "output": "{{ nodes.charge.output }}",
            },
            "on_error": [{"undo": True}],
        },
        "each": {
            "map": [1, 2],
            "do": {"run": "core.noop"},
            "join": "majority",
            "concurrency": "{{ inputs.day | length }}",
        },
        "held": {"set": {"held": "{{ nodes.settle.stats.failed }}"}, "when": True},
        "pause": {
            "wait": {"for": "30s"},
            "needs": ["each", {"node": "held", "on": ["completed", "skipped"]}, {"any": ["settle", "each"]}],
        },
        "moment": {"wait": {"until": "2027-01-31T08:00:00+01:00"}, "needs": {"none": ["each", "settle"]}},
        "review": {
            "wait": {
                "signal": "review",
                "match": "{{ signal.ok }}",
                "timeout": "4h",
                "on_timeout": {"do": {"run": "core.noop"}},
            },
            "output": "{{ signal.ok }}",
        },
        "gate": {"wait": {"condition": "{{ vars.held > 0 }}", "every": "1m"}},
        "group": {"do": {"nodes": {"inner": {"run": "core.noop"}}}, "output": None},
        "both": {
            "parallel": {"left": {"run": "core.noop"}, "right": {"nodes": {"x": {"run": "core.noop"}}}},
            "concurrency": 1,
            "join": {"need": "first"},
        },
        "count": {
            "loop": {"until": "{{ loop.index > 3 }}", "max": 9, "every": "10ms", "keep_last": 2},
            "do": {"set": {"n": "{{ loop.index }}"}},
        },
        "rows": {
            "loop": {"for": [1, 2]},
            "as": "row",
            "index": "at",
            "do": {"run": "core.noop", "with": "{{ row }}"},
        },
        "thrice": {"loop": {"times": 3}, "do": {"run": "core.noop"}, "needs": {"all": ["both"]}},
        "while": {"loop": {"while": "{{ loop.index < 2 }}"}, "do": {"flow": "a.b", "retry": {"max": 1}}},
        "choose": {
            "switch": [
                {"when": "{{ vars.held > 1 }}", "do": {"flow": "billing.release@2", "with": {"x": 1}}}
            ],
            "else": {"flow": "billing.keep", "detach": True},
        },
    },
    "on_error": [{"on": ["cancelled"], "undo": True, "do": {"run": "core.noop"}}, {"output": None}],
    "finally": {"nodes": {"bye": {"run": "core.log", "with": {"message": "{{ error }}"}}}},
    "output": {"held": "{{ vars.held }}"},
}


def document(**nodes: Any) -> dict[str, Any]:
    return {"dsl": "1", "name": "test", "nodes": nodes or {"a": {"run": "core.noop"}}}


def problems_of(source: Any) -> list[Problem]:
    with pytest.raises(DefinitionError) as caught:
        parse_definition(source)
    return list(caught.value.problems)


def found(source: Any) -> list[tuple[str, str]]:
    return [(problem.pointer, problem.code) for problem in problems_of(source)]


# --- what is read


def test_every_field_is_read() -> None:
    definition = parse_definition(json.dumps(EVERYTHING))
    orders, settle, each, held, pause = list(definition.nodes.values())[:5]
    assert isinstance(orders, RunNode)
    assert isinstance(settle, MapNode)
    assert isinstance(each, MapNode)
    assert isinstance(held, SetNode)
    assert isinstance(pause, WaitNode)
    assert orders.retry.max == 3
    assert orders.retry.never == ("billing.*",)
    assert [entry.on for entry in orders.on_error] == [("billing.Closed",), ("billing.*",), ()]
    assert settle.as_ == "order"
    assert settle.join == Join(need="all", tolerate="1.5%", rest="keep")
    assert each.join == "majority"
    need = NeedOn(node="held", on=("completed", "skipped"))
    assert pause.needs == ("each", need, NeedGroup(any=("settle", "each")))
    assert pause.wait.for_ == "30s"
    assert definition.nodes["moment"].needs == NeedGroup(none=("each", "settle"))
    kinds = {name: type(node) for name, node in definition.nodes.items()}
    assert kinds["both"] is ParallelNode
    assert kinds["count"] is kinds["rows"] is LoopNode
    assert kinds["choose"] is SwitchNode
    assert kinds["group"] is DoNode
    assert definition.nodes["group"].has("output")
    assert not settle.has("output")
    assert definition.start == Start(key="{{ inputs.day }}", mutex="billing", on_duplicate="queue")
    assert isinstance(definition.finally_, Scope)


def test_every_field_of_every_part_is_in_the_document_above() -> None:
    missing: set[str] = set()

    def look(part: Any, seen: dict[type, set[str]]) -> None:
        if isinstance(part, Model):
            seen.setdefault(type(part), set()).update(part.model_fields_set)
            for name in type(part).model_fields:
                look(getattr(part, name), seen)
        elif isinstance(part, dict | tuple | list):
            for inner in part.values() if isinstance(part, dict) else part:
                look(inner, seen)

    used: dict[type, set[str]] = {}
    look(parse_definition(EVERYTHING), used)
    common = set[str]().union(*(fields for model, fields in used.items() if issubclass(model, Node)))
    for model, fields in used.items():
        own = set(model.model_fields)
        wanted = own - set(Node.model_fields) if issubclass(model, Node) else own
        missing |= {f"{model.__name__}.{name}" for name in wanted - fields}
    missing |= set(Node.model_fields) - common
    # What else a wait's timeout may lead to is shown by `on_error`; `every` stands in place of `cron`.
    assert missing == {f"Handler.{name}" for name in ("undo", "output", "continue_", "fail")} | {
        "Schedule.every"
    }


@pytest.mark.row("X-01")
def test_text_bytes_and_values_give_the_same_definition() -> None:
    yaml = pytest.importorskip("yaml")
    text = json.dumps(EVERYTHING)
    sources: list[Any] = [
        text,
        text.encode(),
        b"\xef\xbb\xbf" + text.encode(),
        "\ufeff" + text,
        EVERYTHING,
        yaml.safe_load(yaml.safe_dump(EVERYTHING, sort_keys=False)),
    ]
    definitions = [parse_definition(source) for source in sources]
    assert all(definition == definitions[0] for definition in definitions)


def test_a_definition_is_frozen() -> None:
    definition = parse_definition(document())
    with pytest.raises(ValueError, match="frozen"):
        definition.name = "other"  # pyright: ignore[reportAttributeAccessIssue] - the point of the test


def test_big_integers_and_floats_survive() -> None:
    definition = parse_definition(
        f'{{"dsl":"1","name":"t","nodes":{{"a":{{"run":"c.n","with":[{2**70},1e16,-0.0]}}}}}}'
    )
    node = definition.nodes["a"]
    assert isinstance(node, RunNode)
    assert [type(value) for value in node.with_] == [int, float, float]
    assert node.with_[0] == 2**70
    assert canonical_text(definition) == canonical_text(parse_definition(canonical_text(definition)))


# --- the stored text


def test_the_canonical_text_parses_back_equal() -> None:
    definition = parse_definition(EVERYTHING)
    text = canonical_text(definition)
    again = parse_definition(text)
    assert again == definition
    assert canonical_text(again) == text
    assert content_hash(text) == content_hash(canonical_text(again))
    assert json.loads(text) == EVERYTHING


def test_the_hash_ignores_the_order_of_fields_but_not_of_nodes() -> None:
    plain = {"dsl": "1", "name": "t", "nodes": {"a": {"run": "c.n", "with": 1}, "b": {"run": "c.n"}}}
    fields = {"nodes": {"a": {"with": 1, "run": "c.n"}, "b": {"run": "c.n"}}, "name": "t", "dsl": "1"}
    nodes = {"dsl": "1", "name": "t", "nodes": {"b": {"run": "c.n"}, "a": {"run": "c.n", "with": 1}}}
    texts = [canonical_text(parse_definition(source)) for source in (plain, fields, nodes)]
    assert texts[0] == texts[1]
    assert content_hash(texts[0]) != content_hash(texts[2])


def test_null_and_absent_outputs_are_different_documents() -> None:
    absent = parse_definition(document())
    null = parse_definition({**document(), "output": None})
    assert not absent.has("output")
    assert null.has("output")
    assert '"output":null' in canonical_text(null)


# --- texts that are no JSON


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1, column 1"),
        ('{"dsl": "1",\n  "name" "x"}', "line 2, column 10"),
        ('{"a": 1,\n "b": NaN}', "NaN is not a JSON number, line 2, column 7"),
        ('{"NaN": "NaN",\n\n"b": -Infinity}', "-Infinity is not a JSON number, line 3, column 6"),
        ('{"a": 1e999}', "1e999 is not a JSON number, line 1, column 7"),
        ('["\\ud800"]', "lone surrogate"),
        ("[" * 300 + "]" * 300, "deeper than 200"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "cannot be read"),
        (b"\xff{}", "not UTF-8: byte 0"),
        ('{"a": "\n"}', "control character"),
    ],
)
def test_what_is_no_json_says_where(text: str | bytes, words: str) -> None:
    (problem,) = problems_of(text)
    assert problem.code == "not_json"
    assert words in problem.message


@pytest.mark.parametrize(
    ("source", "pointer"), [({"a": {1, 2}}, "/a"), ({"a": {1: 2}}, "/a"), ({"a": b"x"}, "/a")]
)
def test_values_that_json_could_not_give_are_named(source: Any, pointer: str) -> None:
    assert found(source) == [(pointer, "not_json")]


@pytest.mark.parametrize("text", ["[]", "null", "5", '"text"'])
def test_a_definition_is_an_object(text: str) -> None:
    assert found(text) == [("", "wrong_type")]


def test_a_document_over_the_size_cap_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "MAX_DOCUMENT", 100)
    (problem,) = problems_of(" " * 101)
    assert "101 bytes" in problem.message


@pytest.mark.row("X-02")
def test_repeated_keys_are_found_wherever_they_stand() -> None:
    text = """{"dsl": "1", "name": "t", "name": "t",
        "nodes": {"a": {"run": "c.n", "with": {"x": 1, "x": 2, "x~/y": 1, "x~/y": 1}}, "a": {"run": "c.n"},
                  "b": {"run": "c.n", "with": [{"k": 1, "k": 1}]}}}"""
    assert found(text) == [
        ("/name", "duplicate_key"),
        ("/nodes/a", "duplicate_key"),
        ("/nodes/b/with/0/k", "duplicate_key"),
    ]


# --- which fields stand where


@pytest.mark.parametrize("field", ["retry", "timeout", "heartbeat"])
@pytest.mark.parametrize(
    "verb",
    [
        {"map": [], "do": {"run": "c.n"}},
        {"parallel": {"b": {"run": "c.n"}}},
        {"loop": {"times": 2}, "do": {"run": "c.n"}},
        {"switch": [{"when": True, "do": {"run": "c.n"}}]},
        {"set": {"x": 1}},
        {"wait": {"for": "1s"}},
        {"do": {"nodes": {"b": {"run": "c.n"}}}},
    ],
)
def test_retry_timeout_and_heartbeat_belong_to_run(field: str, verb: dict[str, Any]) -> None:
    value = {"max": 1} if field == "retry" else "1s"
    (problem,) = problems_of(document(a={**verb, field: value}))
    assert (problem.pointer, problem.code) == (f"/nodes/a/{field}", "misplaced_field")
    assert "'run'" in problem.message
    assert ("on_error" if field == "retry" else "deadline") in (problem.hint or "")


@pytest.mark.parametrize(
    ("field", "code"), [("timeout", "misplaced_field"), ("heartbeat", "misplaced_field")]
)
def test_a_flow_is_retried_but_not_timed(field: str, code: str) -> None:
    parse_definition(document(a={"flow": "other", "retry": {"max": 2}}))
    assert found(document(a={"flow": "other", field: "1s"})) == [(f"/nodes/a/{field}", code)]


@pytest.mark.parametrize(
    ("change", "pointer", "hint"),
    [
        ({"ouput": 1}, "/ouput", "did you mean 'output'?"),
        ({"defaults": {"retri": {}}}, "/defaults/retri", "did you mean 'retry'?"),
        ({"defaults": {"retry": {"maxx": 1}}}, "/defaults/retry/maxx", "did you mean 'max'"),
        ({"nodes": {"a": {"run": "c.n", "wiht": 1}}}, "/nodes/a/wiht", "did you mean 'with'"),
        ({"nodes": {"a": {"run": "c.n", "with_": 1}}}, "/nodes/a/with_", "did you mean 'with'"),
        (
            {"nodes": {"a": {"run": "c.n", "retry": {"jiter": 1}}}},
            "/nodes/a/retry/jiter",
            "did you mean 'jitter'?",
        ),
        ({"nodes": {"a": {"wait": {"fro": "1s", "for": "1s"}}}}, "/nodes/a/wait/fro", "did you mean 'for'?"),
        ({"nodes": {"a": {"run": "c.n", "zzz": 1}}}, "/nodes/a/zzz", "fields: 'description', 'needs'"),
    ],
)
def test_unknown_fields_come_with_what_was_meant(change: dict[str, Any], pointer: str, hint: str) -> None:
    (problem,) = problems_of({**document(), **change})
    assert (problem.pointer, problem.code) == (pointer, "unknown_field")
    assert problem.hint is not None
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("node", "pointer", "code"),
    [
        ({}, "/nodes/a", "no_verb"),
        ({"with": {}}, "/nodes/a", "no_verb"),
        ({"run": "c.n", "set": {"x": 1}}, "/nodes/a", "two_verbs"),
        ({"run": "c.n", "do": {"run": "c.n"}}, "/nodes/a", "two_verbs"),
        ({"map": [], "set": {"x": 1}, "do": {"run": "c.n"}}, "/nodes/a", "two_verbs"),
        ({"map": [], "do": {"nodes": {"b": {"run": "c.n"}}, "run": "c.n"}}, "/nodes/a/do", "two_verbs"),
        ({"map": []}, "/nodes/a/do", "missing_field"),
        ({"map": [], "do": 5}, "/nodes/a/do", "wrong_type"),
        ({"map": [], "do": {"do": {"nodes": {"b": {"run": "c.n"}}}}}, "/nodes/a/do", "bad_value"),
        ({"do": {"run": "c.n"}}, "/nodes/a/do", "missing_field"),
        ({"do": []}, "/nodes/a/do", "wrong_type"),
        ({"do": {}}, "/nodes/a/do/nodes", "missing_field"),
        ({"do": {"nodes": {}}}, "/nodes/a/do/nodes", "empty_nodes"),
        ({"wait": {}}, "/nodes/a/wait", "missing_field"),
        ({"wait": "30s"}, "/nodes/a/wait", "wrong_type"),
        ("c.n", "/nodes/a", "wrong_type"),
        (None, "/nodes/a", "wrong_type"),
        ({"run": "c.n", "as": "x"}, "/nodes/a/as", "misplaced_field"),
        ({"set": {"x": 1}, "with": {}}, "/nodes/a/with", "misplaced_field"),
        ({"wait": {"for": "1s"}, "queue": "q"}, "/nodes/a/queue", "misplaced_field"),
        ({"run": "c.n", "join": "any"}, "/nodes/a/join", "misplaced_field"),
    ],
)
def test_forms_of_a_node(node: Any, pointer: str, code: str) -> None:
    assert found(document(a=node)) == [(pointer, code)]


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"dsl": "2"}, "/dsl", "bad_value"),
        ({"dsl": 1}, "/dsl", "bad_value"),
        ({"name": "a b"}, "/name", "bad_name"),
        ({"name": ""}, "/name", "bad_name"),
        ({"name": "x\n"}, "/name", "bad_name"),
        ({"name": "{{ inputs.x }}"}, "/name", "expression_not_allowed"),
        ({"name": 5}, "/name", "wrong_type"),
        ({"nodes": {}}, "/nodes", "empty_nodes"),
        ({"nodes": []}, "/nodes", "wrong_type"),
        ({"inputs": []}, "/inputs", "wrong_type"),
        ({"inputs": None}, "/inputs", "wrong_type"),
        ({"description": "{{ x }}"}, "/description", "expression_not_allowed"),
        ({"defaults": 5}, "/defaults", "wrong_type"),
        ({"defaults": {"queue": "{{ inputs.q }}"}}, "/defaults/queue", "not_supported"),
    ],
)
def test_forms_of_the_definition(change: dict[str, Any], pointer: str, code: str) -> None:
    assert found({**document(), **change}) == [(pointer, code)]


@pytest.mark.parametrize("missing", ["dsl", "name", "nodes"])
def test_missing_parts(missing: str) -> None:
    source = document()
    del source[missing]
    assert found(source) == [(f"/{missing}", "missing_field")]


@pytest.mark.parametrize(
    ("field", "value", "place", "code"),
    [
        ("run", 5, "", "wrong_type"),
        ("run", "core", "", "bad_name"),
        ("run", "core.{{ x }}", "", "expression_not_allowed"),
        ("run", None, "", "wrong_type"),
        ("timeout", 5, "", "bad_duration"),
        ("timeout", "5", "", "bad_duration"),
        ("timeout", "0s", "", "bad_duration"),
        ("timeout", "{{ inputs.t }}", "", "expression_not_allowed"),
        ("timeout", None, "", "wrong_type"),
        ("queue", "a b", "", "bad_name"),
        ("queue", "{{ inputs.q }}", "", "not_supported"),
        ("priority", "high", "", "wrong_type"),
        ("priority", True, "", "wrong_type"),
        ("priority", 10**7, "", "bad_value"),
        ("priority", "{{ inputs.p }}", "", "not_supported"),
        ("when", 5, "", "wrong_type"),
        ("when", "inputs.x > 5", "", "bad_value"),
        ("when", " {{ inputs.x }}", "", "bad_value"),
        ("needs", "b", "", "wrong_type"),
        ("needs", [5], "/0", "wrong_type"),
        ("needs", [None], "/0", "wrong_type"),
        ("needs", ["{{ x }}"], "/0", "expression_not_allowed"),
        ("needs", [{"on": ["failed"]}], "/0", "missing_field"),
        ("needs", [{"node": "b", "on": ["done"]}], "/0/on/0", "bad_value"),
        ("needs", [{"node": "b", "on": []}], "/0/on", "bad_value"),
        ("needs", [{"node": "b", "on": "failed"}], "/0/on", "wrong_type"),
        ("retry", 3, "", "wrong_type"),
        ("retry", {"max": -1}, "/max", "bad_value"),
        ("retry", {"max": 1.5}, "/max", "wrong_type"),
        ("retry", {"max": "3"}, "/max", "wrong_type"),
        ("retry", {"max": True}, "/max", "wrong_type"),
        ("retry", {"delay": 5}, "/delay", "bad_duration"),
        ("retry", {"backoff": "cubic"}, "/backoff", "bad_value"),
        ("retry", {"factor": 0.5}, "/factor", "bad_value"),
        ("retry", {"jitter": 1.5}, "/jitter", "bad_value"),
        ("retry", {"on": "timeout"}, "/on", "wrong_type"),
        ("retry", {"on": ["a b"]}, "/on/0", "bad_value"),
        ("retry", {"never": ["*.x"]}, "/never/0", "bad_value"),
        ("description", 5, "", "wrong_type"),
        ("description", "{{ x }}", "", "expression_not_allowed"),
    ],
)
def test_fields_of_a_run(field: str, value: Any, place: str, code: str) -> None:
    node = {"run": "core.noop", field: value}
    assert found(document(a=node, b={"run": "c.n"})) == [(f"/nodes/a/{field}{place}", code)]


@pytest.mark.parametrize(
    ("field", "value", "place", "code"),
    [
        ("map", None, "", "wrong_type"),
        ("map", 5, "", "wrong_type"),
        ("map", "rows", "", "wrong_type"),
        ("concurrency", 0, "", "bad_value"),
        ("concurrency", 1.5, "", "wrong_type"),
        ("concurrency", True, "", "wrong_type"),
        ("concurrency", "5", "", "wrong_type"),
        ("join", "some", "", "bad_value"),
        ("join", 0, "", "bad_value"),
        ("join", "0%", "", "bad_value"),
        ("join", "120%", "", "bad_value"),
        ("join", True, "", "wrong_type"),
        ("join", [], "", "wrong_type"),
        ("join", {"need": -1}, "/need", "bad_value"),
        ("join", {"tolerate": "x"}, "/tolerate", "bad_value"),
        ("join", {"tolerate": -1}, "/tolerate", "bad_value"),
        ("join", {"tolerate": 0.1}, "/tolerate", "wrong_type"),
        ("join", {"rest": "drop"}, "/rest", "bad_value"),
        ("join", {"needs": 1}, "/needs", "unknown_field"),
        ("as", 5, "", "wrong_type"),
        ("as", "{{ x }}", "", "expression_not_allowed"),
    ],
)
def test_fields_of_a_map(field: str, value: Any, place: str, code: str) -> None:
    node = {"map": [1], "do": {"run": "c.n"}, field: value}
    assert found(document(a=node)) == [(f"/nodes/a/{field}{place}", code)]


@pytest.mark.row("X-02")
def test_all_problems_come_at_once_in_document_order() -> None:
    source = {
        "name": "a b",
        "nodes": {
            "one": {"run": 5, "timeout": "x", "needs": ["nope", 7, {"node": "gone"}]},
            "two": {"loop": {}, "limits": {}, "do": {"run": "c.n"}},
            "three": {"run": "c.n", "with": "{{ nodes.twwo.output }} {{ 1 + }}"},
            "four": {
                "map": [],
                "do": {"nodes": {"x": {"set": {"v": 1}, "with": 1}, "y": {"run": "c.n", "needs": ["z"]}}},
            },
            "five": {"run": "c.n", "needs": ["six"]},
            "six": {"run": "c.n", "needs": ["five"]},
        },
        "start": {},
        "schedule": {},
    }
    with pytest.raises(DefinitionError) as caught:
        compile_definition(source)
    assert [(problem.pointer, problem.code) for problem in caught.value.problems] == [
        ("/name", "bad_name"),
        ("/nodes/one/run", "wrong_type"),
        ("/nodes/one/timeout", "bad_duration"),
        ("/nodes/one/needs/0", "unknown_dependency"),
        ("/nodes/one/needs/1", "wrong_type"),
        ("/nodes/one/needs/2", "unknown_dependency"),
        ("/nodes/two/loop", "missing_field"),
        ("/nodes/two/limits", "misplaced_field"),
        ("/nodes/three/with", "expression"),
        ("/nodes/four/do/nodes/x/with", "misplaced_field"),
        ("/nodes/four/do/nodes/y/needs/0", "unknown_dependency"),
        ("/nodes/five", "cycle"),
        ("/start", "missing_field"),
        ("/schedule", "missing_field"),
        ("/dsl", "missing_field"),
    ]


def test_the_same_problem_is_told_once() -> None:
    node = {"run": "c.n", "with": "{{ nodes.gone.output if nodes.gone.output else nodes.gone.state }}"}
    with pytest.raises(DefinitionError) as caught:
        compile_definition(document(a=node))
    assert [problem.code for problem in caught.value.problems] == ["unknown_node"]


def test_containers_may_be_nested_32_deep() -> None:
    def nested(levels: int) -> dict[str, Any]:
        node: dict[str, Any] = {"run": "core.noop"}
        for level in range(levels):
            node = (
                {"do": {"nodes": {f"n{level}": node}}}
                if level % 2
                else {"map": [1], "do": {"nodes": {f"n{level}": node}}}
            )
        return document(a=node)

    compile_definition(nested(shape.MAX_NESTING))
    (problem,) = problems_of(nested(shape.MAX_NESTING + 1))
    assert problem.code == "too_deep"


def test_the_number_of_nodes_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "MAX_NODES", 3)
    source = document(**{f"n{number}": {"run": "c.n"} for number in range(5)})
    assert found(source) == [("/nodes/n3", "too_large")]


# --- anything at all

_WORDS = st.sampled_from(
    [
        *(
            "dsl",
            "name",
            "nodes",
            "run",
            "map",
            "do",
            "set",
            "wait",
            "for",
            "with",
            "when",
            "needs",
            "node",
            "on",
        ),
        *("output", "as", "index", "join", "need", "tolerate", "retry", "max", "delay", "timeout", "queue"),
        *(
            "priority",
            "defaults",
            "inputs",
            "properties",
            "type",
            "concurrency",
            "loop",
            "x",
            "a b",
            "1",
            "all",
        ),
        *("parallel", "switch", "else", "flow", "detach", "until", "while", "times", "signal", "condition"),
        *("on_error", "undo", "continue", "fail", "code", "any", "none", "finally", "start", "on_timeout"),
        *("key", "every", "{{ loop.index }}", "{{ error }}"),
        *("limits", "schedule", "cron", "rate", "burst", "group", "mutex", "pools", "timezone", "misfire"),
        *("50/s", "* * * * *", "2027-01-31T08:00:00Z", "{{ instance.scheduled_for }}", "catch_up", "end_at"),
        *("completed", "5s", "{{ nodes.x.output }}", "{{ vars.x }}", "{{ item }}", "{{", "core.noop"),
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats(allow_nan=False) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=30,
)
_NODE = st.dictionaries(_WORDS, _VALUES, max_size=4)
_DOCUMENTS = st.fixed_dictionaries(
    {
        "dsl": st.just("1"),
        "name": st.just("t"),
        "nodes": st.dictionaries(_WORDS, _NODE | _VALUES, max_size=4),
    },
    optional={
        **dict.fromkeys(("inputs", "defaults", "output", "finally", "start", "labels"), _VALUES),
        **dict.fromkeys(("schedule", "limits"), _NODE | _VALUES),
        "on_error": st.lists(_NODE, max_size=2),
    },
)


@settings(max_examples=300, deadline=None)
@given(_DOCUMENTS | _VALUES)
def test_any_value_gives_a_plan_or_problems_and_nothing_else(source: Any) -> None:
    problems: tuple[Problem, ...] = ()
    try:
        definition, plan, _ = compile_definition(json.dumps(source))
    except DefinitionError as error:
        problems = error.problems
    else:
        assert isinstance(definition, Definition)
        assert plan.root.nodes
        return
    assert problems
    assert all(problem.pointer == "" or problem.pointer.startswith("/") for problem in problems)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40) | st.binary(max_size=40))
def test_any_text_gives_problems_and_nothing_else(source: str | bytes) -> None:
    with pytest.raises(DefinitionError):
        compile_definition(source)
