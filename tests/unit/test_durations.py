"""Duration texts: both spellings, exact microseconds, and refusals that say what to write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strataflow.engine.durations import MAX_DURATION, parse_duration

_SECOND = 1_000_000


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("0s", 0),
        ("250ms", 250_000),
        ("30s", 30 * _SECOND),
        ("1h30m", 5_400 * _SECOND),
        ("2d", 172_800 * _SECOND),
        ("1m1ms", 60 * _SECOND + 1_000),
        ("30m1h", 5_400 * _SECOND),
        ("PT5M", 300 * _SECOND),
        ("P1D", 86_400 * _SECOND),
        ("P1DT2H", 93_600 * _SECOND),
        ("P2W", 1_209_600 * _SECOND),
        ("PT0.25S", 250_000),
        ("PT0,25S", 250_000),
        ("PT1.000001S", _SECOND + 1),
        ("P36500D", MAX_DURATION),
    ],
)
def test_duration_of(text: str, microseconds: int) -> None:
    assert parse_duration(text) == microseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5 s",
        "s",
        "-5s",
        "1.5h",
        "5S",
        "5sec",
        "1h 30m",
        "P",
        "PT",
        "P1DT",
        "P1Y",
        "P1M",
        "PT5",
        "٣s",
        "1s\n",
    ],
)
def test_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"write e\.g\. '250ms'"):
        parse_duration(text)


@pytest.mark.parametrize("value", [5, 1.5, None, True, ["5s"], {"seconds": 5}])
def test_only_text_is_a_duration(value: object) -> None:
    with pytest.raises(ValueError, match="a duration is text"):
        parse_duration(value)


@pytest.mark.parametrize("text", ["36501d", "P36500DT1S", "9" * 40 + "s"])
def test_longer_than_a_hundred_years(text: str) -> None:
    with pytest.raises(ValueError, match="a hundred years"):
        parse_duration(text)


def test_a_huge_text_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="is no duration") as caught:
        parse_duration("1s" * 10_000)
    assert len(str(caught.value)) < 200


@given(
    st.lists(
        st.tuples(st.integers(0, 999), st.sampled_from(["ms", "s", "m", "h", "d"])), min_size=1, max_size=5
    )
)
def test_parts_add_up(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_duration(text) == sum(parse_duration(f"{number}{unit}") for number, unit in parts)
