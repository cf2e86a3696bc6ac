"""The checker can see: a sound database has no violation, and each kind of damage is reported under its number."""

from __future__ import annotations

import json
import shutil
import sqlite3
import uuid
from pathlib import Path

import pytest

from strataflow.engine.config import EngineConfig
from strataflow.engine.events import CancelInstance
from strataflow.engine.workflow_engine import WorkflowEngine
from strataflow.repositories.migrate import upgrade
from tests.checker import INVARIANTS, examine
from tests.checker.effects import EffectLog, examine_effects
from tests.recovery import lab

OTHER = str(uuid.uuid4())
COPY = "INSERT INTO journal SELECT instance_id, 900000,"

#: What is damaged, the statements that do it, the invariants of which at least one must cry (all that are named).
MUTANTS: dict[str, tuple[str, set[str]]] = {
    "acknowledged run lost": ("DELETE FROM instances WHERE name = 'fan'", {"I1"}),
    "key without its run": ("INSERT INTO keys VALUES ('fan', 'start', 'k', '{other}')", {"I1"}),
    "root row lost": ("DELETE FROM tasks WHERE path = '' AND instance_id = '{mix}'", {"I1", "I4", "I11"}),
    "nothing will move it": (
        "UPDATE tasks SET state = 'waiting', ready_at = NULL WHERE instance_id = '{open}' AND state = 'queued'",
        {"I1", "I4"},
    ),
    "outcome recorded twice": (
        (
            f"{COPY} path, gen, attempt, from_state, to_state, reason, at, engine FROM journal "
            "WHERE path = 'meet' AND to_state = 'completed'"
        ),
        {"I2", "I9", "I10"},
    ),
    "start before its dependency": (
        "UPDATE journal SET seq = -1 WHERE path = 'meet' AND to_state = 'running'",
        {"I3"},
    ),
    "started on the wrong outcome": (
        "UPDATE journal SET to_state = 'failed' WHERE path = 'left' AND to_state = 'completed'",
        {"I3", "I4"},
    ),
    "skipped for no reason": (
        "UPDATE journal SET from_state = NULL, to_state = 'skipped' WHERE path = 'two' AND from_state IS NULL",
        {"I3"},
    ),
    "state changed": ("UPDATE tasks SET state = 'failed', error = '{{}}' WHERE path = 'left'", {"I4"}),
    "attempt changed": ("UPDATE tasks SET attempt = 9 WHERE path = 'left'", {"I4"}),
    "end forgotten": ("UPDATE tasks SET ended_at = NULL WHERE path = 'left'", {"I4", "I7"}),
    "start time changed": ("UPDATE tasks SET started_at = 1 WHERE path = 'left'", {"I4"}),
    "instance state changed": ("UPDATE instances SET state = 'failed' WHERE id = '{mix}'", {"I4", "I11"}),
    "instance end changed": ("UPDATE instances SET ended_at = 1 WHERE id = '{mix}'", {"I4"}),
    "journal row lost": ("DELETE FROM journal WHERE path = 'left' AND to_state = 'running'", {"I10", "I6"}),
    "last journal row lost": ("DELETE FROM journal WHERE path = 'left' AND to_state = 'completed'", {"I4"}),
    "history of a task lost": ("DELETE FROM journal WHERE path = 'left'", {"I4"}),
    "task row lost": ("DELETE FROM tasks WHERE path = 'left'", {"I4"}),
    "attempt used twice": (
        "UPDATE journal SET attempt = 1 WHERE path = 'flaky' AND attempt = 2",
        {"I2", "I4", "I5"},
    ),
    "attempt left out": ("UPDATE journal SET attempt = 3 WHERE path = 'flaky' AND attempt = 2", {"I5"}),
    "outcome of another engine": (
        "UPDATE journal SET engine = '{other}' WHERE path = 'left' AND to_state = 'completed'",
        {"I6"},
    ),
    "outcome of another attempt": (
        "UPDATE journal SET attempt = 2 WHERE path = 'left' AND to_state = 'completed'",
        {"I6"},
    ),
    "written after death": ("UPDATE engines SET state = 'dead', ended_at = 1", {"I6"}),
    "ended task with an engine": ("UPDATE tasks SET engine = '{other}' WHERE path = 'left'", {"I7", "I4"}),
    "ready and not queued": ("UPDATE tasks SET ready_at = 1 WHERE path = 'left'", {"I7"}),
    "counter too high": ("UPDATE tasks SET open = 1 WHERE path = 'spread' AND instance_id = '{mix}'", {"I8"}),
    "counter too low": (
        "UPDATE tasks SET open = open - 1 WHERE path = '' AND instance_id = '{open}'",
        {"I8"},
    ),
    "item not counted": ("UPDATE tasks SET done = done - 1 WHERE path = 'spread'", {"I8", "I19"}),
    "waits for nothing": (
        "UPDATE tasks SET state = 'pending', ready_at = NULL WHERE instance_id = '{open}' AND state = 'queued'",
        {"I8"},
    ),
    "left a terminal state": (
        "UPDATE journal SET from_state = 'completed' WHERE path = 'left' AND from_state = 'running'",
        {"I9", "I10"},
    ),
    "no edge of the table": (
        "UPDATE journal SET to_state = 'paused' WHERE path = 'left' AND to_state = 'running'",
        {"I10"},
    ),
    "unfinished in an ended run": (
        "UPDATE tasks SET state = 'waiting', ended_at = NULL WHERE path = 'left'",
        {"I11"},
    ),
    "timer in an ended run": ("UPDATE tasks SET wake_at = 5 WHERE path = 'nap'", {"I11"}),
    "ended otherwise than its root": (
        "UPDATE tasks SET state = 'failed' WHERE path = '' AND instance_id = '{mix}'",
        {"I11", "I4"},
    ),
    "claimed after the cancel": (
        (
            f"{COPY} path, gen, 1, 'queued', 'running', 'claimed', at + 1, engine FROM journal WHERE path = 'one' "
            "AND to_state = 'queued' AND instance_id = '{cancelled}'"
        ),
        {"I12"},
    ),
    "counter of a limit too high": ("UPDATE limits SET used = 1", {"I14"}),
    "one too many at once": (
        "UPDATE journal SET seq = -seq WHERE path LIKE 'few[%' AND attempt = 1 AND to_state = 'running'",
        {"I14"},
    ),
    "item lost": ("DELETE FROM tasks WHERE path = 'each[7]'", {"I19", "I4", "I8"}),
    "item never made": ("UPDATE tasks SET next = next - 1 WHERE path = 'each'", {"I19"}),
    "list shorter than the count": ("UPDATE tasks SET total = total + 1 WHERE path = 'each'", {"I19"}),
    "page of the list lost": ("DELETE FROM blobs WHERE key LIKE 'items:each:%'", {"I19"}),
}


