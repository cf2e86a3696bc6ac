"""Retry policy and backoff: which errors, how often, how long, and always the same for the same attempt."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strataflow.engine.plan import RetryPolicy
from strataflow.engine.retry import backoff, matches, retry_delay
from strataflow.executors.base import TaskError

SECOND = 1_000_000
ERROR = TaskError("bank.Unavailable", "down", codes=("bank.Unavailable", "bank.Transient"))


def delays(count: int, **fields: Any) -> list[float]:
    """Give the pauses before the first retries, in seconds."""
    policy = RetryPolicy(max=count, delay=2 * SECOND, **fields)
    return [backoff(policy, failures, "i/a") / SECOND for failures in range(1, count + 1)]


@pytest.mark.row("X-20")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"backoff": "fixed"}, [2, 2, 2, 2]),
        ({"backoff": "linear"}, [2, 4, 6, 8]),
        ({"backoff": "exponential"}, [2, 4, 8, 16]),
        ({"backoff": "exponential", "factor": 3.0}, [2, 6, 18, 54]),
        ({"backoff": "exponential", "factor": 1.0}, [2, 2, 2, 2]),
        ({"backoff": "exponential", "max_delay": 5 * SECOND}, [2, 4, 5, 5]),
        ({"backoff": "linear", "max_delay": 5 * SECOND}, [2, 4, 5, 5]),
        ({"backoff": "fixed", "max_delay": SECOND}, [1, 1, 1, 1]),
    ],
)
def test_backoff_grows_as_its_name_says_up_to_the_cap(fields: dict[str, Any], expected: list[float]) -> None:
    assert delays(4, **fields) == expected


@pytest.mark.row("X-20")
def test_jitter_is_the_same_for_the_same_attempt_and_differs_between_attempts_and_tasks() -> None:
    policy = RetryPolicy(max=9, delay=10 * SECOND, backoff="fixed", jitter=0.2)
    first = [backoff(policy, failures, "i/a") for failures in range(1, 10)]
    assert first == [backoff(policy, failures, "i/a") for failures in range(1, 10)]
    assert len(set(first)) == 9
    assert first != [backoff(policy, failures, "i/b") for failures in range(1, 10)]


@pytest.mark.row("X-20")
@given(
    jitter=st.floats(0, 1),
    failures=st.integers(1, 1_000_000),
    kind=st.sampled_from(["fixed", "linear", "exponential"]),
    factor=st.floats(1, 1000),
    delay=st.integers(0, 10**15),
    cap=st.integers(0, 10**15),
    key=st.text(max_size=5),
)
def test_no_pause_is_negative_longer_than_the_cap_or_beyond_its_jitter(
    jitter: float, failures: int, kind: Any, factor: float, delay: int, cap: int, key: str
) -> None:
    policy = RetryPolicy(9, delay, kind, factor, cap, jitter)
    pause = backoff(policy, failures, key)
    assert 0 <= pause <= cap
    assert pause >= round(min(delay, cap) * (1 - jitter)) - 1


@pytest.mark.row("X-20")
@pytest.mark.parametrize(("most", "attempts"), [(0, 1), (1, 2), (3, 4), (5, 6)])
def test_max_counts_the_retries_after_the_first_attempt(most: int, attempts: int) -> None:
    policy = RetryPolicy(max=most)
    given_up = next(f for f in range(1, 99) if retry_delay(policy, ERROR, f, "k") is None)
    assert given_up == attempts


@pytest.mark.parametrize(
    ("on", "never", "retried"),
    [
        ((), (), True),
        (("bank.Unavailable",), (), True),
        (("bank.Transient",), (), True),
        (("bank.*",), (), True),
        (("*",), (), True),
        (("bank.Declined", "timeout"), (), False),
        (("timeout",), (), False),
        ((), ("bank.Unavailable",), False),
        ((), ("bank.Transient",), False),
        ((), ("bank.*",), False),
        (("bank.Unavailable",), ("bank.Transient",), False),
        (("*",), ("*",), False),
        (("BANK.*",), (), False),
    ],
)
def test_on_and_never_name_the_class_its_bases_the_domain_or_all(
    on: tuple[str, ...], never: tuple[str, ...], *, retried: bool
) -> None:
    policy = RetryPolicy(max=1, on=on, never=never)
    assert (retry_delay(policy, ERROR, 1, "k") is not None) is retried


def test_an_error_that_says_it_is_permanent_is_not_retried_even_if_named() -> None:
    permanent = TaskError("bank.Gone", "gone", retryable=False)
    assert retry_delay(RetryPolicy(max=5, on=("bank.*",)), permanent, 1, "k") is None


def test_an_engine_code_matches_by_itself() -> None:
    assert matches(("timeout",), TaskError("timeout", "late"))
    assert not matches(("bank.*",), TaskError("timeout", "late"))
