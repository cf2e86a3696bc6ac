"""Queues as people operate them: what is where, pause, order, purge, and cancelling by id and by tag."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from strataflow import NotFound, StartOptions
from strataflow.engine.errors import Conflict, EngineError, EngineStopped, QueueFull
from strataflow.repositories import control_store
from strataflow.services import queues as queues_module
from strataflow.services.queue_order import inserted, put_before
from strataflow.services.queues import QueueService, entry_json
from tests.integration.kit import Doc, Flow, until

ONE: Doc = {"a": {"run": "t.measure", "with": {"at": "{{ instance.id }}"}}}


def service(flow: Flow) -> QueueService:
    return QueueService(flow.engine.database, flow.engine)


def stand(flow: Flow, count: int, **options: Any) -> list[str]:
    """Start runs of one task that stand in the paused queue `q`."""
    service(flow).pause("q", "test")
    return [flow.start_with(StartOptions(queue="q", **options), ONE) for _ in range(count)]


def order(flow: Flow) -> list[str]:
    return [entry.instance_id for entry in service(flow).entries("q")]


def taken(flow: Flow, ids: list[str]) -> list[str]:
    """Let the queue be taken one by one, and give the order in which that happened."""
    control_store.set_limit(flow.database, "queue:q", concurrency=1)
    service(flow).resume("q")
    for each in ids:
        flow.wait(each)
    return [config["at"] for _, _, config in flow.probe.calls]


def gone(flow: Flow, instance_id: str) -> bool:
    return flow.engine.status(instance_id).state == "cancelled"


# --- looking


@pytest.mark.row("A-26", "M-30")
def test_a_queue_says_what_is_where(flow: Flow) -> None:
    queues = service(flow)
    again = flow.start({"a": {"run": "t.fail", "with": {}, "queue": "q", "retry": {"max": 1, "delay": "1h"}}})
    until(lambda: flow.state(again, "a") == "retrying")
    later = flow.start_with(StartOptions(queue="q", start_at=7200), ONE)
    control_store.set_limit(flow.database, "queue:q", concurrency=1)
    busy = flow.start_with(StartOptions(queue="q"), {"a": {"run": "t.gate", "with": {"gate": "g"}}})
    until(lambda: flow.state(busy, "a") == "running")
    waits = flow.start_with(StartOptions(queue="q"), ONE)
    until(lambda: flow.state(waits, "a") == "blocked")
    ready = stand(flow, 2)
    seen = queues.get("q")
    assert (seen.state, seen.reason, seen.max_size) == ("paused", "test", None)
    assert (seen.ready, seen.running, seen.blocked, seen.delayed) == (2, 1, 1, 2)
    assert seen.oldest_s is not None
    assert seen.limit is not None
    assert (seen.limit.used, seen.limit.waiting, seen.limit.concurrency) == (1, 1, 1)
    assert [each.name for each in queues.list()] == ["default", "q"]
    assert [entry.instance_id for entry in queues.entries("q", state="running")] == [busy]
    assert [(e.instance_id, e.blocked_on) for e in queues.entries("q", state="blocked")] == [
        (waits, "queue:q")
    ]
    assert [entry.state for entry in queues.delayed("q")] == ["retrying", "queued"]
    assert [entry.instance_id for entry in queues.delayed("q")] == [again, later]
    assert [entry.instance_id for entry in queues.active()] == [busy]
    for each in (again, later, busy, waits, *ready):
        flow.cancel(each)


def test_entries_are_listed_in_the_order_of_claims_and_in_pages(flow: Flow) -> None:
    low, high = stand(flow, 3), stand(flow, 2, priority=5)
    expected = [*high, *low]
    assert order(flow) == expected
    first = service(flow).entries("q", limit=2)
    rest = service(flow).entries("q", limit=2, after=first[-1].cursor)
    last = service(flow).entries("q", limit=2, after=rest[-1].cursor)
    assert [e.instance_id for e in (*first, *rest, *last)] == expected
    assert entry_json(first[0], 0) | {"at": None} == {
        "entry": f"{high[0]}/a",
        "position": 0,
        "instance": high[0],
        "path": "a",
        "name": "flow",
        "executor": "t.measure",
        "state": "queued",
        "priority": 5,
        "at": None,
        "blocked_on": None,
    }
    assert [e.instance_id for e in service(flow).pending(limit=3)] == expected[:3]
    assert taken(flow, expected) == expected


def test_a_page_goes_on_among_tasks_of_the_same_instant(flow: Flow) -> None:
    service(flow).pause("q", "test")
    instance_id = flow.start({"m": {"map": list(range(7)), "do": {"run": "t.echo", "with": 1, "queue": "q"}}})
    until(lambda: service(flow).get("q").ready == 7)
    seen: list[str] = []
    page = service(flow).entries("q", limit=3)
    while page:
        seen += [entry.path for entry in page]
        page = service(flow).entries("q", limit=3, after=page[-1].cursor)
    assert seen == [f"m[{n}]" for n in range(7)]
    service(flow).resume("q")
    assert flow.wait(instance_id).state == "completed"


# --- settings


def test_a_pause_says_why_holds_and_ends(flow: Flow) -> None:
    queues = service(flow)
    (one,) = stand(flow, 1)
    assert queues.get("q").reason == "test"
    assert flow.state(one, "a") == "queued"
    resumed = queues.resume("q")
    assert (resumed.state, resumed.reason) == ("active", None)
    assert flow.wait(one).state == "completed"
    assert queues.unset("q")
    assert not queues.unset("q")


@pytest.mark.row("M-09", "X-24")
def test_a_full_queue_refuses_with_its_name_its_bound_and_what_to_do(flow: Flow) -> None:
    stand(flow, 2)
    assert service(flow).set_max_size("q", 2).max_size == 2
    with pytest.raises(QueueFull) as refused:
        flow.start_with(StartOptions(queue="q"), ONE)
    assert str(refused.value) == (
        "queue 'q' is full: it holds 2 tasks. Start it again later, or raise the bound: "
        "`strataflow queues set q --max-size N`."
    )
    assert len(order(flow)) == 2
    assert service(flow).set_max_size("q", None).max_size is None
    assert service(flow).get("q").state == "paused", "the bound is another setting"
    flow.start_with(StartOptions(queue="q"), ONE)
    service(flow).resume("q")


@pytest.mark.parametrize("name", ["", "a b", "x" * 64, "ü"])
def test_what_is_no_name_is_refused(flow: Flow, name: str) -> None:
    queues = service(flow)
    calls: list[Callable[[], Any]] = [
        lambda: queues.get(name),
        lambda: queues.pause(name),
        lambda: queues.entries(name),
        lambda: queues.purge(name),
    ]
    for call in calls:
        with pytest.raises(EngineError, match="no queue name"):
            call()


def test_without_an_engine_it_reads_and_pauses_and_moves_nothing(flow: Flow) -> None:
    ids = stand(flow, 1)
    reader = QueueService(flow.database)
    assert reader.resume("q").state == "active"
    assert flow.wait(ids[0]).state == "completed"
    with pytest.raises(EngineStopped):
        reader.purge("q")
    with pytest.raises(EngineError, match="ready, blocked, running, delayed, not 'gone'"):
        reader.entries("q", state="gone")


# --- order


@pytest.mark.row("A-26")
def test_an_entry_moves_to_the_front_and_is_taken_first(flow: Flow) -> None:
    ids = stand(flow, 4)
    assert service(flow).move("q", ids[2]).moved == 1
    expected = [ids[2], ids[0], ids[1], ids[3]]
    assert order(flow) == expected
    assert taken(flow, ids) == expected
    moves = flow.moves(ids[2], "a")
    assert moves == ["queued", "running", "completed"], "a move is no transition"


def test_an_entry_goes_before_a_higher_priority_and_behind_a_lower_one(flow: Flow) -> None:
    low, high = stand(flow, 2), stand(flow, 2, priority=9)
    service(flow).move("q", f"{low[1]}/a")
    assert order(flow) == [low[1], *high, low[0]]
    service(flow).move("q", high[0], 3)
    assert order(flow) == [low[1], high[1], low[0], high[0]]
    service(flow).move("q", low[0][:30] if low[0][:30] != low[1][:30] else low[0], 1)
    expected = [low[1], low[0], high[1], high[0]]
    assert order(flow) == expected
    assert service(flow).move("q", low[0], 1).moved == 0, "it stands there"
    assert taken(flow, expected) == expected


@pytest.mark.row("A-26")
def test_a_given_order_comes_to_the_front(flow: Flow) -> None:
    low, high = stand(flow, 3), stand(flow, 2, priority=9)
    wanted = [low[2], high[1], low[0]]
    assert service(flow).reorder("q", wanted).ignored == ()
    expected = [*wanted, high[0], low[1]]
    assert order(flow) == expected
    assert taken(flow, expected) == expected


def test_tasks_of_one_instant_can_be_put_in_any_order(flow: Flow) -> None:
    """All items of a map are ready at the same instant: there is no room between them."""
    service(flow).pause("q", "test")
    node = {"run": "t.measure", "with": {"at": "{{ item }}"}, "queue": "q"}
    instance_id = flow.start({"m": {"map": list(range(5)), "do": node}})
    until(lambda: service(flow).get("q").ready == 5)
    service(flow).move("q", f"{instance_id}/m[4]", 2)
    service(flow).reorder("q", [f"{instance_id}/m[{n}]" for n in (3, 0)])
    paths = [entry.path for entry in service(flow).entries("q")]
    assert paths == ["m[3]", "m[0]", "m[1]", "m[4]", "m[2]"]
    control_store.set_limit(flow.database, "queue:q", concurrency=1)
    service(flow).resume("q")
    flow.wait(instance_id)
    assert flow.probe.paths() == paths


def test_what_cannot_be_moved_is_said(flow: Flow) -> None:
    queues = service(flow)
    ids = stand(flow, 2)
    two = flow.start_with(StartOptions(queue="q"), ONE | {"b": ONE["a"]})
    cases: list[tuple[Callable[[], Any], type[EngineError], str]] = [
        (lambda: queues.move("q", "018f0000-0000-7000-8000-000000000009"), NotFound, "no instance"),
        (lambda: queues.move("other", ids[0]), NotFound, "does not stand ready in queue 'other'"),
        (lambda: queues.move("q", f"{ids[0]}/b"), NotFound, "does not stand ready"),
        (lambda: queues.move("q", two), Conflict, "several tasks in queue 'q': a, b"),
        (lambda: queues.move("q", ids[0], -1), EngineError, "from 0 to 1000"),
        (lambda: queues.reorder("q", [ids[0], ids[0]]), EngineError, "named twice"),
        (lambda: queues.reorder("q", ids * 501), EngineError, "at most 1000"),
    ]
    for call, kind, words in cases:
        with pytest.raises(kind, match=words):
            call()
    assert queues.reorder("q", []).moved == 0
    queues.resume("q")


def test_what_was_taken_meanwhile_is_reported(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = stand(flow, 3)
    real = queues_module.put_before

    def late(*args: Any) -> Any:
        flow.cancel(ids[2])
        return real(*args)

    monkeypatch.setattr(queues_module, "put_before", late)
    found = service(flow).reorder("q", [ids[2], ids[1]])
    assert (found.moved, found.ignored) == (1, (f"{ids[2]}/a",))
    assert order(flow) == [ids[1], ids[0]]
    taken(flow, ids)


def test_places_are_only_given_where_they_are_needed(flow: Flow) -> None:
    ids = stand(flow, 4)
    entries = service(flow).entries("q")
    assert put_before(entries, None) == []
    assert inserted(entries[3], entries[:3], 3) == []
    assert [place.entry for place in inserted(entries[3], entries[:3], 0)] == [entries[3]]
    assert [place.entry for place in inserted(entries[0], entries[1:], 3)] == [entries[0]]
    assert order(flow) == ids
    service(flow).resume("q")


# --- taking out


@pytest.mark.row("A-26", "M-30")
def test_a_purge_cancels_runs_of_one_task_and_leaves_the_others(flow: Flow) -> None:
    ids = stand(flow, 5)
    large = flow.start_with(StartOptions(queue="q"), ONE | {"b": ONE["a"]})
    later = flow.start_with(StartOptions(queue="q", start_at=3600), ONE)
    elsewhere = flow.start_with(StartOptions(queue="other", start_at=3600), ONE)
    found = service(flow).purge("q", reason="spring")
    assert (found.cancelled, found.left, found.refused) == (5, 2, {})
    assert all(gone(flow, each) for each in ids)
    assert flow.engine.status(ids[0]).reason == "spring"
    assert flow.engine.status(later).state == "queued"
    again = service(flow).purge("q", include_delayed=True)
    assert (again.cancelled, again.left) == (1, 2)
    assert gone(flow, later)
    assert flow.engine.status(elsewhere).state == "queued"
    service(flow).resume("q")
    assert flow.wait(large).state == "completed"
    flow.cancel(elsewhere)


def test_a_purge_takes_blocked_tasks_and_with_delayed_those_in_backoff(flow: Flow) -> None:
    control_store.set_limit(flow.database, "queue:q", concurrency=0)
    blocked = flow.start_with(StartOptions(queue="q"), ONE)
    until(lambda: flow.state(blocked, "a") == "blocked")
    retry = {"a": {"run": "t.fail", "with": {}, "queue": "r", "retry": {"max": 3, "delay": "1h"}}}
    backing = flow.start(retry)
    until(lambda: flow.state(backing, "a") == "retrying")
    assert service(flow).purge("q").cancelled == 1
    assert gone(flow, blocked)
    assert service(flow).purge("r").cancelled == 0
    assert service(flow).purge("r", include_delayed=True).cancelled == 1
    assert gone(flow, backing)


def test_a_long_queue_is_purged_in_pages(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strataflow.services.queue_purge._PAGE", 4)
    ids = stand(flow, 11)
    assert service(flow).purge("q").cancelled == 11
    assert all(gone(flow, each) for each in ids)
    assert service(flow).get("q").ready == 0
    service(flow).resume("q")


@pytest.mark.row("A-26")
def test_one_entry_is_removed_and_a_part_of_a_run_is_not(flow: Flow) -> None:
    ids = stand(flow, 3)
    assert service(flow).remove("q", ids[1], "wrong") == ids[1]
    assert gone(flow, ids[1])
    assert order(flow) == [ids[0], ids[2]]
    large = flow.start_with(StartOptions(queue="q"), ONE | {"b": ONE["a"]})
    with pytest.raises(Conflict, match=f"strataflow cancel {large}"):
        service(flow).remove("q", f"{large}/a")
    service(flow).resume("q")
    assert flow.wait(large).state == "completed"


def three(flow: Flow, **options: Any) -> dict[str, str]:
    """Give runs of one task in every state in which one can be cancelled."""
    service(flow).pause("q", "test")
    block = {"a": {"run": "t.block", "with": {"gate": "never"}}}
    found = {
        "running": flow.start_with(StartOptions(**options), block),
        "queued": flow.start_with(StartOptions(queue="q", **options), ONE),
        "delayed": flow.start_with(StartOptions(start_at=3600, **options), ONE),
    }
    until(lambda: flow.state(found["running"], "a") == "running" and flow.probe.calls)
    return found


@pytest.mark.row("M-07", "A-27")
def test_cancelling_by_id_reaches_queued_delayed_and_running_tasks(flow: Flow) -> None:
    found = three(flow)
    for each in found.values():
        assert service(flow).cancel(each) == "accepted"
    for each in found.values():
        assert flow.wait(each).state == "cancelled"
    assert flow.probe.cancelled == ["a"], "the running task's context saw it"
    assert len(flow.probe.calls) == 1, "the others never ran"
    for unknown in ("018f0000-0000-7000-8000-000000000009", "no id"):
        with pytest.raises(NotFound):
            service(flow).cancel(unknown)


@pytest.mark.row("M-08")
def test_cancelling_by_tag_reaches_queued_delayed_and_running_tasks_with_it_and_no_other(flow: Flow) -> None:
    red = three(flow, labels={"tag:red": "1", "tag:all": "1"})
    other = flow.start_with(StartOptions(queue="q", labels={"tag:blue": "1"}), ONE)
    odd = flow.start_with(StartOptions(queue="q", labels={"tag:red": "dark"}), ONE)
    assert list(service(flow).cancel_tag("green")) == []
    answers = list(service(flow).cancel_tag("red"))
    assert {answer.instance_id for answer in answers} == {*red.values(), odd}
    assert {answer.status for answer in answers} == {"accepted"}
    assert all(flow.wait(each).state == "cancelled" for each in red.values())
    assert flow.probe.cancelled == ["a"]
    assert flow.engine.status(other).state == "pending"
    assert list(service(flow).cancel_tag("red")) == [], "what has ended is not asked again"
    service(flow).resume("q")
    assert flow.wait(other).state == "completed"
