"""A ready task gets another place in its queue: on its row alone, with no transition, whatever else the batch does."""

from __future__ import annotations

from strataflow.engine.events import Claim, MoveTask, StartInstance
from strataflow.engine.outcomes import Payload
from strataflow.repositories.records import TaskState
from tests.unit.world import INSTANCE, World, plan_of, run


def world() -> World:
    made = World(plan_of({"a": run(), "b": run()}))
    made.start()
    return made


def test_a_queued_task_takes_priority_and_place_and_leaves_no_row_in_the_journal() -> None:
    made = world()
    before = len(made.journal)
    found = made.step(MoveTask(INSTANCE, "a", 9, 17))
    assert [answer.status for answer in found.results if not isinstance(answer, Exception)] == ["accepted"]
    assert (made.tasks["a"].priority, made.tasks["a"].ready_at) == (9, 17)
    assert (made.tasks["b"].priority, len(made.journal)) == (0, before)


def test_what_is_not_queued_is_left_as_it_is() -> None:
    made = world()
    made.step(Claim(INSTANCE, "a"), slots=1)
    row = made.tasks["a"].copy()
    found = made.step(MoveTask(INSTANCE, "a", 9, 17), MoveTask(INSTANCE, "nobody", 9, 17))
    assert [getattr(answer, "status", None) for answer in found.results] == ["ignored", "ignored"]
    assert (made.tasks["a"], found.changes.moved) == (row, [])


def test_a_task_moved_and_claimed_in_one_batch_keeps_its_priority() -> None:
    made = world()
    found = made.step(MoveTask(INSTANCE, "a", 9, 17), Claim(INSTANCE, "a"), slots=1)
    row = made.tasks["a"]
    assert (row.state, row.priority, row.ready_at) == (TaskState.RUNNING, 9, None)
    assert [moved.ready_at for moved in found.changes.moved] == [None], "it is not made ready again"


def test_the_last_of_two_places_counts_and_is_written_once() -> None:
    made = world()
    found = made.step(MoveTask(INSTANCE, "a", 9, 17), MoveTask(INSTANCE, "a", -1, 3))
    assert (made.tasks["a"].priority, made.tasks["a"].ready_at) == (-1, 3)
    assert len(found.changes.moved) == 1


def test_a_start_and_a_move_may_share_a_batch() -> None:
    made = World(plan_of({"a": run()}))
    made.step(StartInstance(INSTANCE, "d", Payload("{}")), MoveTask(INSTANCE, "a", 5, 2))
    assert (made.tasks["a"].priority, made.tasks["a"].ready_at) == (5, 2)


def test_an_instance_that_is_not_there_ignores_it() -> None:
    found = World(plan_of({"a": run()})).step(MoveTask(INSTANCE, "a", 5, 2))
    assert [getattr(answer, "status", None) for answer in found.results] == ["ignored"]
