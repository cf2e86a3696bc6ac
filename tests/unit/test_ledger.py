"""Who gets in when limits are short, with a clock of the test's own: no engine, no database."""

from __future__ import annotations

import pytest

from strataflow.engine.limits import Counted, Kept, Ledger, Want
from strataflow.engine.plan import Rate
from strataflow.repositories.records import LimitRow

SECOND = 1_000_000


class World:
    """Counters, and what is kept of them, over many looks."""

    def __init__(self, **sizes: int) -> None:
        self.rows = {name: LimitRow(name, concurrency=size, explicit=1) for name, size in sizes.items()}
        self.kept: dict[str, Kept] = {}

    def ledger(self) -> Ledger:
        counted = Counted(self.kept)
        counted.update(self.rows)
        return Ledger(counted, lambda names: pytest.fail(f"{names} are not at hand"))

    def take(self, wants: list[Want], now: int, *, waited: bool = True) -> str | None:
        """Look once; the reason of a refusal, or None."""
        ledger = self.ledger()
        refusal = ledger.take(wants, now, waited=waited)
        ledger.commit()
        self.rows = {name: ledger.edit(name) for name in self.rows}
        return None if refusal is None else refusal.reason

    def give(self, name: str, weight: int = 1) -> None:
        self.rows[name].used -= weight


def wants(path: str, since: int, **weights: int) -> list[Want]:
    return [Want(name, weight, turn=(0, since, "i", path)) for name, weight in sorted(weights.items())]


def rounds_until_both_get_in(length: int, limit: int) -> int:
    """X and Y are used up by tasks of one length that end in turns; how many must end before one for both begins."""
    world, ends = World(x=1, y=1), {"x": length, "y": length * 3 // 2}
    for name in ends:
        assert world.take(wants(name, 0, **{name: 1}), 0) is None
    for ended in range(1, limit):
        name, now = min(ends.items(), key=lambda each: each[1])
        del ends[name]
        world.give(name)
        if world.take(wants("both", 1, x=1, y=1), now) is None:
            return ended
        for free in {"x", "y"} - ends.keys():
            if world.take(wants(free, now, **{free: 1}), now) is None:
                ends[free] = now + length
    return limit


@pytest.mark.row("A-25")
@pytest.mark.parametrize("length", [1_000, SECOND, 3600 * SECOND])
def test_one_that_needs_two_gets_in_although_each_is_always_used_up(length: int) -> None:
    assert rounds_until_both_get_in(length, 1_000) < 30


def test_what_is_kept_for_it_is_a_fifth_of_the_time_and_only_what_it_needs() -> None:
    world = World(wide=10, x=1)
    world.rows["x"].used = 1
    idle = 0
    for now in range(1_000, 1_000_000, 1_000):
        assert world.take(wants("both", 1, wide=1, x=1), now) is not None
        world.rows["wide"].used = 9
        idle += world.take(wants("late", now, wide=1), now) is not None
        world.rows["wide"].used = 8
        assert world.take(wants("late", now, wide=1), now) is None  # the other one is anybody's
    assert 100 < idle < 300


def test_nobody_behind_a_heavy_one_gets_in_until_it_has() -> None:
    world = World(gpu=4)
    world.rows["gpu"].used = 4
    assert world.take(wants("heavy", 5, gpu=3), 10, waited=False) == "gpu: 4 of 4 in use"
    for now, used in ((20, 3), (30, 2)):
        world.rows["gpu"].used = used
        assert (world.take(wants("heavy", 5, gpu=3), now) or "").endswith("in use")
        light = world.take(wants("light", 7, gpu=1), now)
        assert light == f"gpu: {used} of 4 in use, 3 kept for one that waits longer"
    assert world.take(wants("older", 4, gpu=1), 40) is None  # who waits longer still is not held up
    world.rows["gpu"].used = 1
    assert world.take(wants("heavy", 5, gpu=3), 50) is None
    assert world.kept == {}
    world.give("gpu")
    assert world.take(wants("light", 7, gpu=1), 60) is None


def test_what_is_kept_for_one_that_is_gone_is_given_up() -> None:
    world = World(gpu=4)
    world.rows["gpu"].used = 3
    assert world.take(wants("heavy", 5, gpu=3), 10) is not None
    assert world.take(wants("light", 7, gpu=1), 5 * SECOND) is not None
    assert world.take(wants("light", 7, gpu=1), 6 * SECOND) is None


@pytest.mark.parametrize("weight", [5, 6])
def test_nothing_is_kept_for_what_can_never_fit(weight: int) -> None:
    world = World(gpu=4)
    assert world.take(wants("never", 5, gpu=weight), 10) == f"it needs {weight} of gpu, which has 4"
    assert world.take(wants("light", 7, gpu=1), 20) is None


def test_a_newcomer_waits_behind_others_and_asks_for_a_look_at_the_line() -> None:
    world = World(x=2)
    world.rows["x"].waiting = 1
    ledger = world.ledger()
    refusal = ledger.take(wants("new", 5, x=1), 10, waited=False)
    assert refusal is not None
    assert refusal.reason == "x: 1 wait before it"
    assert ledger.freed == {"x"}


def test_a_rate_keeps_no_room_and_gives_each_a_place_in_time() -> None:
    world = World(r=1)
    world.rows["r"].explicit = 0
    wanted = [Want("r", rate=Rate(10, SECOND, 1), turn=(0, 1, "i", "a"))]
    assert world.take(wanted, 1) is None
    refusal = world.ledger().take(wanted, 2, waited=True)
    assert refusal is not None
    assert refusal.until == 2 + SECOND // 10
    assert world.kept == {}


def test_what_one_instance_gives_back_another_takes_in_the_next_transaction() -> None:
    """The journal of a transaction is written instance by instance, in an order of its own."""
    counted = Counted({})
    counted["x"] = LimitRow("x", concurrency=1, explicit=1, used=1, waiting=1)

    def fold() -> Ledger:
        return Ledger(counted, lambda names: pytest.fail(f"{names} are not at hand"))

    giver, taker = fold(), fold()
    giver.give([("x", 1)], 5)
    assert giver.take(wants("mine", 1, x=1), 5, waited=True) is None  # in one instance it is in order
    giver.give([("x", 1)], 6)
    assert giver.commit() == ["x"]
    assert giver.freed == {"x"}
    assert taker.take(wants("theirs", 1, x=1), 7, waited=True) is not None
    assert counted.final("x").used == 0
