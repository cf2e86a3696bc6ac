"""The use cases without a command line: what went into a task, what can be asked, what a live view costs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from strataflow import DefinitionError, InputError, NotFound, TaskContext, WorkflowEngine
from strataflow.engine.errors import EngineError, EngineStopped
from strataflow.executors.builtin import default_registry
from strataflow.repositories import views
from strataflow.repositories.records import InstanceState, TaskState
from strataflow.services.container import Options, Services, offline, reading, running
from strataflow.services.documents import definitions_in
from strataflow.services.execution_service import ExecutionService
from strataflow.services.inputs_view import InputsView

ANY = {"type": "object", "additionalProperties": True}
NOOP = {"run": "core.noop"}


def doc(nodes: Any, **fields: Any) -> dict[str, Any]:
    return {"dsl": "1", "name": "t.service", "nodes": nodes, **fields}


def echo(value: Any, **fields: Any) -> dict[str, Any]:
    return {"run": "core.noop", "with": value, **fields}


@pytest.fixture
def services(db_url: str) -> Iterator[Services]:
    with running(Options(url=db_url, executes=True)) as made:
        yield made


def finish(services: Services, definition: dict[str, Any], inputs: Any = None) -> str:
    instance_id = services.executions.start(definition, inputs)
    assert services.executions.wait(instance_id, 30)
    return instance_id


def inputs_of(services: Services, instance_id: str) -> dict[str, Any]:
    return {task.path: task.input for task in services.executions.tasks(instance_id)}


# --- the input of a task


def test_input_is_what_the_executor_got(services: Services) -> None:
    inner = {
        "nodes": {
            "p": echo({"x": "{{ x }}", "i": "{{ at }}", "of": "{{ total }}"}),
            "q": echo("{{ nodes.p.output.x }}"),
        }
    }
    nodes = {
        "a": echo({"text": "n is {{ inputs.n }}", "big": 10**30, "none": None, "plain": [1, {"k": "v"}]}),
        "m": {"map": "{{ inputs.list }}", "as": "x", "index": "at", "do": inner},
        "t": echo("{{ task.path }}/{{ task.attempt }}/{{ task.idempotency_key }}/{{ instance.id }}"),
    }
    instance_id = finish(services, doc(nodes, inputs=ANY), {"n": 5, "list": ["u", None]})
    tasks = {task.path: task for task in services.executions.tasks(instance_id)}
    for path in ("a", "m[0].p", "m[1].p", "m[0].q", "m[1].q", "t"):
        assert tasks[path].input == tasks[path].output, path  # core.noop gives what it got
    assert tasks["m[1].p"].input == {"x": None, "i": 1, "of": 2}
    assert list(tasks["a"].input) == ["text", "big", "none", "plain"]
    assert (tasks["m"].input, tasks["m[0]"].input) == (None, None)


def test_input_of_a_variable_is_its_value_at_that_time(services: Services) -> None:
    nodes = {
        "before": echo("{{ vars.v | default('none') }}"),
        "one": {"needs": ["before"], "set": {"v": 1, "w": "{{ inputs.n }}"}},
        "read_one": echo({"v": "{{ vars.v }}", "w": "{{ vars.w }}"}, needs=["one"]),
        "two": {"needs": ["read_one"], "set": {"v": "{{ vars.v + 1 }}"}, "output": "reshaped"},
        "read_two": echo("{{ vars.v }}", needs=["two"]),
        "three": {
            "needs": ["read_two"],
            "do": {"nodes": {"s": {"set": {"v": "{{ vars.v * 10 }}"}}, "r": echo("{{ vars.v }}")}},
        },
    }
    instance_id = finish(services, doc(nodes, inputs=ANY), {"n": 7})
    got = {path: value for path, value in inputs_of(services, instance_id).items() if value is not None}
    assert got == {"before": "none", "read_one": {"v": 1, "w": 7}, "read_two": 2, "three.r": 20}


def test_input_of_variables_of_items_is_their_own(services: Services) -> None:
    inner = {"nodes": {"s": {"set": {"v": "{{ item * 2 }}"}}, "r": echo("{{ vars.v }}")}}
    instance_id = finish(services, doc({"m": {"map": [1, 2, 3], "do": inner}}))
    got = inputs_of(services, instance_id)
    assert [got[f"m[{i}].r"] for i in range(3)] == [2, 4, 6]


def test_input_is_null_where_nothing_was_evaluated(services: Services) -> None:
    nodes = {
        "skipped": echo("x", when="{{ false }}"),
        "broken": echo("{{ inputs.missing.member }}"),
        "after": echo("y", needs=["broken"]),
        "wait": {"wait": {"for": "1ms"}},
        "without": NOOP,
    }
    instance_id = finish(services, doc(nodes, inputs=ANY), {})
    assert set(inputs_of(services, instance_id).values()) == {None}


def test_input_of_a_retried_task_is_that_of_its_last_attempt(services: Services) -> None:
    retry = {"max": 2, "delay": "1ms"}
    config = {"attempts": "{{ inputs.times }}", "message": "attempt {{ task.attempt }}"}
    nodes = {"a": {"run": "core.fail", "with": config, "retry": retry}}
    instance_id = finish(services, doc(nodes, inputs=ANY), {"times": 2})
    assert inputs_of(services, instance_id) == {"a": {"attempts": 2, "message": "attempt 3"}}


def test_inputs_of_many_tasks_take_few_queries(db_url: str, services: Services) -> None:
    nodes = {
        "m": {
            "map": "{{ inputs.list }}",
            "as": "x",
            "do": echo({"x": "{{ x }}", "y": "{{ inputs.y }}"}, output=1),
        }
    }
    instance_id = finish(services, doc(nodes, inputs=ANY), {"list": list(range(450)), "y": "z" * 100_000})
    statements: list[str] = []

    def note(*args: Any) -> None:
        statements.append(args[2])

    with reading(Options(url=db_url)) as readers:
        event.listen(Engine, "before_cursor_execute", note)
        try:
            tasks = list(readers.executions.tasks(instance_id))
        finally:
            event.remove(Engine, "before_cursor_execute", note)
    assert len(tasks) == 451
    assert tasks[-1].input["y"] == "z" * 100_000
    assert len(statements) < 60


def test_inputs_of_items_of_many_pages_at_once(services: Services) -> None:
    """Tasks come by path as text: one page of them may hold items from more pages of the list than are kept."""
    count = 15_000
    nodes = {"m": {"map": "{{ inputs.list }}", "do": echo("{{ item }}")}}
    instance_id = finish(services, doc(nodes, inputs=ANY, output=1), {"list": list(range(count))})
    chosen = sorted(range(0, count, 150), key=str)
    engine = services.engine
    assert engine is not None
    with engine.database.read() as connection:
        instance = views.instance(connection, instance_id)
        rows = views.task_values(connection, instance_id, [f"m[{index}]" for index in chosen])
    assert instance is not None
    plan = engine.parts.catalog.plan(instance.definition_id)
    got = InputsView(engine.database, plan, instance).of(rows[f"m[{index}]"] for index in chosen)
    assert got == {f"m[{index}]": index for index in chosen}


# --- asking


def test_readers_and_offline_services_say_what_they_cannot_do(db_url: str) -> None:
    with reading(Options(url=db_url)) as readers, pytest.raises(EngineStopped):
        readers.executions.start(doc({"a": NOOP}))
    with pytest.raises(EngineError, match="without a database"):
        list(offline(Options()).definitions())


def test_a_reader_writes_nothing_and_registers_no_engine(db_url: str) -> None:
    with reading(Options(url=db_url)) as readers:
        list(readers.executions.instances())
        assert readers.executions.workers() == 0
        assert readers.executions.unfinished() == 0
    with running(Options(url=db_url, executes=True)) as services:
        assert services.executions.workers() == 1


def test_pages_are_put_together(db_url: str) -> None:
    with running(Options(url=db_url)) as services:
        ids = [services.executions.start(doc({"a": NOOP})) for _ in range(7)]
        assert [each.id for each in services.executions.instances()] == ids[::-1]
        assert [each.id for each in services.executions.instances(limit=3)] == ids[:-4:-1]
        assert list(services.executions.instances(state=InstanceState.FAILED)) == []
        assert [row.path for row in services.executions.pending_tasks(3)] == ["a", "a", "a"]


def test_unknown_instances_are_not_found(services: Services) -> None:
    missing = "01900000-0000-7000-8000-000000000000"
    executions = services.executions
    for ask in (
        executions.status,
        executions.live,
        lambda i: list(executions.tasks(i)),
        executions.wait,
        executions.resolve,
    ):
        with pytest.raises(NotFound):
            ask(missing)


def test_a_live_view_counts_items_and_reads_ended_nodes_once(services: Services) -> None:
    nodes = {
        "first": echo("x" * 60_000),
        "m": {
            "map": [0, 1, 2, 3],
            "join": {"tolerate": 1},
            "do": {"run": "core.fail", "with": {"attempts": "{{ 9 if item == 2 else 0 }}"}},
        },
        "hold": {"needs": ["m", "first"], "wait": {"for": "1h"}},
        "never": echo(1, needs=["hold"]),
    }
    executions = services.executions
    instance_id = executions.start(doc(nodes))
    view = executions.live(instance_id)
    found = {node.name: node for node in view.read().nodes}
    while found["hold"].state is not TaskState.WAITING:  # bounded by the test's timeout
        executions.wait(instance_id, 0.05)
        found = {node.name: node for node in view.read().nodes}
    many = found["m"]
    assert (many.total, many.done, many.failed, many.state) == (4, 3, 1, TaskState.COMPLETED)
    assert found["never"].state in {None, TaskState.PENDING}
    assert list(found) == list(nodes)
    seen: list[Any] = []

    def note(*args: Any) -> None:
        seen.append(args[3])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        view.read()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert "first" not in str(seen)
    assert "hold" in str(seen)
    executions.cancel(instance_id)
    assert executions.wait(instance_id, 30)
    assert view.read().state is InstanceState.CANCELLED


def test_a_live_view_of_many_nodes_reads_a_few_and_counts_all(services: Services) -> None:
    nodes: dict[str, Any] = {f"n{i}": echo(i) for i in range(300)}
    nodes |= {"bad": {"run": "core.fail", "with": {}}, "hold": {"wait": {"for": "1h"}}}
    nodes |= {"handled": echo(1, needs=[{"node": "bad", "on": ["failed"]}]), "never": echo(1, needs=["hold"])}
    executions = services.executions
    instance_id = executions.start(doc(nodes))
    view = executions.live(instance_id)
    snapshot = view.read()
    while snapshot.counts.get(TaskState.COMPLETED, 0) < 301:  # bounded by the test's timeout
        executions.wait(instance_id, 0.05)
        snapshot = view.read()
    assert sum(snapshot.counts.values()) == 304
    assert (snapshot.counts[TaskState.FAILED], snapshot.counts[TaskState.WAITING]) == (1, 1)
    shown = {node.name: node.state for node in snapshot.nodes}
    assert len(shown) < 50
    assert (shown["bad"], shown["hold"]) == (TaskState.FAILED, TaskState.WAITING)


def test_a_live_view_shows_what_attempts_report(db_url: str) -> None:
    registry = default_registry(entry_points=False)
    told, go = threading.Event(), threading.Event()

    def work(ctx: TaskContext, _config: Any) -> None:
        ctx.progress(0.25, "a quarter")
        told.set()
        go.wait(30)

    registry.register_executor("t.work", work)
    with WorkflowEngine(db_url, registry=registry) as engine:
        executions = ExecutionService(engine.database, engine.parts.catalog, engine)
        instance_id = executions.start(doc({"a": {"run": "t.work"}}))
        view = executions.live(instance_id)
        assert told.wait(30)
        (node,) = view.read().nodes
        while node.fraction is None:  # bounded by the test's timeout
            executions.wait(instance_id, 0.02)
            (node,) = view.read().nodes
        assert (node.fraction, node.message, node.state) == (0.25, "a quarter", TaskState.RUNNING)
        go.set()
        assert executions.wait(instance_id, 30)
        assert view.read().nodes[0].fraction is None


# --- definitions


def test_a_folder_gives_its_definitions_and_leaves_out_the_rest(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps(doc({"a": NOOP})))
    (tmp_path / "a.yml").write_text("dsl: '1'\nname: t.y\nnodes: {a: {run: core.noop}}\n")
    for name, text in {
        "c.json": "[]",
        "d.json": "{",
        "e.yaml": "a: [",
        "f.json": "{}",
        "g.txt": "{}",
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "h.json").mkdir()
    assert [path.name for path in definitions_in(tmp_path)] == ["a.yml", "b.json"]
    with pytest.raises(NotFound):
        list(definitions_in(tmp_path / "none"))


def test_require_valid_raises_with_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(doc({"a": {"run": "core.nop"}, "b": {"run": "core.sleep", "with": {}}})))
    with pytest.raises(DefinitionError) as caught:
        offline(Options()).require_valid(path)
    assert [problem.pointer for problem in caught.value.problems] == ["/nodes/a/run", "/nodes/b/with/seconds"]


def test_start_checks_inputs(services: Services) -> None:
    with pytest.raises(InputError):
        services.executions.start(doc({"a": NOOP}, inputs={"type": "object", "required": ["n"]}))


def test_an_engine_is_stopped_when_its_block_fails(db_url: str) -> None:
    def fail() -> None:
        with running(Options(url=db_url)) as services:
            kept.append(services)
            raise RuntimeError("of the caller")

    kept: list[Services] = []
    with pytest.raises(RuntimeError, match="of the caller"):
        fail()
    with pytest.raises(EngineStopped):
        kept[0].executions.start(doc({"a": NOOP}))
