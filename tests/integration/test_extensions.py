"""Node types, claim strategies, hooks and metrics from outside."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from strataflow import DefinitionError, RunHooks, StartOptions, TaskContext
from strataflow.engine.strategy import FairShare
from strataflow.executors.domain import ExecutorDomain
from strataflow.repositories import control_store
from strataflow.repositories.records import InstanceState
from tests.integration.kit import Doc, Flow

EXAMPLE = Path(__file__).parents[2] / "examples" / "extensions" / "approvals.py"


@pytest.mark.row("X-43")
def test_the_example_of_all_extension_points() -> None:
    told = runpy.run_path(str(EXAMPLE))["main"]()
    assert told["output"] == "completed"
    assert told["metric"] == {"purchase completed": 1}
    each = [f"{when} {node}" for node in ("prepare", "order") for when in ("before", "success", "after")]
    assert told["hooks"] == each


class Told(RunHooks):
    def __init__(self) -> None:
        self.calls: list[tuple[str, str, int]] = []

    def _note(self, what: str, ctx: TaskContext) -> None:
        self.calls.append((what, ctx.path, ctx.attempt))

    async def before_task_run(self, ctx: TaskContext) -> None:
        self._note("before", ctx)
        raise RuntimeError("a hook that fails does no harm")

    def after_task_success(self, ctx: TaskContext, result: Any) -> None:
        self._note(f"success {result}", ctx)

    def after_task_failure(self, ctx: TaskContext, error: BaseException) -> None:
        self._note(f"failure {type(error).__name__}", ctx)

    def after_task_run(self, ctx: TaskContext) -> None:
        self._note("after", ctx)


@pytest.mark.row("A-31")
def test_hooks_are_called_once_around_every_attempt(flow: Flow) -> None:
    told = Told()
    flow.open(hooks=told)
    nodes: Doc = {
        "a": {"run": "t.fail", "with": {"times": 1}, "retry": {"max": 1, "delay": "1ms"}},
        "b": {"run": "core.noop", "with": 7, "needs": ["a"]},
    }
    assert flow.run(nodes).state is InstanceState.COMPLETED
    assert told.calls == [
        ("before", "a", 1),
        ("failure Broken", "a", 1),
        ("after", "a", 1),
        ("before", "a", 2),
        ("success 2", "a", 2),
        ("after", "a", 2),
        ("before", "b", 1),
        ("success 7", "b", 1),
        ("after", "b", 1),
    ]


def test_fair_share_takes_turns_between_queues(flow: Flow) -> None:
    engine = flow.open(strategy=FairShare(), slots=1)
    database = engine.database
    for queue in ("big", "small"):
        control_store.set_queue(database, queue, state="paused")
    measured = {"run": "t.measure", "with": {"at": "{{ instance.id }}"}}
    many = [flow.start_with(StartOptions(queue="big"), {"a": measured}) for _ in range(30)]
    few = [flow.start_with(StartOptions(queue="small"), {"a": measured}) for _ in range(3)]
    control_store.set_limit(database, "*", concurrency=1)
    for queue in ("big", "small"):
        control_store.set_queue(database, queue, state="active")
    for each in (*many, *few):
        flow.wait(each)
    order = [config["at"] for _, _, config in flow.probe.calls]
    assert max(order.index(each) for each in few) < 15


def test_a_node_type_is_written_out_before_the_check(flow: Flow) -> None:
    domain = ExecutorDomain("acme")

    @domain.node_type("twice")
    def twice(spec: Any) -> Doc:
        return {"do": {"nodes": {"one": {"acme.say": spec}, "two": {"acme.say": spec, "needs": ["one"]}}}}

    @domain.node_type("say")
    def say(spec: Any) -> Doc:
        return {"run": "t.echo", "with": {"said": spec["what"]}}

    flow.registry.register_executor_domain(domain)
    inner = {"map": [1, 2], "do": {"acme.say": {"what": "{{ item }}"}}}
    status = flow.run({"a": {"acme.twice": {"what": "hello"}, "when": True}, "m": inner})
    assert status.output == {"a": {"two": {"said": "hello"}}, "m": [{"said": 1}, {"said": 2}]}
    assert sorted(flow.probe.paths()) == ["a.one", "a.two", "m[0]", "m[1]"]
    with pytest.raises(DefinitionError) as refused:
        flow.start({"a": {"do": {"nodes": {"b": {"acme.say": {}}}}}})
    (problem,) = refused.value.problems
    assert (problem.pointer, problem.code) == ("/nodes/a/do/nodes/b/acme.say", "node_type")


def test_node_types_that_write_each_other_for_ever_are_refused(flow: Flow) -> None:
    flow.registry.register_node_type("acme.ping", lambda spec: {"acme.pong": spec})
    flow.registry.register_node_type("acme.pong", lambda spec: {"acme.ping": spec})
    flow.registry.register_node_type("acme.none", lambda _: [])  # pyright: ignore[reportArgumentType] - the wrong kind
    with pytest.raises(DefinitionError, match="for ever"):
        flow.start({"a": {"acme.ping": 1}})
    with pytest.raises(DefinitionError, match="gave no node"):
        flow.start({"a": {"acme.none": 1}})
