"""The context an attempt gets; `context` and `Notes` serve the other tests of executors."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from strataflow.executors.base import TaskContext, TaskTransaction


class Notes:
    """A port that keeps what the executor told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.progressed: list[tuple[float, str | None]] = []
        self.saved: Any = None
        self.beats: list[Any] = []
        self.spawned: list[tuple[Any, Any, str | None]] = []

    def log(self, level: str, message: str) -> None:
        self.lines.append((level, message))

    def progress(self, fraction: float, message: str | None) -> None:
        self.progressed.append((fraction, message))

    def save_checkpoint(self, value: Any) -> None:
        self.saved = value

    def load_checkpoint(self) -> Any:
        return self.saved

    def heartbeat(self, details: Any) -> None:
        self.beats.append(details)

    def last_heartbeat(self) -> Any:
        return self.beats[-1] if self.beats else None

    def spawn(self, target: str | Mapping[str, Any], inputs: Any, key: str | None) -> str:
        self.spawned.append((target, inputs, key))
        return f"child {len(self.spawned)}"

    def transaction(self) -> AbstractContextManager[TaskTransaction]:
        return nullcontext(TaskTransaction(None))

    def trace_headers(self) -> Mapping[str, str]:
        return {"traceparent": "00-1-1-01"}


def context(attempt: int = 1, *, path: str = "step", port: Notes | None = None) -> TaskContext:
    """Make the context of one attempt."""
    return TaskContext(
        instance_id="0190-i",
        path=path,
        attempt=attempt,
        executor="test.run",
        engine_id="e",
        definition_name="d",
        definition_version=1,
        instance_key=None,
        deadline_s=None,
        port=port or Notes(),
        cancel=threading.Event(),
    )


def test_the_headers_of_the_trace_are_the_engines() -> None:
    assert context().trace_headers() == {"traceparent": "00-1-1-01"}


def test_idempotency_key_is_the_same_for_every_attempt() -> None:
    assert context(1).idempotency_key == context(7).idempotency_key == "0190-i/step"


def test_a_cancelled_context_stays_cancelled_and_wakes_who_waits() -> None:
    ctx = context()
    assert not ctx.cancelled
    assert not ctx.wait_cancelled(0)
    ctx.request_cancel()
    assert ctx.cancelled
    assert ctx.wait_cancelled(60)


@pytest.mark.parametrize(("given", "kept"), [(-1, 0.0), (0.25, 0.25), (3, 1.0)])
def test_progress_is_clamped(given: float, kept: float) -> None:
    notes = Notes()
    context(port=notes).progress(given, "half")
    assert notes.progressed == [(kept, "half")]


def test_a_checkpoint_is_read_back() -> None:
    ctx = context()
    assert ctx.load_checkpoint() is None
    ctx.save_checkpoint({"row": 3})
    assert ctx.load_checkpoint() == {"row": 3}


def test_heartbeats_reach_the_port_and_the_next_attempt() -> None:
    port = Notes()
    context(1, port=port).heartbeat({"row": 7})
    assert context(2, port=port).last_heartbeat == {"row": 7}


def test_spawn_and_transaction_are_the_ports() -> None:
    notes = Notes()
    ctx = context(port=notes)
    assert ctx.spawn("shop.refund", {"id": 1}, key="k") == "child 1"
    assert notes.spawned == [("shop.refund", {"id": 1}, "k")]
    with ctx.transaction() as transaction:
        transaction.result(7)
    assert transaction.value == 7
