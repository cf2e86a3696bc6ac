"""The eight states of tasks follow from the engine's, and nothing else follows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from strataflow import PayloadError, Task, TaskConfig, TaskState, task_builder
from strataflow.engine.errors import TaskFailure
from strataflow.engine.states import TASK_TRANSITIONS, TaskEvent
from strataflow.executors.errors import InvalidExecutor
from strataflow.repositories.records import InstanceState
from strataflow.repositories.records import TaskState as NodeState
from strataflow.services.tasks.handlers import slug_of, wrapped
from strataflow.services.tasks.records import TaskRecord
from strataflow.services.tasks.states import TERMINAL_STATES, TRANSITIONS, state_of_node, state_of_task
from strataflow.services.tasks.values import Progress

#: DESIGN section 5, in the words of the task module.
PUBLISHED = {
    "pending": "pending",
    "queued": "queued",
    "blocked": "queued",
    "running": "running",
    "waiting": "running",
    "retrying": "retrying",
    "paused": "pending",
    "completed": "succeeded",
    "skipped": "succeeded",
    "cancelled": "cancelled",
    "failed": "failed",
    "expired": "expired",
}


@pytest.mark.row("M-03")
def test_there_are_eight_states_and_four_are_terminal() -> None:
    assert sorted(TaskState) == sorted(
        "pending queued running succeeded failed retrying cancelled expired".split()
    )
    assert {state for state in TaskState if state.is_terminal} == TERMINAL_STATES
    assert {state for state, after in TRANSITIONS.items() if not after} == TERMINAL_STATES
    assert set(TRANSITIONS) == set(TaskState)


@pytest.mark.row("M-03")
def test_the_table_is_the_published_one() -> None:
    assert {state.value: state_of_node(state).value for state in NodeState} == PUBLISHED


@pytest.mark.row("M-03")
def test_every_move_of_the_engine_is_drawn() -> None:
    for before, moves in TASK_TRANSITIONS.items():
        for event, after in moves.items():
            if before is None or event in {TaskEvent.REOPEN, TaskEvent.SKIP}:
                continue  # a person's retry; a node of a task has no `when`
            if NodeState.WAITING in {before, after}:
                continue  # a node of a task has no wait, no children and no handler
            old, new = state_of_node(before), state_of_node(after)
            if (old, new) == (TaskState.PENDING, TaskState.FAILED):
                assert before is NodeState.PAUSED, "only a run that is paused by hand"
                continue
            assert old is new or new in TRANSITIONS[old], f"{old} -> {new} by {event}"


@pytest.mark.parametrize(
    ("run", "node", "expected"),
    [
        ("queued", None, "pending"),
        ("pending", "queued", "queued"),
        ("running", "queued", "queued"),
        ("running", "running", "running"),
        ("running", "retrying", "retrying"),
        ("running", None, "running"),
        ("running", "completed", "running"),
        ("cancelling", "running", "running"),
        ("paused", "queued", "pending"),
        ("completed", "completed", "succeeded"),
        ("failed", "failed", "failed"),
        ("cancelled", "cancelled", "cancelled"),
        ("expired", None, "expired"),
    ],
)
def test_a_task_stands_where_its_run_and_its_node_stand(run: str, node: str | None, expected: str) -> None:
    found = state_of_task(InstanceState(run), NodeState(node) if node else None)
    assert found == expected


def test_what_began_too_late_is_expired_and_what_ended_well_is_not() -> None:
    assert state_of_task(InstanceState.PENDING, NodeState.QUEUED, expired=True) is TaskState.EXPIRED
    assert state_of_task(InstanceState.FAILED, NodeState.FAILED, expired=True) is TaskState.EXPIRED
    assert state_of_task(InstanceState.COMPLETED, None, expired=True) is TaskState.SUCCEEDED
    assert state_of_task(InstanceState.CANCELLED, None, expired=True) is TaskState.CANCELLED


# --- config and builder


def test_the_defaults_are_those_of_the_task_module() -> None:
    config = TaskConfig()
    assert (config.timeout, config.max_retries, config.retry_delay, config.backoff) == (300.0, 3, 1.0, 2.0)
    assert (config.priority, config.queue, config.max_delay) == (5, "default", 3600.0)
    assert config.engine_priority == 0


def test_the_builder_says_what_the_config_says() -> None:
    built = (
        task_builder("mail.send")
        .payload({"to": "ana"})
        .priority("high")
        .timeout(5)
        .retries(2)
        .retry_delay(0.5)
        .backoff(3, max_delay=9)
        .jitter(0.1)
        .never_retry(KeyError, "Declined")
        .queue("mail")
        .delay(3)
        .expires_in(60)
        .tag("a")
        .tags(["b", "a"])
        .key("k")
        .build()
    )
    assert built == Task(
        "mail.send",
        {"to": "ana"},
        TaskConfig(
            priority=7,
            timeout=5,
            max_retries=2,
            retry_delay=0.5,
            backoff=3,
            max_delay=9,
            jitter=0.1,
            never=("KeyError", "Declined"),
            queue="mail",
            delay=3,
            expires=60,
            tags=("a", "b"),
            key="k",
        ),
    )
    when = datetime(2031, 1, 1)  # noqa: DTZ001 - a datetime without a zone is UTC
    assert task_builder("x").eta(when).build().config.eta == datetime(2031, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("name", ["", "  ", "a\x00", "x" * 201])
def test_a_task_without_a_usable_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        task_builder(name).build()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", 0),
        ("timeout", "soon"),
        ("max_retries", -1),
        ("max_retries", 1.5),
        ("retry_delay", -1),
        ("backoff", 0.5),
        ("backoff", float("nan")),
        ("jitter", 2),
        ("priority", "urgent"),
        ("priority", True),
        ("eta", "tomorrow"),
        ("delay", -1),
        ("expires", "soon"),
        ("queue", None),
        ("tags", [""]),
        ("tags", 3),
        ("never", [3]),
        ("key", 3),
    ],
)
def test_an_option_out_of_bounds_is_named(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option.removesuffix("s")):
        TaskConfig(**{option: value})


def test_one_name_is_not_taken_apart() -> None:
    assert TaskConfig(never=ValueError, tags="night").never == ("ValueError",)  # pyright: ignore[reportArgumentType]
    assert TaskConfig(tags="night").tags == ("night",)  # pyright: ignore[reportArgumentType]


# --- names and handlers


def test_different_names_have_different_executors() -> None:
    names = [
        "a",
        "A",
        "a.b",
        "a_b",
        "a-b",
        "a b",
        "ä",
        "1",
        "",
        "x" * 100,
        "a_x0123456789ab",
        "a_b_x" + "0" * 12,
    ]
    slugs = {slug_of(name) for name in names}
    assert len(slugs) == len(names)
    assert slug_of("send_mail") == "send_mail"
    assert slug_of("mail.send").startswith("mail_send_x")
    assert all(slug.isascii() and slug[0].isalpha() and len(slug) <= 63 for slug in slugs)


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (lambda: "none", "none"),
        (lambda payload: payload, 5),
        (lambda payload, more=1: (payload, more), (5, 1)),
        (lambda ctx, payload: (ctx.attempt, payload), (1, 5)),
        (lambda ctx, payload=None: (ctx.attempt, payload), (1, 5)),
        (lambda *given: len(given), 2),
    ],
)
def test_a_handler_gets_what_it_takes(handler: Any, expected: Any) -> None:
    executor: Any = wrapped("x", handler, lambda: None)

    class Context:
        attempt = 1

    assert executor(Context(), {"payload": 5}) == expected


@pytest.mark.parametrize(
    "handler", [3, lambda a, b, c: (a, b, c), lambda a, *, b: (a, b), object, type("T", (), {})]
)
def test_what_cannot_handle_is_refused(handler: Any) -> None:
    with pytest.raises(InvalidExecutor):
        wrapped("x", handler, lambda: None)


# --- records


RECORD = TaskRecord(
    id="01a1fd33-d996-76f8-9d8c-242cc4882b93",
    name="mail.send",
    kind="task",
    payload={"to": ["ana"], "n": 2**70},
    config=TaskConfig(
        eta=datetime(2031, 1, 1, tzinfo=UTC),
        expires=datetime(2031, 1, 2, tzinfo=UTC),
        tags=("a",),
        never=("KeyError",),
    ),
    state=TaskState.FAILED,
    attempts=4,
    created_at="2026-11-21T08:23:16.118383Z",
    started_at=None,
    ended_at=None,
    progress=Progress(0.5, "half"),
    error=TaskFailure("task.ValueError", "no", "Traceback …", 4),
)


@pytest.mark.row("M-02")
def test_a_record_survives_a_round_trip() -> None:
    assert TaskRecord.from_json(RECORD.to_json()) == RECORD
    assert RECORD.traceback == "Traceback …"
    assert RECORD.is_terminal


@pytest.mark.row("M-02")
@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"strataflow_task": 2}, "/strataflow_task"),
        ({"id": 3}, "/id"),
        ({"state": "done"}, "/state"),
        ({"attempts": True}, "/attempts"),
        ({"config": {}}, "/config"),
        ({"progress": {"how": 1}}, "/progress"),
        ({"error": {"message": "m"}}, "/error"),
        ({"created_at": "yesterday"}, "/created_at"),
        ({"more": 1}, "/more"),
        ({"name": None}, "/name"),
    ],
)
def test_bad_data_is_refused_with_its_place(change: dict[str, Any], pointer: str) -> None:
    with pytest.raises(PayloadError) as found:
        TaskRecord.from_json(json.dumps(json.loads(RECORD.to_json()) | change))
    assert found.value.pointer == pointer


@pytest.mark.row("M-02")
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3"])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(PayloadError):
        TaskRecord.from_json(text)


@pytest.mark.row("M-02")
@pytest.mark.parametrize("name", ["id", "config", "payload", "state"])
def test_a_missing_member_is_named(name: str) -> None:
    values = json.loads(RECORD.to_json())
    del values[name]
    with pytest.raises(PayloadError, match=name):
        TaskRecord.from_json(json.dumps(values))
