"""The Python builder gives the very JSON that one would write; its page's example runs; `fmt` keeps the meaning."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from strataflow.engine.builder import Scope, Workflow, expr
from strataflow.engine.compiler import compile_definition
from strataflow.engine.errors import DefinitionError
from strataflow.engine.parser import canonical_text, parse_definition
from strataflow.engine.yaml_loader import load_yaml
from strataflow.services.formatting import format_text

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLES: list[dict[str, Any]] = [
    json.loads(text) for text in re.findall(r"```json\n(.*?)```", (DOCS / "dsl.md").read_text(), re.DOTALL)
]


def built() -> Workflow:
    """Use every verb and most kinds of fields once."""
    flow = Workflow("b.all", description="d", deadline="1h", finally_={"run": "core.noop"})
    n = flow.input("n", type="integer", default=3)
    a = flow.run("a", "core.noop", {"n": n}, retry={"max": 2}, timeout="1m")
    with Scope() as item:
        x = item.run("x", "core.noop", expr("item"))
        item.output(x.output)
    m = flow.map("m", [1, 2], item, concurrency=2, on_error=[{"continue": True}])
    flow.parallel("p", {"l": {"run": "core.noop"}, "r": item}, needs=[a], join="any")
    flow.loop("l", {"times": 2}, {"run": "core.noop", "with": expr("loop.index")})
    flow.switch("s", (expr("nodes.a.output.n > 1"), {"run": "core.noop"}), otherwise={"run": "core.noop"})
    flow.wait("w", signal="go", timeout="1d", on_timeout={"output": 1}, needs={"any": [a, m]})
    flow.set("v", {"total_n": a.output["n"]})
    flow.flow("f", "b.other@2", {"x": flow.vars.total_n})
    flow.group("g", item)
    flow.output({"m": m.stats.completed})
    return flow


INNER = {"nodes": {"x": {"run": "core.noop", "with": "{{ item }}"}}, "output": "{{ nodes.x.output }}"}
WRITTEN = {
    "dsl": "1",
    "name": "b.all",
    "description": "d",
    "inputs": {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}},
    "deadline": "1h",
    "finally": {"run": "core.noop"},
    "nodes": {
        "a": {"run": "core.noop", "with": {"n": "{{ inputs.n }}"}, "retry": {"max": 2}, "timeout": "1m"},
        "m": {"map": [1, 2], "do": INNER, "concurrency": 2, "on_error": [{"continue": True}]},
        "p": {"parallel": {"l": {"run": "core.noop"}, "r": INNER}, "needs": ["a"], "join": "any"},
        "l": {"loop": {"times": 2}, "do": {"run": "core.noop", "with": "{{ loop.index }}"}},
        "s": {
            "switch": [{"when": "{{ nodes.a.output.n > 1 }}", "do": {"run": "core.noop"}}],
            "else": {"run": "core.noop"},
        },
        "w": {
            "wait": {"signal": "go", "timeout": "1d", "on_timeout": {"output": 1}},
            "needs": {"any": ["a", "m"]},
        },
        "v": {"set": {"total_n": '{{ nodes.a.output["n"] }}'}},
        "f": {"flow": "b.other@2", "with": {"x": "{{ vars.total_n }}"}},
        "g": {"do": INNER},
    },
    "output": {"m": "{{ nodes.m.stats.completed }}"},
}


def test_the_builder_writes_what_one_would_write() -> None:
    assert built().document() == WRITTEN
    assert json.loads(built().json()) == WRITTEN


def test_a_built_definition_compiles() -> None:
    document = built().document()
    for name in ("p", "g"):  # an `item` is known in a map only
        del document["nodes"][name]
    compile_definition(document, registry=None, definition_id="d", version=1)


def test_what_would_be_lost_raises_at_once() -> None:
    flow = Workflow("b.x")
    flow.run("a", "core.noop")
    with pytest.raises(ValueError, match="'a'"):
        flow.run("a", "core.noop")
    with Scope() as inner:
        inner.run("b", "core.noop")
    with pytest.raises(ValueError, match="has ended"):
        inner.run("c", "core.noop")
    flow.input("n")
    with pytest.raises(ValueError, match="'n'"):
        flow.input("n")


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "builder.md").read_text(), re.DOTALL)
    exec(compile(code, "docs/builder.md", "exec"), {})


# --- fmt


@pytest.mark.parametrize("document", [*EXAMPLES, WRITTEN], ids=lambda document: document["name"])
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_formatting_keeps_the_meaning_and_is_stable(document: dict[str, Any], form: str) -> None:
    is_yaml = form == "yaml"
    turned = dict(reversed(document.items()))
    text = yaml.safe_dump(turned, sort_keys=False) if is_yaml else json.dumps(turned)
    once = format_text(text, yaml=is_yaml)
    assert format_text(once, yaml=is_yaml) == once
    read = load_yaml(once) if is_yaml else json.loads(once)
    assert read == document
    assert canonical_text(parse_definition(read)) == canonical_text(parse_definition(document))


def test_the_layout() -> None:
    text = '{"nodes":{"a":{"with":1,"run":"core.noop","needs":[],"when":true}},"name":"x","dsl":"1"}'
    assert format_text(text, yaml=False) == (
        '{\n  "dsl": "1",\n  "name": "x",\n  "nodes": {\n'
        '    "a": {"needs": [], "when": true, "run": "core.noop", "with": 1}\n  }\n}\n'
    )
    with pytest.raises(DefinitionError, match="not JSON"):
        format_text("{", yaml=False)


def test_yaml_has_the_types_of_json() -> None:
    text = "on: [failed]\nyes: no\nday: 2027-01-31\nn: 017\nt: true\nnothing: null\n"
    assert load_yaml(text) == {
        "on": ["failed"],
        "yes": "no",
        "day": "2027-01-31",
        "n": 15,
        "t": True,
        "nothing": None,
    }
    with pytest.raises(yaml.YAMLError, match="twice"):
        load_yaml("a: 1\na: 2\n")
