"""Operations from a process that runs no engine: on runs that other processes hold, and while no engine runs at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from strataflow import EngineConfig, WorkflowEngine
from strataflow.repositories import engines, views
from strataflow.repositories.records import InstanceState
from tests.checker import check
from tests.integration.kit import Doc, Flow
from tests.integration.kit import until as soon
from tests.support.cli import Cli, until

pytestmark = pytest.mark.timeout(120)

NOOP: Doc = {"run": "core.noop"}
SLEEP: Doc = {"run": "core.sleep", "with": {"seconds": 3600}}


class Client:
    """A process without an engine, its requests, and what it sees in the database."""

    def __init__(self, engine: WorkflowEngine) -> None:
        self.engine = engine

    def start(self, nodes: Doc, **top: Any) -> str:
        return self.engine.start_now({"dsl": "1", "name": "t.flow", "nodes": nodes, **top})

    def do(self, operation: str, *args: Any, **more: Any) -> str:
        return asyncio.run(getattr(self.engine, operation)(*args, **more)).status

    def state(self, instance_id: str, path: str | None = None) -> str | None:
        if path is None:
            return self.engine.status(instance_id).state
        row = self.task(instance_id, path)
        return row.state.value if row is not None else None

    def task(self, instance_id: str, path: str) -> Any:
        with self.engine.database.read() as connection:
            return views.task(connection, instance_id, path)


# --- runs that engines of other processes hold


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def client(db_url: str, folder: Path) -> Iterator[Client]:
    """Give a client of this process beside two workers in processes of their own, one task at a time in each."""
    with closing(Cli(db_url, folder)) as cli:
        for _ in range(2):
            cli.spawn("worker", "--slots", "1", "--grace", "0s")
        with WorkflowEngine(db_url, config=EngineConfig(executes=False)) as engine:
            yield Client(engine)
    assert check(db_url) == []


def held_by_both(client: Client, nodes: Doc) -> list[str]:
    """Two runs, each with its task on an engine of its own."""
    ids = [client.start(nodes) for _ in range(2)]
    until(lambda: all(client.state(each, "a") == "running" for each in ids))
    holders = {client.task(each, "a").engine for each in ids}
    assert len(holders) == 2, "one slot each"
    assert client.engine.parts.engine_id not in holders
    return ids


@pytest.mark.row("X-33")
def test_cancel_reaches_the_executor_whichever_engine_holds_it(client: Client) -> None:
    ids = held_by_both(client, {"a": SLEEP})
    for each in ids:
        assert client.do("cancel_workflow", each, "not wanted") == "accepted"
    for each in ids:
        until(lambda each=each: client.state(each) == "cancelled")
        assert client.engine.status(each).reason == "not wanted"
    ids = held_by_both(client, {"a": SLEEP})  # the slots are free again
    for each in ids:
        assert client.do("cancel_workflow", each, grace_s=60) == "accepted"
        until(lambda each=each: client.state(each) == "cancelled")


@pytest.mark.row("X-33")
def test_terminate_ends_what_a_live_engine_runs_and_its_slot_is_free_again(client: Client) -> None:
    ids = held_by_both(client, {"a": SLEEP})
    assert client.do("terminate_workflow", ids[0], "enough") == "accepted"
    assert (client.state(ids[0]), client.state(ids[0], "a")) == ("cancelled", "cancelled")
    assert client.do("cancel_workflow", ids[1], grace_s=0.0) == "accepted"
    until(lambda: client.state(ids[1]) == "cancelled")
    for each in held_by_both(client, {"a": SLEEP}):  # both executors were told to stop
        client.do("terminate_workflow", each)


@pytest.mark.row("X-03", "X-32")
def test_pause_and_resume_hold_for_whichever_engine_holds_it(client: Client, folder: Path) -> None:
    wait = {"run": "shell.run", "with": {"command": f"until test -e {folder}/go; do sleep 0.02; done"}}
    ids = held_by_both(client, {"a": wait, "b": {**NOOP, "needs": ["a"]}})
    for each in ids:
        assert client.do("pause_workflow", each, "lunch") == "accepted"
        assert client.state(each) == "paused"
    (folder / "go").touch()
    for each in ids:
        until(lambda each=each: client.state(each, "a") == "completed")
        assert (client.state(each), client.state(each, "b")) == ("paused", "paused")
    for each in ids:
        assert client.do("resume_workflow", each) == "accepted"
        until(lambda each=each: client.state(each) == "completed")


@pytest.mark.row("X-18")
def test_signal_retry_and_rollback_are_done_by_other_engines(client: Client, folder: Path) -> None:
    once = {"run": "shell.run", "with": {"command": f"test -e {folder}/mended"}}
    nodes = {"s": {"wait": {"signal": "go"}}, "x": {**once, "needs": ["s"]}, "y": {**NOOP, "needs": ["x"]}}
    one = client.start(nodes)
    until(lambda: client.state(one, "s") == "waiting")
    assert client.do("signal_workflow", one, "go", {"n": 1}) == "accepted"
    until(lambda: client.state(one) == "failed")
    (folder / "mended").touch()
    assert client.do("retry_workflow", one) == "accepted"
    until(lambda: client.state(one) == "completed")
    assert (client.task(one, "s").attempt, client.task(one, "x").attempt) == (0, 2)
    assert client.do("rollback_state", one, "y") == "accepted"
    until(lambda: client.state(one) == "completed" and client.task(one, "y").attempt == 2)
    assert client.task(one, "x").attempt == 2


# --- no engine runs


def alone(flow: Flow) -> Client:
    """A client beside no engine."""
    flow.shut()
    return Client(flow.open(executes=False))


def begin(flow: Flow) -> None:
    """An engine starts: the client, which is first in line, goes."""
    flow.shut()
    flow.open()


def die(flow: Flow) -> None:
    """The engine is killed, and another one, which stops soon after, declares it dead."""
    gone = flow.engine.parts.engine_id
    flow.crash()
    assert engines.mark_dead(flow.database, gone)


def gate(name: str) -> Doc:
    return {"run": "t.gate", "with": {"gate": name}}


def echo(**more: Any) -> Doc:
    return {"run": "t.echo", "with": 1, **more}


def test_what_was_asked_while_no_engine_ran_is_done_when_one_starts(flow: Flow) -> None:
    nodes = {"a": {"wait": {"signal": "go"}}, "b": echo(needs=["a"])}
    ids = {name: flow.start(nodes) for name in ("signal", "pause", "cancel", "terminate")}
    for each in ids.values():
        soon(lambda each=each: flow.state(each, "a") == "waiting")
    failed = flow.start({"x": {"run": "t.fail", "with": {"times": 1}}, "y": echo(needs=["x"])})
    assert flow.wait(failed).state == "failed"
    client = alone(flow)
    assert client.do("signal_workflow", ids["signal"], "go") == "accepted"
    assert client.do("pause_workflow", ids["pause"]) == "accepted"
    assert client.do("signal_workflow", ids["pause"], "go") == "accepted"
    assert client.do("cancel_workflow", ids["cancel"]) == "accepted"
    assert client.do("terminate_workflow", ids["terminate"]) == "accepted"
    assert client.do("retry_workflow", failed) == "accepted"
    assert {name: client.state(each) for name, each in ids.items()} == {
        "signal": "running",
        "pause": "paused",
        "cancel": "cancelled",  # nothing of it ran: nobody had to be told
        "terminate": "cancelled",
    }
    assert client.state(failed) == "running"
    begin(flow)
    assert flow.wait(ids["signal"]).state == "completed"
    assert flow.wait(failed).state == "completed"
    assert flow.probe.attempts("x") == [1, 2]
    assert (flow.state(ids["pause"], "b"), flow.engine.status(ids["pause"]).state) == (None, "paused")
    client = alone(flow)
    assert client.do("resume_workflow", ids["pause"]) == "accepted"
    begin(flow)
    assert flow.wait(ids["pause"]).state == "completed"


@pytest.mark.parametrize(
    ("operation", "left"), [("cancel_workflow", "cancelling"), ("terminate_workflow", "cancelled")]
)
def test_what_a_dead_engine_ran_is_stopped_and_not_run_again(flow: Flow, operation: str, left: str) -> None:
    one = flow.start({"a": gate("g"), "b": echo(needs=["a"])}, **{"finally": echo()})
    soon(lambda: flow.state(one, "a") == "running")
    die(flow)
    client = alone(flow)
    assert client.do(operation, one, "not wanted") == "accepted"
    assert client.state(one) == left
    begin(flow)
    assert flow.wait(one).state == "cancelled"
    assert flow.probe.attempts("a") == [1]
    assert flow.probe.attempts("b") == []
    assert len(flow.probe.attempts("!finally")) == (1 if left == "cancelling" else 0)


def test_a_grace_that_ended_while_no_engine_ran_is_over_when_one_starts(flow: Flow) -> None:
    one = flow.start({"a": gate("g")})
    soon(lambda: flow.state(one, "a") == "running")
    die(flow)
    client = alone(flow)
    assert client.do("cancel_workflow", one, grace_s=0.001) == "accepted"
    assert client.engine.status(one).state == InstanceState.CANCELLING
    begin(flow)
    assert flow.wait(one).state == "cancelled"
