"""docs/telemetry.md has every metric, span, log field and event that there is, and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from strataflow.engine.feed import EVENTS
from strataflow.engine.instruments import METRICS, SPAN_ATTRIBUTES, SPANS
from strataflow.services.log_sink import FIELDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
LAYERS = ("api", "services", "engine", "executors", "repositories")


def table(head: str) -> list[list[str]]:
    """Give the rows of the table whose first column is called `head`."""
    found = re.search(rf"^\| {head} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found is not None, head
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found[1].splitlines()]


def listed(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", cell))


def test_metrics() -> None:
    told = [
        (listed(name)[0], kind, listed(unit)[0], listed(attributes), what)
        for name, kind, unit, attributes, what in table("metric")
    ]
    assert told == [(m.name, m.kind, m.unit, m.attributes, m.description) for m in METRICS.values()]


def test_spans() -> None:
    assert {listed(name)[0]: listed(attributes) for name, attributes in table("span")} == SPANS
    assert {listed(name)[0]: says for name, says in table("attribute")} == SPAN_ATTRIBUTES
    assert {name for names in SPANS.values() for name in names} == set(SPAN_ATTRIBUTES)


def test_fields_of_logs() -> None:
    assert {listed(name)[0]: says for name, says in table("field")} == FIELDS


def test_events() -> None:
    named = {re.sub(r"^(instance|task)\.(?!progress$)\w+$", r"\1.STATE", name) for name in EVENTS}
    assert {listed(name)[0] for name, _ in table("event")} == named


@pytest.mark.parametrize("layer", LAYERS)
def test_what_records_carry_is_a_field(layer: str) -> None:
    for path in sorted((ROOT / layer).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict):
                keys = {ast.literal_eval(key) for key in node.value.keys if key is not None}
                assert keys <= set(FIELDS), f"{path.name}:{node.value.lineno}"


def test_names_follow_the_conventions() -> None:
    for metric in METRICS.values():
        assert re.fullmatch(r"(strataflow|http\.server)(\.[a-z_]+)+", metric.name)
        assert re.fullmatch(r"s|\{[a-z]+\}", metric.unit)
        assert not {"strataflow.instance.id", "strataflow.task.path"} & set(metric.attributes)


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_the_examples_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/telemetry.md", "exec"), {})
