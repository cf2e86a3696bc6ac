"""docs/dsl.md is run, not only read: every example goes to its end on both databases."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.kit import Doc, Flow, until

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "dsl.md").read_text(encoding="utf-8")
EXAMPLES: list[Doc] = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
#: Examples about what goes wrong end as they say.
ENDS = {"docs.on_error": {"completed", "failed"}, "docs.retry": {"completed", "failed"}}
OUTPUTS: dict[str, Any] = {
    "docs.loop": {"poll": {"done": True}, "each": ["a0", "b1"], "sum": [0, 1, 3, 6]},
    "docs.parallel": {"ship": 3},
}
SAMPLES: dict[str, Any] = {
    "string": "x",
    "integer": 1,
    "number": 1,
    "boolean": True,
    "array": [],
    "object": {},
}


def inputs_for(document: Doc) -> Doc:
    """Make up what an example requires and gives no default for."""
    schema = document.get("inputs") or {}
    return {name: sample(schema["properties"][name]) for name in schema.get("required", [])}


def sample(schema: Doc) -> Any:
    if schema.get("format") == "date":
        return "2027-01-31"
    return schema.get("enum", [SAMPLES[schema["type"]]])[0]


def signals_of(document: Doc) -> set[str]:
    return set(re.findall(r'"signal": "(\w+)"', json.dumps(document)))


@pytest.mark.parametrize("document", EXAMPLES, ids=lambda document: document["name"])
def test_examples_run_to_their_end(flow: Flow, document: Doc) -> None:
    for each in EXAMPLES:
        if f'"flow": "{each["name"]}' in json.dumps(document):
            flow.engine.register(each, activate=True)
    instance_id = flow.engine.start_now(document, inputs_for(document))
    flow.started.append(instance_id)
    for name in signals_of(document):
        until(lambda: flow.engine.status(instance_id).started_at is not None)
        asyncio.run(flow.engine.signal_workflow(instance_id, name, {"approve": True, "order": 7}))
    status = flow.wait(instance_id)
    assert status.state.value in ENDS.get(document["name"], {"completed"}), status.error
    if document["name"] in OUTPUTS:
        assert status.output == OUTPUTS[document["name"]]
