"""Events that start runs: by name, by content, once per event."""

from __future__ import annotations

from typing import Any

import pytest

from strataflow import Conflict, EngineError, NotFound
from strataflow.repositories.records import InstanceState
from strataflow.services.triggers import TriggerService, TriggerSpec
from tests.integration.kit import Doc, Flow, until

INPUTS: Doc = {"type": "object", "properties": {"id": {"type": "integer"}}}
NODES: Doc = {"a": {"run": "t.echo", "with": "{{ inputs.id }}"}}


def service(flow: Flow) -> TriggerService:
    engine = flow.engine
    engine.parts.catalog.register(flow.document(NODES, inputs=INPUTS), activate=True)
    return TriggerService(engine.database, engine.parts.catalog, engine)


def spec(**more: Any) -> TriggerSpec:
    inputs = {"id": "{{ event.payload.id }}"}
    return TriggerSpec(
        **{"name": "orders", "pattern": "order.*", "definition": "flow", "inputs": inputs} | more
    )


def ended(flow: Flow, instance_id: str | None) -> Any:
    assert instance_id is not None
    until(lambda: flow.state(instance_id, "") is not None)
    flow.started.append(instance_id)
    return flow.wait(instance_id)


@pytest.mark.row("A-29")
def test_an_event_starts_what_matches_its_name(flow: Flow) -> None:
    triggers = service(flow)
    triggers.create(spec())
    triggers.create(spec(name="all", pattern="*"))
    triggers.create(spec(name="other", pattern="invoice.?"))
    found = {each.trigger: each for each in triggers.emit("order.paid", {"id": 7})}
    assert {name: each.status for name, each in found.items()} == {"orders": "started", "all": "started"}
    assert ended(flow, found["orders"].instance_id).output == {"a": 7}
    assert ended(flow, found["all"].instance_id).state is InstanceState.COMPLETED
    assert triggers.emit("shipment", {"id": 8})[0].trigger == "all"
    assert {row.name: row.runs for row in triggers.list()} == {"orders": 1, "all": 2, "other": 0}


def test_an_event_of_the_same_id_counts_once(flow: Flow) -> None:
    triggers = service(flow)
    triggers.create(spec())
    first = triggers.emit("order.paid", {"id": 1}, event_id="evt-1")[0]
    second = triggers.emit("order.paid", {"id": 1}, event_id="evt-1")[0]
    assert (first.status, second.status) == ("started", "existing")
    assert second.instance_id == first.instance_id
    ended(flow, first.instance_id)
    assert triggers.emit("order.paid", {"id": 1}, event_id="evt-1")[0].status == "existing"
    assert triggers.list()[0].runs == 1


def test_a_condition_on_the_event_decides(flow: Flow) -> None:
    triggers = service(flow)
    triggers.create(spec(match="{{ event.payload.id > 10 }}"))
    assert triggers.emit("order.paid", {"id": 3})[0].status == "unmatched"
    assert ended(flow, triggers.emit("order.paid", {"id": 30})[0].instance_id).output == {"a": 30}
    broken = triggers.emit("order.paid", {"id": "many"})[0]
    assert broken.status == "failed"
    assert triggers.list()[0].problem == broken.problem


def test_paused_triggers_let_events_pass(flow: Flow) -> None:
    triggers = service(flow)
    triggers.create(spec())
    assert triggers.pause("orders").state == "paused"
    assert triggers.emit("order.paid", {"id": 1}) == []
    triggers.resume("orders")
    ended(flow, triggers.emit("order.paid", {"id": 1})[0].instance_id)
    triggers.remove("orders")
    assert triggers.emit("order.paid", {"id": 1}) == []


def test_bad_triggers_are_refused(flow: Flow) -> None:
    triggers = service(flow)
    triggers.create(spec())
    with pytest.raises(Conflict, match="already"):
        triggers.create(spec())
    with pytest.raises(NotFound):
        triggers.create(spec(name="x", definition="nothing"))
    with pytest.raises(EngineError, match="reads 'inputs'"):
        triggers.create(spec(name="x", match="{{ inputs.id == 1 }}"))
    with pytest.raises(EngineError, match="is no expression"):
        triggers.create(spec(name="x", match="yes"))
    for match in ("{{ 5 }}", "{{ true }}", "a {{ event.name }}", "{{ event.name }}{{ event.id }}"):
        with pytest.raises(EngineError, match="is no expression on the event"):
            triggers.create(spec(name="x", match=match))
    with pytest.raises(EngineError, match=r"reads event\.amount, which an event does not have"):
        triggers.create(spec(name="x", match="{{ event.amount > 1 }}"))
    for inputs in ([1], {"nix": 1}, {"nix": "{{ event.id }}"}):
        with pytest.raises(EngineError, match=r"the inputs do not fit|inputs are an object"):
            triggers.create(spec(name="x", inputs=inputs))
    with pytest.raises(EngineError, match="no queue name"):
        triggers.create(spec(name="x", queue="a b"))
    with pytest.raises(EngineError, match="a priority is"):
        triggers.create(spec(name="x", priority=2_000_000))
    with pytest.raises(NotFound, match="there is no trigger 'x'"):
        triggers.remove("x")


@pytest.mark.parametrize(
    ("name", "event_id"), [("", None), (" ", None), ("a\n", None), ("a" * 513, None), ("a", ""), ("a", "\0")]
)
def test_an_event_without_a_name_or_with_a_strange_id_is_refused(
    flow: Flow, name: str, event_id: str | None
) -> None:
    with pytest.raises(EngineError, match="printable text of 1 to 512 characters"):
        service(flow).emit(name, event_id=event_id)
