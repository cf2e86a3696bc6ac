"""The two transition tables: the full product of states and events, the published page, and every arrow taken."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from strataflow.engine.draft import Draft, Snapshot, Terms
from strataflow.engine.errors import IllegalTransition
from strataflow.engine.events import (
    CancelInstance,
    ChildEnded,
    Claim,
    ExecutorMissing,
    LeaseExpired,
    PauseInstance,
    ResumeInstance,
    RollbackInstance,
    StartInstance,
    TerminateInstance,
    WakeInstance,
)
from strataflow.engine.outcomes import (
    Cancelled,
    Expanded,
    Failed,
    Payload,
    Released,
    Skipped,
    Started,
    Suspended,
)
from strataflow.engine.states import (
    INSTANCE_TRANSITIONS,
    TASK_TRANSITIONS,
    InstanceEvent,
    TaskEvent,
    next_instance_state,
    next_task_state,
    state_machine_page,
)
from strataflow.executors.base import TaskError
from strataflow.repositories.records import (
    TERMINAL_INSTANCE_STATES,
    TERMINAL_TASK_STATES,
    InstanceState,
    TaskState,
)
from tests.support import rows
from tests.unit.test_cascades import mapped
from tests.unit.test_decide import GROUP, HOLDS, RUN, SECOND, WAIT, started, world
from tests.unit.world import INSTANCE, ME, OTHER, Doc, World, run, text

PAGE = Path(__file__).resolve().parents[2] / "docs" / "state-machine.md"
FATAL = Failed(TaskError("t.E", "broken", retryable=False))
Arrow = tuple[str | None, str, bool]

TASK_PRODUCT = list(itertools.product([None, *TaskState], TaskEvent))
INSTANCE_PRODUCT = list(itertools.product([None, *InstanceState], InstanceEvent))


def label(pair: object) -> str:
    return str(pair)


@pytest.mark.row("X-05")
def test_the_tables_name_every_state_and_nothing_else() -> None:
    assert set(TASK_TRANSITIONS) == {None, *TaskState}
    assert set(INSTANCE_TRANSITIONS) == {None, *InstanceState}


@pytest.mark.row("X-05")
@pytest.mark.parametrize(("state", "event"), TASK_PRODUCT, ids=label)
def test_a_task_takes_what_the_table_lists_and_refuses_the_rest(
    state: TaskState | None, event: TaskEvent
) -> None:
    target = TASK_TRANSITIONS[state].get(event)
    if target is not None:
        assert next_task_state(state, event) is target
        return
    with pytest.raises(IllegalTransition) as caught:
        next_task_state(state, event, label="the task")
    assert (caught.value.entity, caught.value.state, caught.value.event) == ("task", state or "absent", event)
    assert caught.value.id == "the task"


@pytest.mark.row("X-05")
@pytest.mark.parametrize(("state", "event"), INSTANCE_PRODUCT, ids=label)
def test_an_instance_takes_what_the_table_lists_and_refuses_the_rest(
    state: InstanceState | None, event: InstanceEvent
) -> None:
    target = INSTANCE_TRANSITIONS[state].get(event)
    if target is not None:
        assert next_instance_state(state, event) is target
        return
    with pytest.raises(IllegalTransition):
        next_instance_state(state, event)


@pytest.mark.row("X-05")
@pytest.mark.parametrize(("state", "event"), TASK_PRODUCT, ids=label)
def test_a_refused_move_changes_neither_row_nor_journal(state: TaskState | None, event: TaskEvent) -> None:
    if state is None or event in TASK_TRANSITIONS[state]:
        return
    row = rows.task(1, "a", state)
    snapshot = Snapshot(rows.instance(1), {"a": row.copy()})
    draft = Draft(started(RUN).plan, snapshot, Terms(now=1, engine=ME))
    with pytest.raises(IllegalTransition):
        draft.move(draft.known("a"), event, "test")
    changes = draft.finished()
    assert not [name for name, written in changes.parts() if written]
    assert draft.known("a") == row


def test_terminal_states_lead_only_to_a_new_generation() -> None:
    tasks = {event for state in TERMINAL_TASK_STATES for event in TASK_TRANSITIONS[state]}
    instances = {event for state in TERMINAL_INSTANCE_STATES for event in INSTANCE_TRANSITIONS[state]}
    assert (tasks, instances) == ({TaskEvent.REOPEN}, {InstanceEvent.ROLLBACK})


@pytest.mark.row("X-05")
def test_the_published_page_is_the_tables() -> None:
    assert PAGE.read_text() == state_machine_page(), (
        "docs/state-machine.md is stale: run `python -m strataflow.engine.states > docs/state-machine.md`"
    )


# --- every arrow


def every_arrow() -> set[Arrow]:
    """Give what the tables allow, as (from, to, is an instance's)."""
    tasks = {(s, str(t), False) for s, row in TASK_TRANSITIONS.items() for t in row.values()}
    instances = {(s, str(t), True) for s, row in INSTANCE_TRANSITIONS.items() for t in row.values()}
    return {(str(source) if source else None, target, kind) for source, target, kind in tasks | instances}


def pending_ends() -> list[World]:
    """A task that awaits several dependencies: claimed, queued, entered, skipped, cancelled."""
    worlds: list[World] = []
    for terms, last in (({"slots": 1}, text("1")), ({}, text("1")), ({}, Skipped())):
        it = started({"a": run(), "b": run(), "c": run(needs=["a", "b"])})
        it.end("a")
        it.end("b", last, **terms)
        worlds.append(it)
    it = started({"a": run(), "b": run(), "g": {"do": {"nodes": {"c": run()}}, "needs": ["a", "b"]}})
    it.end("a")
    it.end("b")
    worlds.append(it)
    it = started({"a": run(), "b": run(), "c": run(needs=["a", "b"])})
    it.end("a")
    it.end("b", FATAL)
    worlds.append(it)
    return worlds


def running_ends() -> list[World]:
    """Every end of an attempt, and what follows a retry."""
    outcomes = (text("1"), FATAL, Cancelled(), Skipped(), Released(), Failed(TaskError("t.E", "x")))
    worlds = [started(RUN) for _ in outcomes]
    for it, outcome in zip(worlds, outcomes, strict=True):
        it.end("a", outcome)
    for slots in (0, 1):
        it = started(RUN)
        it.end("a", Failed(TaskError("t.E", "x")))
        it.now += 2 * SECOND
        it.timers(slots=slots)
        worlds.append(it)
    lost = started(RUN)
    lost.step(LeaseExpired(INSTANCE, "a", 1, ME), engine=OTHER)
    lost.step(Claim(INSTANCE, "a"), slots=1)
    return [*worlds, lost]


def scopes() -> list[World]:
    """Groups, maps and waits: entered, suspended, evaluated, failed, cancelled."""
    group = started(GROUP)
    group.step(group.ended("a", Skipped()))
    worlds = [group]
    for executes in (True, False):
        it = started({"w": WAIT["a"] | {"output": "{{ inputs.x }}"}})
        it.end("w", Suspended(SECOND))
        it.now += 2 * SECOND
        it.timers(executes=executes)
        worlds.append(it)
        it = started(WAIT)
        it.end("a", Suspended(SECOND))
        it.now += 2 * SECOND
        it.timers(executes=executes)
        worlds.append(it)
    failed = started({"m": mapped(), "g": {"do": {"nodes": {"a": run()}}}})
    failed.end("m", Expanded(1, ("[1]",)), slots=1)
    failed.end("m[0]", FATAL)
    return [*worlds, failed]


def cancels() -> list[World]:
    """A cancel meets tasks and instances in every state."""
    worlds: list[World] = []
    queued = world({"a": run(), "b": run()})
    queued.start(executes=False)
    queued.step(CancelInstance(INSTANCE, "x"))
    for outcome in (None, Failed(TaskError("t.E", "x"))):
        it = started({"a": run(retry={"max": 1}), "w": WAIT["a"], "z": run(needs=["a", "w"])})
        it.end("w", Suspended(SECOND))
        if outcome:
            it.end("a", outcome)
        it.step(CancelInstance(INSTANCE, "x"))
        for path in it.having(TaskState.RUNNING):
            it.end(path, Released())
        worlds.append(it)
    return [queued, *worlds]


def others() -> list[World]:
    """What nobody can execute, and an instance that has nothing to claim."""
    it = started(RUN, slots=0)
    it.step(ExecutorMissing(INSTANCE, "a", "t.x"))
    skipped = world({"a": run(**HOLDS), "b": run(needs=["a"])})
    skipped.start(slots=1)
    skipped.end("a", Skipped())
    return [it, skipped]


def paused(it: World) -> World:
    """Pause an instance."""
    it.step(PauseInstance(INSTANCE, "x"))
    return it


def pauses() -> list[World]:
    """Tasks that become ready, or are met by a claim, while the instance is paused; resumed, ended, cancelled."""
    worlds: list[World] = []
    for resume in (True, False):
        it = paused(started({"a": run(retry={"max": 1}), "b": run(), "c": run(needs=["a", "b"])}))
        it.end("a", text("1"))
        it.end("b", text("1"))
        it.step(ResumeInstance(INSTANCE, "x") if resume else CancelInstance(INSTANCE, "x"), slots=1)
        worlds.append(it)
    it = paused(started({"a": run(), "b": run(needs=["a"])}))
    it.end("a", text("1"))
    it.step(ResumeInstance(INSTANCE, "x"))
    retrying = started(RUN)
    retrying.end("a", Failed(TaskError("t.E", "x")))
    paused(retrying).now += 2 * SECOND
    retrying.timers()
    queued = world(RUN)
    queued.start(executes=False)
    paused(queued).step(Claim(INSTANCE, "a"), slots=1)
    waiting = started(WAIT | {"w": WAIT["a"] | {"output": "{{ inputs.x }}"}})
    waiting.end("w", Suspended(SECOND))
    paused(waiting).now += 2 * SECOND
    waiting.timers()
    ends = [paused(started(RUN)) for _ in range(2)]
    for it_ends, outcome in zip(ends, (text("1"), FATAL), strict=True):
        it_ends.end("a", outcome)
    return [*worlds, it, retrying, queued, waiting, *ends]


def rollbacks() -> list[World]:
    """Ended instances are taken back, with tasks in every terminal state."""
    worlds = [
        started({"a": run()}),
        started({"a": run(), "b": run(needs=["a"])}),
        started({"a": run(), "b": run()}),
    ]
    worlds[0].end("a", text("1"))
    worlds[1].end("a", Skipped())
    worlds[2].end("a", FATAL)
    worlds[2].end("b", text("1"))
    stopped = started({"a": run(), "b": run()}, slots=1)
    stopped.step(CancelInstance(INSTANCE, "x"))
    stopped.end("a", Released())
    for it in [*worlds, stopped]:
        it.step(RollbackInstance(INSTANCE, "x", ("a",)))
    return [*worlds, stopped]


HANDLED: Doc = {"on_error": [{"output": 1}]}


def handled() -> list[World]:
    """Rows that fail in every state and have a handler, or a deadline."""
    worlds: list[World] = []
    for outcome in (text("2"), FATAL):
        it = started({"a": run(**HANDLED)})
        it.end("a", FATAL)
        it.end("a", outcome)
        worlds.append(it)
    missing = started({"a": run(**HANDLED)}, slots=0)
    missing.step(ExecutorMissing(INSTANCE, "a", "t.x"))
    worlds.append(missing)
    for extra in (HANDLED, {}):
        late = started(
            {
                "a": run(retry={"max": 3, "delay": "5s"}, deadline="9s", **extra),
                "b": run(deadline="8s", **extra),
            },
            slots=1,
        )
        late.end("a", Failed(TaskError("t.E", "x")))
        late.now += 10 * SECOND
        late.timers()
        worlds.append(late)
        held = paused(started({"a": run(deadline="9s", **extra), "b": run()}, slots=0))
        held.step(Claim(INSTANCE, "a"), slots=1)
        held.now += 10 * SECOND
        held.timers()
        worlds.append(held)
    group = started({"g": {"do": {"nodes": {"a": run()}}, **HANDLED}})
    group.end("g.a", FATAL)
    return [*worlds, group]


def compensated() -> list[World]:
    """A definition that undoes what it did: handled, failed, terminated."""
    worlds: list[World] = []
    for entry in ({"undo": True}, {"undo": True, "output": 1}, {"undo": True}):
        it = world({"a": run(undo=run()), "b": run(needs=["a"])}, on_error=[entry])
        it.start(slots=1)
        it.end("a", text("1"), slots=1)
        it.end("b", FATAL, slots=1)
        assert it.state("a!undo") == "running"
        worlds.append(it)
    worlds[0].end("a!undo", text("1"))
    worlds[1].end("a!undo", text("1"))
    worlds[1].end("", text("1"))
    for _ in range(2):
        worlds[2].step(TerminateInstance(INSTANCE, "x"))
    cancelled = started({"a": run(), "b": run()})
    cancelled.step(CancelInstance(INSTANCE, "x"))
    cancelled.step(TerminateInstance(INSTANCE, "x"))
    return [*worlds, cancelled]


def queued_starts() -> list[World]:
    """Starts that wait for their time or their mutex, begin, expire, or are cancelled."""
    worlds = [world(RUN) for _ in range(4)]
    at = worlds[0].now
    for it in worlds[:3]:
        it.step(StartInstance(INSTANCE, "d", Payload("{}"), start_at=at + SECOND, expires_at=at + 9 * SECOND))
    worlds[0].now += 2 * SECOND
    worlds[0].timers(slots=1)
    worlds[1].now += 20 * SECOND
    worlds[1].timers()
    worlds[2].step(CancelInstance(INSTANCE, "x"))
    worlds[3].mutex = OTHER
    worlds[3].step(StartInstance(INSTANCE, "d", Payload("{}"), mutex="one", on_duplicate="queue"))
    worlds[3].mutex = None
    worlds[3].step(WakeInstance(INSTANCE))
    return worlds


def blocked() -> list[World]:
    """A limit refuses a ready task; it is let in, woken, cancelled, held, failed, handled."""
    worlds: list[World] = []
    for step in ("claim", "cancel", "hold"):
        it = _blocked({"a": run(), "b": run()})
        if step == "claim":
            it.end("a", text("1"))
            it.step(Claim(INSTANCE, "b"), slots=1)
        elif step == "cancel":
            it.step(CancelInstance(INSTANCE, "x"))
        else:
            paused(it).step(Claim(INSTANCE, "b"), slots=1)
        worlds.append(it)
    it = started({"a": run(), "b": run()}, slots=0)
    it.limit("queue:default", rate_count=1, rate_period=SECOND, burst=1)
    it.step(Claim(INSTANCE, "a"), Claim(INSTANCE, "b"), slots=2)
    it.now += 3 * SECOND
    it.timers()
    worlds.append(it)
    for extra in (HANDLED, {}):
        late = _blocked({"a": run(), "b": run(deadline="9s", **extra)})
        late.now += 10 * SECOND
        late.timers()
        worlds.append(late)
    return worlds


def _blocked(nodes: Doc) -> World:
    it = started(nodes, slots=0)
    it.limit("queue:default", concurrency=1)
    it.step(Claim(INSTANCE, "a"), Claim(INSTANCE, "b"), slots=2)
    assert (it.state("a"), it.state("b")) == ("running", "blocked")
    return it


def flows() -> list[World]:
    """A flow whose child fails is tried again with a new one."""
    it = started({"f": {"flow": "child", "retry": {"max": 1}}})
    it.end("f", Started("018f0000-0000-7000-8000-0000000000c1", "c", "child", 1, Payload("{}")))
    it.step(ChildEnded(INSTANCE, "f", "018f0000-0000-7000-8000-0000000000c1", "failed"))
    return [it]


@pytest.mark.row("X-05")
def test_every_arrow_of_the_tables_is_taken_by_decisions_and_no_other() -> None:
    worlds = [*pending_ends(), *running_ends(), *scopes(), *cancels(), *others(), *pauses(), *rollbacks()]
    worlds += [*handled(), *compensated(), *queued_starts(), *flows(), *blocked()]
    taken = set[Arrow]().union(*(it.arrows() for it in worlds))
    assert taken - every_arrow() == set()
    assert every_arrow() - taken == set()
