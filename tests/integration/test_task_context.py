"""What a task may ask of its context beside its result: children of its own, SQL that commits with its completion."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import text

from strataflow import TaskContext
from strataflow.repositories import views
from strataflow.repositories.filters import InstanceFilter
from strataflow.repositories.records import InstanceState
from tests.integration.kit import Doc, Flow, until

RUN: Doc = {"a": {"run": "x.go"}}


def executor(flow: Flow, function: Any) -> None:
    flow.registry.register_executor_domain("x", {"go": function})


def children(flow: Flow, instance_id: str) -> list[str]:
    with flow.database.read() as connection:
        found = views.instances(connection, where=InstanceFilter(parent_id=instance_id))
    flow.started += [each.id for each in found if each.id not in flow.started]
    return sorted(each.id for each in found)


def table(flow: Flow) -> None:
    with flow.database.write() as connection:
        connection.execute(text("CREATE TABLE accounts (id INTEGER PRIMARY KEY, amount INTEGER)"))
        connection.execute(text("INSERT INTO accounts VALUES (1, 100)"))


def amount(flow: Flow) -> int:
    with flow.database.read() as connection:
        return connection.execute(text("SELECT amount FROM accounts")).scalar_one()


@pytest.mark.row("M-20")
def test_a_task_starts_children_that_are_linked_to_it(flow: Flow) -> None:
    def go(ctx: TaskContext, _: Any) -> Any:
        return [ctx.spawn({"run": "t.echo"}, {"n": n}) for n in (1, 2)] + [ctx.spawn("kid", {"n": 3})]

    executor(flow, go)
    kid = {"dsl": "1", "name": "kid", "inputs": {"type": "object", "properties": {"n": {}}}}
    flow.engine.parts.catalog.register(kid | {"nodes": {"b": {"run": "t.echo", "with": "{{ inputs.n }}"}}})
    instance_id = flow.start(RUN)
    status = flow.wait(instance_id)
    assert status.output, status.error
    ids = status.output["a"]
    until(lambda: len(children(flow, instance_id)) == 3)
    assert children(flow, instance_id) == sorted(ids)
    assert [flow.wait(each).output for each in ids] == [{"n": 1}, {"n": 2}, {"b": 3}]
    with flow.database.read() as connection:
        view = views.instance(connection, ids[0])
    assert view is not None
    assert view.parent_id == instance_id


def test_a_repeated_attempt_finds_its_children(flow: Flow) -> None:
    def go(ctx: TaskContext, _: Any) -> Any:
        found = [ctx.spawn({"run": "t.echo"}, "first"), ctx.spawn({"run": "t.echo"}, "second", key="mail")]
        if ctx.attempt < 3:
            raise RuntimeError("again")
        return found

    executor(flow, go)
    instance_id = flow.start({"a": {"run": "x.go", "retry": {"max": 5, "delay": "1ms"}}})
    status = flow.wait(instance_id)
    assert status.output, status.error
    ids = status.output["a"]
    until(lambda: len(children(flow, instance_id)) == 2)
    assert children(flow, instance_id) == sorted(ids)
    for each in ids:
        assert flow.wait(each).state is InstanceState.COMPLETED
    assert len(flow.probe.calls) == 2


def test_a_child_that_cannot_be_started_is_the_tasks_failure(flow: Flow) -> None:
    def go(ctx: TaskContext, _: Any) -> Any:
        return ctx.spawn("nothing")

    executor(flow, go)
    status = flow.run(RUN)
    assert status.state is InstanceState.FAILED
    assert "there is no definition 'nothing'" in status.error["message"]


def test_own_sql_commits_with_the_completion(flow: Flow) -> None:
    def go(ctx: TaskContext, _: Any) -> Any:
        with ctx.transaction() as transaction:
            transaction.connection.execute(text("UPDATE accounts SET amount = amount - 30"))
            transaction.result({"charged": 30})
        return "not this"

    executor(flow, go)
    table(flow)
    instance_id = flow.start(RUN | {"b": {"run": "t.echo", "with": "{{ nodes.a.output.charged }}"}})
    status = flow.wait(instance_id)
    assert (status.state, status.output) == (InstanceState.COMPLETED, {"b": 30})
    assert amount(flow) == 70
    assert flow.moves(instance_id, "a") == ["running", "completed"]


def test_what_raises_inside_is_rolled_back_and_tried_again(flow: Flow) -> None:
    def go(ctx: TaskContext, _: Any) -> Any:
        with ctx.transaction() as transaction:
            transaction.connection.execute(text("UPDATE accounts SET amount = amount - 30"))
            if ctx.attempt == 1:
                raise RuntimeError("no")

    executor(flow, go)
    table(flow)
    status = flow.run({"a": {"run": "x.go", "retry": {"max": 1, "delay": "1ms"}}})
    assert status.state is InstanceState.COMPLETED
    assert amount(flow) == 70


def test_who_no_longer_holds_the_task_changes_nothing(flow: Flow) -> None:
    entered, go_on = flow.probe.gate("entered"), flow.probe.gate("on")
    seen: list[str] = []

    def go(ctx: TaskContext, _: Any) -> Any:
        entered.set()
        go_on.wait(20)
        try:
            with ctx.transaction() as transaction:
                transaction.connection.execute(text("UPDATE accounts SET amount = 0"))
        except Exception as exc:
            seen.append(type(exc).__name__)
            raise

    executor(flow, go)
    table(flow)
    instance_id = flow.start(RUN)
    entered.wait(20)
    from asyncio import run

    run(flow.engine.terminate_workflow(instance_id))
    assert flow.wait(instance_id).state is InstanceState.CANCELLED
    go_on.set()
    until(lambda: seen)
    assert seen == ["StaleLease"]
    assert amount(flow) == 100


@pytest.mark.row("M-18")
def test_progress_is_clamped_and_visible_while_the_task_runs(flow: Flow) -> None:
    step, on = flow.probe.gate("step"), flow.probe.gate("on")

    def go(ctx: TaskContext, _: Any) -> Any:
        ctx.progress(-3.0, "begun")
        time.sleep(0.15)
        ctx.progress(0.5, "half")
        step.set()
        on.wait(20)
        ctx.progress(7.0, "done")

    def seen() -> list[tuple[float, str | None]]:
        with flow.database.read() as connection:
            return [(row.fraction, row.message) for row in views.progress(connection, instance_id)]

    executor(flow, go)
    instance_id = flow.start(RUN)
    until(lambda: seen() == [(0.0, "begun")])
    step.wait(20)
    until(lambda: seen() == [(0.5, "half")])
    on.set()
    flow.wait(instance_id)
    assert seen() == [(1.0, "done")]