class Sample:
    """A sound database: two finished runs, one cancelled, one that has only been accepted."""

    def __init__(self, folder: Path) -> None:
        self.file, self.effects = folder / "sample.db", folder / "effects"
        url = f"sqlite:///{self.file}"
        upgrade(url)
        log = lab.registry(EffectLog(self.effects))
        with WorkflowEngine(url, registry=log) as engine:
            self.mix = engine.start_now(lab.MIX)
            self.fan = engine.start_now(lab.fan(30))
            for instance_id in (self.mix, self.fan):
                engine.wait_now(instance_id, 30)
        with WorkflowEngine(url, registry=log, config=EngineConfig(executes=False)) as client:
            self.open = client.start_now(lab.MIX)
            self.cancelled = client.start_now(lab.MIX)
            client.state_manager.apply_now(CancelInstance(self.cancelled, "test"))
        self.ids = {"mix": self.mix, "open": self.open, "cancelled": self.cancelled, "other": OTHER}
        raw = sqlite3.connect(self.file)
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        raw.close()

    def damaged(self, copy: Path, statements: str) -> str:
        """Copy the database, damage the copy behind its constraints, give its URL."""
        shutil.copy(self.file, copy)
        raw = sqlite3.connect(copy)
        raw.execute("PRAGMA ignore_check_constraints = 1")
        changed = raw.execute(statements.format(**self.ids)).rowcount
        assert changed >= 1, "the damage did nothing"
        raw.commit()
        raw.close()
        return f"sqlite:///{copy}"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(tmp_path_factory.mktemp("mutants"))


def test_a_sound_database_has_no_violation_and_every_invariant_was_evaluated(sample: Sample) -> None:
    report = examine(f"sqlite:///{sample.file}", [sample.mix, sample.fan, sample.open, sample.cancelled])
    assert not report.violations, str(report)
    assert set(report.evaluations) == set(INVARIANTS)


@pytest.mark.parametrize("name", MUTANTS)
def test_damage_is_reported(sample: Sample, tmp_path: Path, name: str) -> None:
    statements, wanted = MUTANTS[name]
    report = examine(sample.damaged(tmp_path / "copy.db", statements), [sample.mix, sample.fan])
    assert wanted <= report.ids(), str(report)


def test_every_invariant_has_a_mutant() -> None:
    assert set().union(*(wanted for _, wanted in MUTANTS.values())) == set(INVARIANTS)


def test_effects_agree_with_a_sound_database(sample: Sample) -> None:
    report = examine_effects(f"sqlite:///{sample.file}", sample.effects)
    assert not report.violations, str(report)
    assert {"E1", "E2", "E3"} <= set(report.evaluations)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"attempt": 2}, {"E1", "E2", "E3"}),
        ({"attempt": 1}, {"E1"}),
        ({"attempt": 1, "engine": OTHER}, {"E1"}),
        ({"path": "nowhere"}, {"E1"}),
    ],
    ids=["after completion", "attempt twice", "another engine", "unknown task"],
)
def test_an_effect_that_should_not_be_is_reported(
    sample: Sample, tmp_path: Path, change: dict[str, object], wanted: set[str]
) -> None:
    lines = sample.effects.read_text().splitlines()
    stray = next(
        line for line in map(json.loads, lines) if line["path"] == "left" and line["event"] == "start"
    )
    (tmp_path / "effects").write_text("\n".join([*lines, json.dumps(stray | change)]) + "\n")
    report = examine_effects(f"sqlite:///{sample.file}", tmp_path / "effects")
    assert wanted <= report.ids(), str(report)


def test_an_attempt_that_overlaps_the_one_before_it_is_reported(sample: Sample, tmp_path: Path) -> None:
    lines = list(map(json.loads, sample.effects.read_text().splitlines()))
    first = next(line for line in lines if line["path"] == "flaky" and line["attempt"] == 1)
    for line in lines:
        if line["path"] == "flaky" and line["attempt"] == 2:
            line["at"] = first["at"]
    (tmp_path / "effects").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = examine_effects(f"sqlite:///{sample.file}", tmp_path / "effects")
    assert report.ids() == {"E3"}, str(report)
    assert report.evaluations["overlaps"] == 1
