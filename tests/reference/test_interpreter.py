"""The reference itself: small definitions whose end can be read off the documents, and what the generator reaches."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.reference.grammar import make_case
from tests.reference.interpreter import predict
from tests.reference.joins import Join
from tests.reference.rows import Prediction, World
from tests.reference.shape import Doc
from tests.reference.test_reference import CASES, FIRST, prediction_of
from tests.reference.values import Error, Failure, evaluate

BAD = Error("ref.Red", ("ref.Warm",))
WORK: Doc = {"run": "ref.work"}


def run(nodes: Doc, *bad: str, seed: int = 0, **top: Any) -> Prediction:
    """Predict a run in which every attempt of some paths fails."""
    world = World(lambda _name, path, _attempt: BAD if path in bad else None)
    return predict({"name": "small", "nodes": nodes, **top}, {"n": 2}, world, seed)


def states(prediction: Prediction) -> dict[str, str]:
    return {path: row.state for path, row in prediction.rows.items() if path}


def test_an_unhandled_failure_stops_what_waits() -> None:
    nodes = {"a": WORK, "b": {**WORK, "needs": ["a"]}, "c": {**WORK, "needs": ["a", "b"]}}
    found = run(nodes, "b")
    assert (found.state, found.error) == ("failed", "ref.Red")
    assert states(found) == {"a": "completed", "b": "failed", "c": "cancelled"}


def test_a_failure_is_handled_where_somebody_asks_for_it() -> None:
    nodes = {
        "a": WORK,
        "b": {**WORK, "needs": [{"node": "a", "on": ["failed"]}]},
        "c": {**WORK, "needs": ["a"]},
    }
    found = run(nodes, "a")
    assert (found.state, states(found)["c"]) == ("completed", "skipped")


def test_bases_are_matched_by_handlers_and_bodies_give_the_output() -> None:
    handled = {**WORK, "on_error": [{"on": ["ref.Warm"], "do": {**WORK, "with": "{{ error.code }}"}}]}
    found = run({"a": handled}, "a")
    assert (found.output, states(found)["a!error"]) == ({"a": {"got": "ref.Red", "attempt": 1}}, "completed")


def test_a_map_of_one_at_a_time_stops_at_its_first_failure() -> None:
    found = run({"m": {"map": [1, 2, 3], "concurrency": 1, "do": WORK}}, "m[1]")
    assert (found.state, found.error) == ("failed", "join")
    assert states(found) == {"m": "failed", "m[0]": "completed", "m[1]": "failed"}


def test_schedules_differ_where_the_order_is_open() -> None:
    seen = {states(run({"a": WORK, "b": WORK}, "a", seed=seed))["b"] for seed in range(40)}
    assert seen >= {"cancelled", "completed"}


@pytest.mark.parametrize(
    ("said", "total", "ends", "verdict"),
    [
        (None, 2, [True, True], True),
        ({"tolerate": 1}, 2, [True], None),
        ({"tolerate": "34%"}, 3, [False, False], False),
        ("majority", 4, [True, True], None),
        ("50%", 3, [True, True], True),
        ("first", 3, [False, True], False),
        ("any", 0, [], False),
        ("none", 3, [], True),
        (2, 3, [False, False], False),
    ],
)
def test_joins(said: Any, total: int, ends: list[bool], verdict: bool | None) -> None:  # noqa: FBT001 - a parameter
    assert Join.of(said, total).verdict(ends) is verdict


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ n + 1 }}", 3),
        ("{{ n }} of {{ l }}", "2 of [1,null]"),
        ("{{ l.x.y | default('-') }}", "-"),
        ("{{ n == 2 }}", True),
        ({"a": ["{{ none_such | default(null) }}"]}, {"a": [None]}),
    ],
)
def test_expressions(template: Any, value: Any) -> None:
    assert evaluate(template, {"n": 2, "l": [1, None]}) == value


def test_using_what_is_not_there_fails() -> None:
    with pytest.raises(Failure, match="expression"):
        evaluate("{{ n.x }}", {"n": 2})


REACHED = """
run set wait flow do switch loop map parallel retry undo finally
join.all join.number join.first join.none needs.any
on_error.output on_error.do on_error.continue on_error.fail on_error.nothing
on_timeout.output on_timeout.do on_timeout.continue on_timeout.fail
""".split()


def test_the_cases_reach_every_verb_and_every_handler() -> None:
    reached = Counter[str]()
    for seed in range(FIRST, FIRST + min(CASES.values())):
        reached += prediction_of(make_case(seed), 0).reached
    assert not [each for each in REACHED if not reached[each]], reached
