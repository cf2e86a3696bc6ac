"""Retries and timeouts of the real engine: counted in the database, kept over a restart, slots given back."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from strataflow import Lease
from strataflow.repositories.records import InstanceState
from tests.integration.kit import Doc, Flow, until


def failing(times: int, retry: Doc, **config: Any) -> Doc:
    return {"run": "t.fail", "with": {"times": times, **config}, "retry": retry}


def pauses(flow: Flow, instance: str, path: str = "a") -> list[float]:
    """Give the seconds between each failure and the claim that followed, by the journal."""
    rows = [row for row in flow.history(instance) if row.path == path]
    failed = [row.at for row in rows if row.to_state == "retrying"]
    again = [row.at for row in rows if row.from_state == "retrying"]
    return [(after - before) / 1e6 for before, after in zip(failed, again, strict=True)]


@pytest.mark.row("X-20")
@pytest.mark.parametrize(("most", "attempts"), [(0, 1), (1, 2), (3, 4)])
def test_max_is_the_number_of_retries(flow: Flow, most: int, attempts: int) -> None:
    instance = flow.start({"a": failing(99, {"max": most, "delay": "5ms"})})
    status = flow.wait(instance)
    assert status.error["attempt"] == attempts
    assert flow.probe.attempts("a") == list(range(1, attempts + 1))
    row = flow.tasks(instance)["a"]
    assert (row.attempt, row.failures) == (attempts, attempts)


@pytest.mark.row("X-20")
@pytest.mark.parametrize(
    ("retry", "least"),
    [
        ({"backoff": "fixed", "delay": "40ms"}, [0.04, 0.04, 0.04]),
        ({"backoff": "linear", "delay": "40ms"}, [0.04, 0.08, 0.12]),
        ({"backoff": "exponential", "delay": "40ms", "factor": 3}, [0.04, 0.12, 0.36]),
        ({"backoff": "exponential", "delay": "40ms", "max_delay": "50ms"}, [0.04, 0.05, 0.05]),
    ],
)
def test_the_journal_shows_the_pauses_of_the_policy(flow: Flow, retry: Doc, least: list[float]) -> None:
    instance = flow.start({"a": failing(3, {"max": 3, **retry})})
    assert flow.wait(instance).output == {"a": 4}
    found = pauses(flow, instance)
    assert len(found) == 3
    assert all(wanted <= pause < wanted + 2 for wanted, pause in zip(least, found, strict=True))


@pytest.mark.row("X-20")
def test_the_count_and_the_pause_outlive_a_restart(flow: Flow) -> None:
    instance = flow.start({"a": failing(2, {"max": 2, "delay": "400ms", "backoff": "fixed"})})
    until(lambda: flow.state(instance, "a") == "retrying")
    due = flow.tasks(instance)["a"].wake_at
    flow.shut()
    assert flow.tasks(instance)["a"].wake_at == due
    assert flow.wait(instance).output == {"a": 3}
    assert flow.probe.attempts("a") == [1, 2, 3]
    assert min(pauses(flow, instance)) >= 0.4


@pytest.mark.parametrize(
    ("retry", "attempts"),
    [
        ({"on": ["t.Broken"]}, 3),
        ({"on": ["t.*"]}, 3),
        ({"on": ["timeout"]}, 1),
        ({"never": ["t.Broken"]}, 1),
        ({"on": ["*"], "never": ["t.*"]}, 1),
    ],
)
def test_on_and_never_choose_what_is_retried(flow: Flow, retry: Doc, attempts: int) -> None:
    status = flow.run({"a": failing(99, {"max": 2, "delay": "1ms", **retry})})
    assert status.error["attempt"] == attempts


def test_an_error_that_is_permanent_is_not_retried(flow: Flow) -> None:
    assert flow.run({"a": failing(99, {"max": 5, "delay": "1ms"}, retryable=False)}).error["attempt"] == 1


def test_defaults_are_merged_key_by_key(flow: Flow) -> None:
    instance = flow.start({"a": failing(99, {"max": 2})}, defaults={"retry": {"max": 9, "delay": "2ms"}})
    assert flow.wait(instance).error["attempt"] == 3
    assert max(pauses(flow, instance)) < 2


# --- timeouts


@pytest.mark.row("X-21", "A-20", "A-17")
@pytest.mark.parametrize("executor", ["t.gate", "t.block"])
def test_a_timeout_ends_the_attempt_and_frees_its_slot(flow: Flow, executor: str) -> None:
    flow.open(slots=1, threads=1)
    stuck = {"run": executor, "with": {"gate": "never", "polite": False}, "timeout": "150ms"}
    begun = time.monotonic()
    instance = flow.start(
        {"a": stuck, "b": {"run": "t.later", "with": 1, "needs": [{"node": "a", "on": ["failed"]}]}}
    )
    assert flow.wait(instance).output == {"b": 1}
    assert time.monotonic() - begun < 5
    error = json.loads(flow.tasks(instance)["a"].error or "")
    assert (error["code"], error["attempt"]) == ("timeout", 1)
    assert "0.15 s" in error["message"]


@pytest.mark.row("A-20")
def test_a_timeout_is_retried_like_any_error(flow: Flow) -> None:
    node = {
        "run": "t.gate",
        "with": {"gate": "g"},
        "timeout": "100ms",
        "retry": {"max": 2, "delay": "1ms", "on": ["timeout"]},
    }
    instance = flow.start({"a": node})
    status = flow.wait(instance)
    assert (status.state, status.error["code"], status.error["attempt"]) == (
        InstanceState.FAILED,
        "timeout",
        3,
    )
    assert len(flow.probe.cancelled) == 3


def test_work_that_ends_in_time_is_not_touched_by_its_timeout(flow: Flow) -> None:
    nodes = {
        "a": {"run": "t.echo", "with": 1, "timeout": "20s"},
        "b": {"run": "t.later", "with": 2, "timeout": "20s"},
    }
    assert flow.run(nodes).output == {"a": 1, "b": 2}


@pytest.mark.row("X-21")
def test_a_timeout_that_passed_while_no_engine_ran_is_enforced_by_the_next(flow: Flow) -> None:
    lease = Lease(ttl_s=1.2, margin_s=0.2)
    flow.open(lease=lease)
    instance = flow.start({"a": {"run": "t.gate", "with": {"gate": "never"}, "timeout": "600ms"}})
    until(lambda: flow.probe.calls)
    flow.crash()
    assert flow.state(instance, "a") == "running"
    started = flow.tasks(instance)["a"].started_at or 0
    until(lambda: time.time_ns() // 1000 > started + 700_000)
    flow.open(lease=lease)
    error = flow.wait(instance).error
    assert (error["code"], error["attempt"]) == ("timeout", 1)
    assert flow.probe.attempts("a") == [1]


@pytest.mark.row("X-20")
def test_a_crash_costs_no_retry(flow: Flow) -> None:
    lease = Lease(ttl_s=1.2, margin_s=0.2)
    flow.open(lease=lease)
    node = {"run": "t.gate", "with": {"gate": "g", "give": 1}, "retry": {"max": 0}}
    instance = flow.start({"a": node})
    until(lambda: flow.probe.calls)
    flow.crash()
    flow.probe.gate("g").set()
    flow.open(lease=lease)
    assert flow.wait(instance).output == {"a": 1}
    row = flow.tasks(instance)["a"]
    assert (row.attempt, row.failures) == (2, 0)
    assert flow.probe.attempts("a") == [1, 2]


@pytest.mark.row("X-21", "A-20")
def test_a_whole_run_ends_at_its_deadline(flow: Flow) -> None:
    """Running tasks are told to stop, waiting ones are cancelled, and the run fails with the deadline."""
    nodes = {
        "a": {"run": "t.gate", "with": {"gate": "never"}},
        "b": {"wait": {"for": "1h"}},
        "c": {"run": "core.noop", "needs": ["a"]},
    }
    status = flow.run(nodes, deadline="300ms")
    assert (status.state, status.error["code"]) == (InstanceState.FAILED, "deadline")
    states = flow.states(status.id)
    assert (states["a"], states["b"], "c" in states) == ("cancelled", "cancelled", False)


@pytest.mark.row("X-21")
def test_a_deadline_that_passed_while_no_engine_ran_is_enforced(flow: Flow) -> None:
    instance = flow.start({"a": {"wait": {"for": "1h"}}}, deadline="100ms")
    flow.shut()
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > 0.2)
    status = flow.wait(instance)
    assert (status.state, status.error["code"]) == (InstanceState.FAILED, "deadline")


def test_control_nodes_are_served_whatever_queues_an_engine_was_told(flow: Flow) -> None:
    """A map started by a client is expanded by an engine that serves another queue than the default one."""
    flow.open(executes=False)
    item = {"run": "core.noop", "queue": "mine", "with": "{{ item }}"}
    instance = flow.start({"m": {"map": "{{ [1, 2] }}", "do": item}})
    flow.shut()
    flow.open(queues=("mine",))
    assert flow.wait(instance).output == {"m": [1, 2]}
