"""When a map's join is met or impossible, against an oracle that tries every future."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strataflow.engine.fields import percent_of
from strataflow.engine.joins import verdict
from strataflow.engine.plan import JoinRule, PlanNode
from tests.unit.world import plan_of, run

RULES: list[dict[str, Any]] = [
    {"need": "all"},
    {"need": "all", "tolerate": 1},
    {"need": "all", "tolerate": 3},
    {"need": "all", "tolerate": "25%"},
    {"need": "all", "tolerate": "100%"},
    {"need": "any"},
    {"need": 1},
    {"need": 2},
    {"need": 4},
    {"need": "1%"},
    {"need": "34%"},
    {"need": "50%"},
    {"need": "80%"},
    {"need": "100%"},
]
TOTALS = range(7)


def rule_of(join: Any) -> JoinRule:
    """Give the rule that a definition's join becomes."""
    node = plan_of({"m": {"map": [1], "do": run(), "join": join}}).nodes["m"]
    assert isinstance(node, PlanNode)
    return node.join


def share(text: Any, total: int) -> Fraction:
    """Give a number, or a percentage of the total, exactly."""
    if isinstance(text, str):
        return Fraction(text.removesuffix("%")) * total / 100
    return Fraction(text)


def met(join: dict[str, Any], total: int, good: int, bad: int) -> bool:
    """Say what the words of rule 17 say once all items ended."""
    assert good + bad == total
    if join["need"] == "all":
        return bad <= share(join.get("tolerate", 0), total) // 1
    return good >= (1 if join["need"] == "any" else share(join["need"], total))


def oracle(join: dict[str, Any], total: int, good: int, bad: int) -> str | None:
    """Give the verdict that holds in every future, or None. `all` and its tolerance wait for every item to be met."""
    futures = {met(join, total, good + more, total - good - more) for more in range(total - good - bad + 1)}
    if len(futures) > 1 or (futures == {True} and join["need"] == "all" and good + bad < total):
        return None
    return "met" if futures == {True} else "impossible"


@pytest.mark.row("X-12")
@pytest.mark.parametrize("join", RULES, ids=str)
def test_the_verdict_falls_at_the_first_moment_it_is_certain(join: dict[str, Any]) -> None:
    rule = rule_of(join)
    for total in TOTALS:
        for order in itertools.product((True, False), repeat=total):
            for ended in range(total + 1):
                good = sum(order[:ended])
                bad = ended - good
                found = verdict(rule, total=total, good=good, bad=bad)
                assert found == oracle(join, total, good, bad), (total, good, bad)
                if found is not None:
                    break


@settings(max_examples=50)
@given(
    hundredths=st.integers(1, 10_000),
    total=st.integers(0, 200_000),
    data=st.data(),
)
def test_percentages_are_exact_however_many_items(hundredths: int, total: int, data: st.DataObject) -> None:
    """0.07 % of 10,000 items are 7, not 8: a share is no floating-point number."""
    text = f"{hundredths / 100:.2f}%"
    good = data.draw(st.integers(0, total))
    for join in ({"need": text}, {"need": "all", "tolerate": text}):
        bad = total - good
        expected = "met" if met(join, total, good, bad) else "impossible"
        assert verdict(rule_of(join), total=total, good=good, bad=bad) == expected


@pytest.mark.parametrize(
    ("text", "total", "needed"),
    [("0.07%", 10_000, 7), ("55%", 100, 55), ("7%", 100, 7), ("0.29%", 10_000, 29)],
)
def test_a_percentage_that_is_a_whole_number_of_items_needs_just_these(
    text: str, total: int, needed: int
) -> None:
    rule = rule_of({"need": text})
    assert verdict(rule, total=total, good=needed, bad=total - needed) == "met"
    assert verdict(rule, total=total, good=needed - 1, bad=total - needed + 1) == "impossible"
    tolerant = rule_of({"need": "all", "tolerate": text})
    assert verdict(tolerant, total=total, good=total - needed, bad=needed) == "met"
    assert verdict(tolerant, total=total, good=total - needed - 1, bad=needed + 1) == "impossible"


@pytest.mark.row("X-12")
@pytest.mark.parametrize(
    ("join", "empty"), [("all", "met"), ("any", "impossible"), (1, "impossible"), ("100%", "met")]
)
def test_an_empty_map_is_met_unless_it_asks_for_one(join: Any, empty: str) -> None:
    assert verdict(rule_of(join), total=0, good=0, bad=0) == empty


@pytest.mark.parametrize(("text", "share"), [("80%", 80), ("12.5%", 12.5), ("0%", 0)])
def test_percentages_are_read_as_they_are_written(text: str, share: float) -> None:
    assert float(percent_of(text) or 0) == share
