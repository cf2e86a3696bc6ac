"""docs/dsl.md says what the code does: every example validates, every field stands there with its default."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from strataflow.engine.compiler import compile_definition
from strataflow.engine.definition import (
    Case,
    Definition,
    DoNode,
    FlowNode,
    Handler,
    LoopNode,
    MapNode,
    Node,
    OnError,
    ParallelNode,
    RunNode,
    Scope,
    SetNode,
    SwitchNode,
    Wait,
    WaitNode,
)
from strataflow.engine.definition_pace import Limits, Schedule, TotalLimits
from strataflow.engine.definition_parts import Defaults, Fail, Join, Loop, NeedGroup, NeedOn, Retry, Start
from strataflow.engine.errors import DefinitionError
from strataflow.engine.parser import canonical_text, parse_definition
from strataflow.engine.schema import definition_schema
from strataflow.executors.builtin import default_registry

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "dsl.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
TABLES: dict[str, type[BaseModel]] = {
    "The definition": Definition,
    "start": Start,
    "schedule": Schedule,
    "Limits of all runs": TotalLimits,
    "Defaults": Defaults,
    "Every node": Node,
    "needs": NeedOn,
    "on_error": OnError,
    "run": RunNode,
    "retry": Retry,
    "limits": Limits,
    "map": MapNode,
    "join": Join,
    "parallel": ParallelNode,
    "loop": LoopNode,
    "How often": Loop,
    "switch": SwitchNode,
    "A case": Case,
    "flow": FlowNode,
    "set": SetNode,
    "wait": Wait,
    "do": Scope,
}
VALIDATOR = jsonschema.Draft202012Validator(definition_schema())


class Executors:
    """The executors that come with the package."""

    def __init__(self) -> None:
        self.registry = default_registry(entry_points=False)
        self.known = {entry.name for entry in self.registry.list_executors()}

    def has(self, name: str) -> bool:
        return name in self.known

    def names(self) -> list[str]:
        return sorted(self.known)

    def config_problems(self, name: str, config: Any) -> Any:
        return self.registry.config_problems(name, config)


def table(heading: str) -> dict[str, str]:
    """Field → default, of the first table below a heading."""
    section = re.split(rf"\n##+ {heading}\n", PAGE)[1].split("\n## ")[0]
    rows = re.search(r"\| field \|[^\n]*\n\|[-|]+\|\n((?:\|[^\n]*\n)+)", section)
    assert rows is not None
    cells = [line.strip("|").split("|") for line in rows.group(1).strip().split("\n")]
    return {row[0].strip().strip("`"): row[2].strip() for row in cells}


def default_of(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None:
        return "none"
    value = default.model_dump(exclude_unset=True) if isinstance(default, BaseModel) else default
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["name"])
def test_examples_validate(example: dict[str, Any]) -> None:
    definition, plan, warnings = compile_definition(example, registry=Executors())
    assert not warnings
    assert plan.root.nodes
    assert list(VALIDATOR.iter_errors(example)) == []
    assert parse_definition(canonical_text(definition)) == definition


@pytest.mark.parametrize("heading", TABLES)
def test_every_field_stands_in_its_table_with_its_default(heading: str) -> None:
    model = TABLES[heading]
    inherited = Node.model_fields if issubclass(model, Node) and model is not Node else {}
    expected = {
        field.alias or name: default_of(model, name)
        for name, field in model.model_fields.items()
        if name not in inherited
    }
    assert table(heading) == expected


def test_the_verbs_that_are_left_out_of_the_tables_have_no_other_fields() -> None:
    assert set(WaitNode.model_fields) - set(Node.model_fields) == {"wait"}
    assert set(DoNode.model_fields) - set(Node.model_fields) == {"do"}
    assert set(Handler.model_fields) == set(OnError.model_fields) - {"on"}
    assert set(NeedGroup.model_fields) == {"all", "any", "none"}
    assert set(Fail.model_fields) == {"code", "message"}


def codes_in_the_code() -> set[str]:
    """Every code given to a problem as a literal."""
    positions = {"Problem": 1, "report": 1, "_report": 1, "refuse": 0, "fail": 0, "_matching": 1}
    found: set[str] = set()
    for path in (ROOT / "engine").glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name | ast.Attribute):
                name = call.func.id if isinstance(call.func, ast.Name) else call.func.attr
                position = positions.get(name)
                if position is not None and len(call.args) > position:
                    code = call.args[position]
                    if isinstance(code, ast.Constant) and isinstance(code.value, str):
                        found.add(code.value)
    return found


def test_every_code_is_explained() -> None:
    section = PAGE.split("\n## Problems\n")[1].split("\n## ")[0]
    explained = {
        code
        for line in section.split("\n")
        for code in re.findall(r"`([a-z_]+)`", line.partition("|")[2].partition("|")[0])
    }
    assert codes_in_the_code() - explained == set()
    others = {"missing_input", "bad_format", "unknown_input", "endless_schema"}
    assert explained - codes_in_the_code() - others == set()


# --- the schema for editors

BROKEN: list[dict[str, Any]] = [
    {},
    {"dsl": "2"},
    {"name": "a b"},
    {"name": "{{ x }}"},
    {"start": {}},
    {"start": {"key": 5}},
    {"schedule": {}},
    {"schedule": {"timezone": "UTC"}},
    {"schedule": {"cron": "15 2 * * *", "every": "1h"}},
    {"schedule": {"cron": "{{ inputs.cron }}"}},
    {"schedule": {"every": 60}},
    {"schedule": {"every": "1h", "overlap": "replace"}},
    {"schedule": {"every": "1h", "misfire": "none"}},
    {"schedule": {"every": "1h", "catch_up": 5}},
    {"schedule": {"every": "1h", "misfire": "all", "catch_up": 0}},
    {"schedule": {"every": "1h", "jitter": "a bit"}},
    {"schedule": {"every": "1h", "start_at": "{{ inputs.at }}"}},
    {"schedule": {"every": "1h", "inputs": []}},
    {"schedule": {"every": "1h", "zone": "UTC"}},
    {"limits": {}},
    {"limits": {"burst": 2}},
    {"limits": {"concurrency": 1, "burst": 2}},
    {"limits": {"concurrency": 1, "key": "x"}},
    {"limits": {"mutex": "x"}},
    {"labels": {"a b": "x"}},
    {"labels": {"a": "{{ x }}"}},
    {"on_failure": "go on"},
    {"on_error": [{"continue": True}]},
    {"on_error": [{}]},
    {"finally": {"set": {"x": 1}}},
    {"nodes": {}},
    {"nodes": {"fetch-data": {"run": "a.b"}}},
    {"nodes": {"inputs": {"run": "a.b"}}},
    {"nodes": {"a": {}}},
    {"nodes": {"a": {"run": "a"}}},
    {"nodes": {"a": {"run": "a.b", "set": {"x": 1}}}},
    {"nodes": {"a": {"run": "a.b", "ouput": 1}}},
    {"nodes": {"a": {"run": "a.b", "when": "x"}}},
    {"nodes": {"a": {"run": "a.b", "timeout": 5}}},
    {"nodes": {"a": {"run": "a.b", "queue": "{{ x }}"}}},
    {"nodes": {"a": {"run": "a.b", "needs": [{"node": "b", "on": ["done"]}]}}},
    {"nodes": {"a": {"run": "a.b", "retry": {"max": -1}}}},
    {"nodes": {"a": {"map": [1]}}},
    {"nodes": {"a": {"map": "rows", "do": {"run": "a.b"}}}},
    {"nodes": {"a": {"map": [1], "do": {"set": {"x": 1}}}}},
    {"nodes": {"a": {"map": [1], "do": {"run": "a.b"}, "as": "not"}}},
    {"nodes": {"a": {"map": [1], "do": {"run": "a.b"}, "join": {"need": 0}}}},
    {"nodes": {"a": {"map": [1], "do": {"run": "a.b"}, "concurrency": 0}}},
    {"nodes": {"a": {"set": {}}}},
    {"nodes": {"a": {"wait": {"for": "5 minutes"}}}},
    {"nodes": {"a": {"do": {"run": "a.b"}}}},
    {"inputs": {"type": "strng"}},
    {"inputs": []},
    *(
        {"nodes": {"a": node, "b": {"run": "a.b"}}}
        for node in (
            {"run": "a.b", "limits": {}},
            {"run": "a.b", "limits": {"key": "x"}},
            {"run": "a.b", "limits": {"key": "x", "mutex": "x"}},
            {"run": "a.b", "limits": {"group": "x", "pools": {"x": 1}}},
            {"run": "a.b", "limits": {"group": "a b", "concurrency": 1}},
            {"run": "a.b", "limits": {"concurrency": 0}},
            {"run": "a.b", "limits": {"concurrency": "{{ inputs.n }}"}},
            {"run": "a.b", "limits": {"rate": "0/s"}},
            {"run": "a.b", "limits": {"rate": "50 per second"}},
            {"run": "a.b", "limits": {"rate": 50}},
            {"run": "a.b", "limits": {"concurrency": 1, "burst": 2}},
            {"run": "a.b", "limits": {"mutex": []}},
            {"run": "a.b", "limits": {"mutex": ""}},
            {"run": "a.b", "limits": {"mutex": ["x", 5]}},
            {"run": "a.b", "limits": {"pools": {}}},
            {"run": "a.b", "limits": {"pools": {"a b": 1}}},
            {"run": "a.b", "limits": {"pools": {"gpu": 0}}},
            {"run": "a.b", "limits": {"concurrency": 1, "per": "s"}},
            {"map": [1], "do": {"run": "a.b"}, "limits": {"concurrency": 1}},
            {"run": "a.b", "deadline": 5},
            {"run": "a.b", "undo": {}},
            {"run": "a.b", "undo": {"set": {"x": 1}}},
            {"run": "a.b", "needs": {}},
            {"run": "a.b", "needs": {"any": []}},
            {"run": "a.b", "needs": {"any": ["b"], "all": ["b"]}},
            {"run": "a.b", "needs": [{"any": [{"any": ["b"]}]}]},
            {"run": "a.b", "on_error": {}},
            {"run": "a.b", "on_error": [{"on": ["x"]}]},
            {"run": "a.b", "on_error": [{"on": [], "output": 1}]},
            {"run": "a.b", "on_error": [{"output": 1, "continue": True}]},
            {"run": "a.b", "on_error": [{"continue": False}]},
            {"run": "a.b", "on_error": [{"fail": {"code": "x"}}]},
            {"run": "a.b", "on_error": [{"do": {"do": {"nodes": {"x": {"run": "a.b"}}}}}]},
            {"parallel": {}},
            {"parallel": {"a-b": {"run": "a.b"}}},
            {"parallel": {"x": {"set": {"x": 1}}}},
            {"loop": {}, "do": {"run": "a.b"}},
            {"loop": {"times": 1, "until": True}, "do": {"run": "a.b"}},
            {"loop": {"times": 1}, "as": "x", "do": {"run": "a.b"}},
            {"loop": {"times": -1}, "do": {"run": "a.b"}},
            {"loop": {"times": 1}},
            {"switch": []},
            {"switch": [{"when": True}]},
            {"switch": [{"do": {"run": "a.b"}}]},
            {"flow": "a b"},
            {"flow": "a", "with": 5},
            {"flow": "a", "timeout": "1s"},
            {"map": [1], "do": {"run": "a.b"}, "collect": "some"},
            {"map": [1], "do": {"run": "a.b"}, "key": "id"},
            {"wait": {}},
            {"wait": {"for": "1s", "signal": "x"}},
            {"wait": {"signal": "a b"}},
            {"wait": {"for": "1s", "match": True}},
            {"wait": {"signal": "x", "every": "1s"}},
            {"wait": {"signal": "x", "on_timeout": {"output": 1}}},
            {"wait": {"signal": "x", "timeout": "1s", "on_timeout": {"on": ["a"], "output": 1}}},
        )
    ),
]


@pytest.mark.parametrize("change", BROKEN, ids=str)
def test_the_schema_refuses_what_the_parser_refuses(change: dict[str, Any]) -> None:
    document = {"dsl": "1", "name": "t", "nodes": {"a": {"run": "a.b"}}, **change} if change else {}
    assert list(VALIDATOR.iter_errors(document))
    with pytest.raises(DefinitionError):
        compile_definition(document)


def test_the_schema_is_valid_and_describes_every_field() -> None:
    schema = definition_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    parts = [schema, *schema["$defs"].values()]
    silent = [
        name
        for part in parts
        for name, field in part.get("properties", {}).items()
        if not field.get("description")
    ]
    assert silent == []


def test_callers_may_change_their_copy_of_the_schema() -> None:
    definition_schema()["properties"].clear()
    assert definition_schema()["properties"]
