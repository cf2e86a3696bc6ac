"""What executors really did, kept outside the database: one line per start and end of a call, on the disk at once.

The engine's own journal cannot prove that no completed task ran twice: it would be judging itself. The log is a file
opened with O_APPEND, a JSON line per event, and an fsync, so that a process killed right afterwards has still told.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .database import Journal, Recorded, read_database
from .report import Report

__all__ = ["EFFECTS", "Effect", "EffectLog", "examine_effects", "judge_effects", "read_effects"]

EFFECTS = {
    "E1": "every executed attempt was claimed by that engine, and was executed once",
    "E2": "no task was executed again after its completion was recorded",
    "E3": "an attempt begins only after the one before it has ended or was declared lost",
}


class Attempt(Protocol):
    """What the log needs to know of an execution; a task context has it."""

    @property
    def instance_id(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def engine_id(self) -> str: ...


@dataclass(slots=True, frozen=True)
class Effect:
    """One line of the log; `at` in microseconds of this machine's clock."""

    event: str
    instance_id: str
    path: str
    attempt: int
    engine: str
    pid: int
    at: int


class EffectLog:
    """Appends to one file; any number of processes and threads may share it."""

    def __init__(self, path: str | Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def note(self, event: str, attempt: Attempt, **more: Any) -> None:
        """Write one line and wait until the disk has it."""
        line = {
            "event": event,
            "instance_id": attempt.instance_id,
            "path": attempt.path,
            "attempt": attempt.attempt,
            "engine": attempt.engine_id,
            "pid": os.getpid(),
            "at": time.time_ns() // 1000,
            **more,
        }
        os.write(self._fd, json.dumps(line).encode() + b"\n")
        os.fsync(self._fd)

    @contextmanager
    def around(self, attempt: Attempt) -> Generator[None]:
        """Log the start and the end of what happens inside; a raised error is an end too."""
        self.note("start", attempt)
        try:
            yield
        finally:
            self.note("end", attempt)


def read_effects(path: str | Path) -> list[Effect]:
    """The lines so far; a line torn by a kill in the middle of its write is left out."""
    if not Path(path).exists():
        return []
    found: list[Effect] = []
    for line in Path(path).read_bytes().splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        found.append(Effect(**{name: values[name] for name in Effect.__slots__}))
    return found


def examine_effects(url: str, path: str | Path) -> Report:
    """Compare the log with the database.

    `report.evaluations["overlaps"]` counts executions of a task that overlapped in time: only a lost lease causes one.
    """
    return judge_effects(read_database(url), read_effects(path))


def judge_effects(recorded: Recorded, effects: list[Effect]) -> Report:
    """Judge what was read already."""
    report = Report()
    journal = {run.id: run.history() for run in recorded.runs}
    by_task: dict[tuple[str, str], list[Effect]] = defaultdict(list)
    for effect in effects:
        by_task[effect.instance_id, effect.path].append(effect)
    for (instance_id, path), calls in by_task.items():
        _judge_task((instance_id, path), calls, journal.get(instance_id, {}).get(path, []), report)
    return report


def _judge_task(where: tuple[str, str], calls: list[Effect], entries: list[Journal], report: Report) -> None:
    claims = {e.attempt: e.engine for e in entries if e.to_state == "running"}
    left = {e.attempt: e for e in entries if e.from_state == "running"}
    done = next((e for e in entries if e.to_state == "completed"), None)
    starts = [call for call in calls if call.event == "start"]
    ends = {call.attempt: call.at for call in calls if call.event == "end"}
    for attempt, count in Counter(call.attempt for call in starts).items():
        report.expect("E1", count == 1, where, f"attempt {attempt} was executed {count} times")
    for call in starts:
        message = f"attempt {call.attempt} executed by {call.engine}, claimed by {claims.get(call.attempt)}"
        report.expect("E1", claims.get(call.attempt) == call.engine, where, message)
        if done is not None:
            message = f"attempt {call.attempt} executed, attempt {done.attempt} had completed the task"
            report.expect("E2", call.attempt <= done.attempt, where, message)
        if call.attempt > 1:
            before = left.get(call.attempt - 1)
            holds = before is not None and before.at <= call.at
            report.expect(
                "E3", holds, where, f"attempt {call.attempt} began while the one before it was valid"
            )
            if ends.get(call.attempt - 1, 0) > call.at:
                report.evaluations["overlaps"] += 1
