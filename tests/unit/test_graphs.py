"""Drawings of definitions: complete, escaped, well-formed, without overlap."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from strataflow.engine.compiler import compile_definition
from strataflow.services.graphs import draw

SVG = "{http://www.w3.org/2000/svg}"
INNER = {"nodes": {"p": {"run": "core.noop"}, "q": {"needs": ["p"], "run": "core.noop"}}, "output": 1}
NODES: dict[str, Any] = {
    "orders": {"run": "core.noop", "with": {"rows": [1]}},
    "settle": {"map": "{{ nodes.orders.output.rows }}", "as": "order", "do": INNER},
    "each": {"map": "{{ nodes.orders.output.rows }}", "do": {"run": "core.noop"}},
    "held": {"set": {"held": "{{ nodes.settle.output }}"}, "when": "{{ true }}"},
    "rest": {"needs": [{"node": "each", "on": ["failed", "completed"]}], "wait": {"for": "{{ '1' ~ 's' }}"}},
    "group": {"needs": ["held", "rest"], "do": {"nodes": {"x": {"run": "core.noop"}}}},
}


def plan_of(nodes: dict[str, Any]) -> Any:
    return compile_definition({"dsl": "1", "name": "t.drawn", "nodes": nodes})[1]


def test_mermaid_has_every_node_edge_and_container() -> None:
    assert draw(plan_of(NODES), "mermaid").splitlines() == [
        "---",
        "title: t.drawn",
        "---",
        "flowchart TD",
        '    n0_("orders<br/>core.noop")',
        '    subgraph n1_["settle<br/>for each order"]',
        '        n1_0_("p<br/>core.noop")',
        '        n1_1_("q<br/>core.noop")',
        "        n1_0_ --> n1_1_",
        "    end",
        '    n2_[["each<br/>for each item: core.noop"]]',
        '    n3_["held ?<br/>set held"]',
        '    n4_(["rest<br/>wait #123;#123; #39;1#39; #126; #39;s#39; #125;#125;"])',
        '    subgraph n5_["group<br/>group"]',
        '        n5_0_("x<br/>core.noop")',
        "    end",
        "    n0_ --> n1_",
        "    n0_ --> n2_",
        "    n1_ --> n3_",
        "    n2_ -->|completed or failed| n4_",
        "    n3_ --> n5_",
        "    n4_ --> n5_",
    ]


VERBS: dict[str, Any] = {
    "both": {"parallel": {"left": {"run": "core.noop"}, "right": INNER}},
    "poll": {"loop": {"until": "{{ loop.index > 2 }}"}, "do": {"run": "core.noop"}},
    "rows": {"loop": {"for": [1]}, "as": "row", "do": INNER},
    "deep": {"map": [1], "do": {"map": [2], "do": INNER}},
    "choose": {
        "needs": {"any": ["both", {"node": "poll", "on": ["failed"]}]},
        "switch": [{"when": True, "do": {"flow": "other@2"}}, {"when": False, "do": INNER}],
        "else": {"wait": {"signal": "go"}},
    },
    "after": {"needs": [{"none": ["rows"]}], "flow": "other", "with": {}},
}


def test_mermaid_has_every_verb_and_body() -> None:
    inside = ["p<br/>core.noop", "q<br/>core.noop"]
    lines = draw(plan_of(VERBS), "mermaid").splitlines()[4:]
    shown = [line.strip() for line in lines]
    labels = [found[1] for line in shown if (found := re.search(r'"(.*)"', line))]
    assert labels == [
        *("both<br/>parallel", "left<br/>core.noop", "right", *inside),
        "poll<br/>until #123;#123; loop.index #62; 2 #125;#125;: core.noop",
        *("rows<br/>for each row, one by one", *inside),
        *("deep<br/>for each item: for each item", "each item<br/>for each item", *inside),
        *("choose<br/>switch", "0 ?<br/>flow other#64;2", "1 ?", *inside, "else<br/>wait signal go"),
        "after<br/>flow other",
    ]
    assert 'n5_[/"after<br/>flow other"/]' in shown
    arrows = [line for line in shown if "-->" in line and "|" in line]
    assert arrows == ["n0_ -->|any| n4_", "n1_ -->|any: failed| n4_", "n2_ -->|none| n5_"]


def test_dot_joins_clusters_at_their_border() -> None:
    text = draw(plan_of(NODES), "dot")
    assert text.startswith('digraph "t.drawn" {')
    assert text.count("{") == text.count("}")
    for part in (
        'n0_ [label="orders\\ncore.noop"];',
        "subgraph cluster_n1_ {",
        "n0_ -> n1_0_ [lhead=cluster_n1_];",
        "n1_1_ -> n3_ [ltail=cluster_n1_];",
        'n2_ -> n4_ [label="completed or failed"];',
    ):
        assert part in text


def boxes(text: str) -> list[tuple[float, float, float, float]]:
    root = ET.fromstring(text)
    return [
        (x, y, x + float(rect.attrib["width"]), y + float(rect.attrib["height"]))
        for rect in root.iter(f"{SVG}rect")
        for x, y in [(float(rect.attrib["x"]), float(rect.attrib["y"]))]
    ]


def test_svg_is_well_formed_and_has_every_node() -> None:
    root = ET.fromstring(draw(plan_of(NODES), "svg"))
    titles = [text.text for text in root.iter(f"{SVG}text") if text.attrib["class"] == "title"]
    assert sorted(map(str, titles)) == sorted(
        ["t.drawn", "orders", "settle", "p", "q", "each", "held ?", "rest", "group", "x"]
    )
    assert len([path for path in root.iter(f"{SVG}path") if path.attrib.get("marker-end")]) == 7


def wide(count: int) -> dict[str, Any]:
    nodes: dict[str, Any] = {f"n{i}": {"run": "core.noop"} for i in range(count)}
    return nodes | {
        "join": {"needs": list(nodes), "run": "core.noop"},
        "after": {"needs": ["join", "n0"], "do": INNER},
    }


@pytest.mark.parametrize("nodes", [NODES, VERBS, wide(1), wide(9), {"only": {"run": "core.noop"}}])
def test_svg_boxes_are_inside_or_beside_each_other(nodes: dict[str, Any]) -> None:
    found = boxes(draw(plan_of(nodes), "svg"))
    for at, (l1, t1, r1, b1) in enumerate(found):
        for l2, t2, r2, b2 in found[at + 1 :]:
            apart = r1 <= l2 or r2 <= l1 or b1 <= t2 or b2 <= t1
            inside = l1 <= l2 and t1 <= t2 and r2 <= r1 and b2 <= b1
            assert apart or inside


def test_svg_draws_what_waits_below_what_it_waits_for() -> None:
    root = ET.fromstring(draw(plan_of(wide(3)), "svg"))
    y = {text.text: float(text.attrib["y"]) for text in root.iter(f"{SVG}text")}
    assert y["n0"] == y["n1"] == y["n2"] < y["join"] < y["after"] < y["p"] < y["q"]


HOSTILE = '</text><script>alert(1)</script>" --> x\n]; \\ `;%%{init}%% |\x07'


def test_hostile_text_stays_text() -> None:
    plan = plan_of({"a": {"wait": {"for": "{{ '" + HOSTILE.replace("\\", "") + "' }}"}}})
    svg = draw(plan, "svg")
    assert "<script" not in svg
    ET.fromstring(svg)
    mermaid = draw(plan, "mermaid").splitlines()
    assert len(mermaid) == 5
    assert re.fullmatch(r'    n0_\(\["[^"`<>|%{}\\]*(<br/>)[^"`<>|%{}\\]*"\]\)', mermaid[4])
    dot = draw(plan, "dot")
    label = re.search(r'label="((?:[^"\\]|\\.)*)"', dot)
    assert label is not None
    assert dot.rstrip().endswith("}")
