"""The examples of docs/executors.md."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from strataflow.executors.builtin import default_registry
from strataflow.executors.errors import ConfigRefused, error_from_exception
from strataflow.executors.invoke import invoke
from strataflow.executors.registry import ExecutorRegistry
from strataflow.executors.threads import WorkerThreads
from tests.unit.test_executors_base import Notes, context

PAGE = Path(__file__).parents[2] / "docs" / "executors.md"
TEXT = PAGE.read_text()


def blocks(language: str) -> list[str]:
    """Give the page's code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def registry() -> ExecutorRegistry:
    """Execute the page's Python, as one module."""
    names: dict[str, Any] = {"__name__": "executors_page"}
    for block in blocks("python"):
        exec(compile(block, str(PAGE), "exec"), names)
    found: ExecutorRegistry = names["registry"]
    return found


def run(registry: ExecutorRegistry, name: str, config: Any, notes: Notes | None = None) -> Any:
    async def main() -> Any:
        pool = WorkerThreads(1)
        try:
            return await invoke(registry.get_executor(name), context(port=notes), config, pool=pool)
        finally:
            pool.close()

    return asyncio.run(main())


def test_the_examples_run(registry: ExecutorRegistry) -> None:
    notes = Notes()
    assert run(registry, "user.creator", {"name": "ana"}, notes) == {"id": "u-ana", "plan": "free"}
    assert notes.lines == [("info", "creating ana")]
    assert len(run(registry, "user.report", {"day": "2026-01-01"}, notes)) == 3
    assert notes.progressed[-1] == (1.0, "writing")
    assert run(registry, "user.mailer", {"to": "a@b"}) == {"position": 1}
    assert run(registry, "shop.open", None) == "open"
    with pytest.raises(ConfigRefused, match="'to' is no address"):
        run(registry, "user.mailer", {"to": "nobody"})


@pytest.mark.parametrize(
    ("amount", "codes"), [(101, ["Declined", "CardError"]), (-1, ["Negative", "NonRetryable"])]
)
def test_the_errors_have_the_codes_of_the_table(
    registry: ExecutorRegistry, amount: int, codes: list[str]
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # every class is looked at
        run(registry, "user.charge", {"amount": amount})
    error = error_from_exception(caught.value, "user")
    assert error.codes == tuple(f"user.{code}" for code in codes)
    assert not error.retryable


@pytest.mark.parametrize("block", blocks("json"))
def test_the_nodes_are_valid(registry: ExecutorRegistry, block: str) -> None:
    node = json.loads(block)
    known = registry if node["run"].startswith("user.") else default_registry(entry_points=False)
    assert known.config_problems(node["run"], node["with"]) == []


def test_every_field_of_the_built_in_executors_is_told() -> None:
    section = TEXT.partition("## Built-in executors")[2]
    for entry in default_registry(entry_points=False).list_executors():
        assert f"`{entry.name}`" in section
        for field in entry.config_schema.get("properties", {}):
            assert f"`{field}`" in section, f"{field} of {entry.name}"
