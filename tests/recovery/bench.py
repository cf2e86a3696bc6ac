"""One database, one effect log, any number of engine processes, and the judgement at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from tests.checker import Report, examine
from tests.checker.effects import Effect, examine_effects, read_effects
from tests.recovery.nursery import Child, Nursery

__all__ = ["Bench"]


class Bench:
    """Starts engines on one database and looks at what they leave."""

    def __init__(self, nursery: Nursery, url: str, folder: Path) -> None:
        self.nursery = nursery
        self.url = url
        self.folder = folder
        self.effects_file = folder / "effects"
        self.children: list[Child] = []

    def spawn(self, mode: str, **spec: Any) -> Child:
        """Fork an engine on this database."""
        child = self.nursery.spawn({"url": self.url, "effects": str(self.effects_file), "mode": mode, **spec})
        self.children.append(child)
        return child

    def start(self, *definitions: dict[str, Any], key: str | None = None) -> list[str]:
        """Start runs through a client that executes nothing; give their ids."""
        child = self.spawn("client", start=[{"definition": d, "key": key} for d in definitions])
        child.await_note("ended")
        return [note["id"] for note in child.notes("started")]

    def drain(self, timeout_s: float = 40.0, **spec: Any) -> Child:
        """Let a fresh process finish everything that is unfinished."""
        child = self.spawn("drain", timeout_s=timeout_s, **spec)
        done = child.await_note("drained", timeout_s + 10)["done"]
        assert done, f"not drained within {timeout_s} s:\n{self.unfinished()}\n{child.errors()}"
        child.join()
        return child

    def effects(self) -> list[Effect]:
        """What executors did so far."""
        return read_effects(self.effects_file)

    def starts(self, path: str | None = None) -> list[Effect]:
        """Executions that began."""
        return [e for e in self.effects() if e.event == "start" and path in {None, e.path}]

    def acknowledged(self) -> list[str]:
        """Instances whose start somebody was told of."""
        return [note["id"] for child in self.children for note in child.notes("started")]

    def rows(self, statement: str, **params: Any) -> list[Any]:
        """Query the database."""
        engine = create_engine(self.url.replace("postgresql://", "postgresql+psycopg://", 1))
        try:
            with engine.connect() as connection:
                return list(connection.execute(text(statement), params).all())
        finally:
            engine.dispose()

    def emptied(self) -> str:
        """Delete every row but the schema's own, and give the URL: the next trial begins from nothing."""
        tables = (
            "definitions instances keys tasks journal engines blobs vars checkpoints progress logs".split()
        )
        engine = create_engine(self.url.replace("postgresql://", "postgresql+psycopg://", 1))
        try:
            with engine.begin() as connection:
                for table in tables:
                    connection.execute(text(f"DELETE FROM {table}"))
        finally:
            engine.dispose()
        return self.url

    def states(self) -> dict[str, str]:
        """State of each instance."""
        return {str(row[0]): row[1] for row in self.rows("SELECT id, state FROM instances")}

    def output(self, instance_id: str) -> Any:
        """What an instance came to: the output of its root task."""
        statement = "SELECT output FROM tasks WHERE instance_id = :id AND path = ''"
        found = self.rows(statement, id=instance_id)[0][0]
        return None if found is None else json.loads(found)

    def unfinished(self) -> str:
        """Describe what is stuck, for the message of a failed test."""
        rows = self.rows(
            "SELECT t.path, t.state, t.attempt, t.engine, t.open, t.closed, t.remaining, t.wake_at, t.ready_at "
            "FROM tasks t WHERE t.state NOT IN ('completed', 'failed', 'skipped', 'cancelled') ORDER BY 1 LIMIT 30"
        )
        engines = self.rows("SELECT id, state, batch, lease_until, role FROM engines")
        return "\n".join(map(str, [*rows, *engines]))

    def judge(self) -> Report:
        """Every invariant, and the effect log; fails with what is wrong."""
        report = examine(self.url, self.acknowledged())
        effects = examine_effects(self.url, self.effects_file)
        report.violations += effects.violations
        report.evaluations += effects.evaluations
        assert not report.violations, str(report)
        return report
