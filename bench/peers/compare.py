"""`python -m bench --peers`: every entrant in turn, again and again, each time in a fresh process and a fresh database.

The other queues are no dependency of this project: they are installed on request into an environment of their own.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from bench.peers.report import BATCH, Request
from bench.raw import raw_steps
from bench.server import fresh_database

__all__ = ["compare"]

ROOT: Final = Path(__file__).resolve().parents[2]
_HOME: Final = ROOT / ".cache" / "peers"
_PACKAGES: Final = ("procrastinate", "pgqueuer", "asyncpg", "uvloop", "psycopg[binary,pool]")
#: Longest run of one driver.
_LIMIT_S: Final = 900


@dataclass(slots=True)
class Entrant:
    """One queue used in one way, and what its runs have shown."""

    name: str
    driver: str
    concurrency: int
    database: str = "Postgres"
    way: str = "-"
    latency: bool = False
    figures: list[dict[str, float]] = field(default_factory=list)

    def middle(self, name: str) -> float:
        """The median of a figure; NaN where it was not measured."""
        return statistics.median(each.get(name, float("nan")) for each in self.figures)

    def beside(self, other: Entrant, name: str) -> float:
        """The median of how this compares to another entrant in the same turn."""
        pairs = zip(self.figures, other.figures, strict=True)
        return statistics.median(own[name] / its[name] for own, its in pairs)


def _entrants(concurrency: int) -> list[Entrant]:
    return [
        Entrant("Strataflow, TaskSystem", "strataflow", concurrency, way="tasks", latency=True),
        Entrant("Strataflow, plain engine", "strataflow", concurrency, way="engine"),
        Entrant("procrastinate", "procrastinate", concurrency, latency=True),
        Entrant("PgQueuer", "pgqueuer", concurrency, latency=True),
        Entrant("Strataflow, TaskSystem, concurrency 16", "strataflow", 16, way="tasks"),
        Entrant("Strataflow, TaskSystem, plain functions", "strataflow", concurrency, way="threads"),
        Entrant("PgQueuer, batches of 10", "pgqueuer", 10),
        Entrant("Strataflow, TaskSystem", "strataflow", concurrency, "SQLite", "tasks", latency=True),
        Entrant("Strataflow, plain engine", "strataflow", concurrency, "SQLite", "engine"),
    ]


@dataclass(slots=True)
class _Ground:
    """Where it is measured, and how often."""

    base: str
    folder: Path
    python: Path
    repeat: int
    versions: dict[str, str] = field(default_factory=dict)
    raw: dict[str, list[float]] = field(default_factory=lambda: {"Postgres": [], "SQLite": []})

    def raw_limits(self, seconds: float) -> None:
        """What the databases can do at this moment, with nothing around it."""
        for database, found in self.raw.items():
            url = fresh_database(self.base, "bench_raw") if database == "Postgres" else "sqlite:///"
            (self.folder / "raw-100.db").unlink(missing_ok=True)
            found.append(raw_steps(url, 100, seconds, self.folder))

    def measure(self, what: str, entrants: list[Entrant], turn: int, count: int) -> None:
        """Run each entrant once."""
        for number, entrant in enumerate(entrants):
            name = f"{what}_{turn}_{number}"
            if entrant.database == "SQLite":
                url = f"sqlite:///{self.folder / name}.db"
            else:
                url = fresh_database(self.base, name)
            answer = self._run(entrant, Request(what, url, count, entrant.concurrency, entrant.way))
            entrant.figures.append(answer["figures"])
            self.versions |= answer["versions"]
            print(f"{what} {turn + 1}/{self.repeat}: {entrant.name}, {entrant.database}", file=sys.stderr)

    def _run(self, entrant: Entrant, request: Request) -> dict[str, Any]:
        interpreter = sys.executable if entrant.driver == "strataflow" else str(self.python)
        command = [interpreter, "-m", f"bench.peers.drive_{entrant.driver}", *request.command()]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_LIMIT_S
        )
        if done.returncode:
            raise SystemExit(f"{entrant.name} failed:\n{done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def compare(base: str, folder: Path, *, repeat: int, scale: float, concurrency: int, raw_s: float) -> None:
    """Print the tables. Exits when the other queues cannot be installed."""
    ground = _Ground(base, folder, _peer_python(), repeat)
    entrants = _entrants(concurrency)
    slow = [replace(each, figures=[]) for each in entrants if each.latency]
    tasks, rounds = max(200, int(5000 * scale)), max(20, int(200 * scale))
    for turn in range(repeat):
        ground.raw_limits(raw_s)
        ground.measure("throughput", entrants, turn, tasks)
        ground.measure("latency", slow, turn, rounds)
    _head(ground)
    _throughput(entrants, tasks)
    _latency(slow, rounds)


def _latency(entrants: list[Entrant], count: int) -> None:
    print(
        f"\nOne task at a time, {count} of them, by a worker that waits; milliseconds after the submission:\n"
    )
    print("| queue | database | handler called p50 | p99 | end known p50 | p99 |\n|---|---|--:|--:|--:|--:|")
    for entrant in entrants:
        names = ("called_p50_ms", "called_p99_ms", "done_p50_ms", "done_p99_ms")
        cells = [f"{entrant.middle(name):.1f}" for name in names]
        print(f"| {entrant.name} | {entrant.database} | {' | '.join(cells)} |")


def _head(ground: _Ground) -> None:
    named = ", ".join(f"{name} {number}" for name, number in sorted(ground.versions.items()))
    print(
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, medians of {ground.repeat}, interleaved"
    )
    print(f"Python {platform.python_version()}, {_server_version(ground.base)}; {named}")
    for database, found in ground.raw.items():
        print(f"raw limit of {database}, 100 steps a commit: {statistics.median(found):,.0f} steps/s")


def _server_version(base: str) -> str:
    import psycopg

    with psycopg.connect(base) as db:
        shown = [db.execute(f"SHOW {name}".encode()).fetchone() for name in _SHOWN]
    return "Postgres " + ", ".join(
        f"{name} {row[0]}" if number else str(row[0])
        for number, (name, row) in enumerate(zip(_SHOWN, shown, strict=True))
        if row is not None
    )


_SHOWN: Final = ("server_version", "fsync", "synchronous_commit")


def _throughput(entrants: list[Entrant], count: int) -> None:
    print(f"\n{count:,} tasks, put in by {min(count, BATCH):,} at a time, then run by one process:\n")
    print(
        "| queue | database | at a time | put in /s | run /s | to the first line | worker CPU us | server CPU us "
        "| WAL bytes | rows kept | bytes kept |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for entrant in entrants:
        rate, ratio = entrant.middle("run_per_s"), entrant.beside(entrants[0], "run_per_s")
        figures = (
            entrant.middle("run_cpu_us"),
            entrant.middle("submit_server_us") + entrant.middle("run_server_us"),
            entrant.middle("submit_wal") + entrant.middle("run_wal"),
            entrant.middle("kept_rows"),
            entrant.middle("kept_bytes"),
        )
        cells = [entrant.name, entrant.database, str(entrant.concurrency)]
        cells += [_number(entrant.middle("submit_per_s")), _number(rate), f"{ratio:.2f}"]
        print(f"| {' | '.join(cells)} | {' | '.join(map(_number, figures))} |")


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:,.0f}"


def _peer_python() -> Path:
    """The interpreter of the other queues' environment, which is made when it is missing or incomplete."""
    python = _HOME / "bin" / "python"
    if _complete(python):
        return python
    print(f"installing {', '.join(_PACKAGES)} into {_HOME}", file=sys.stderr, flush=True)
    made = [sys.executable, "-m", "venv", "--clear", "--without-pip", str(_HOME)]
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *_PACKAGES]
    for command in (made, install):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(
                "bench: the queues to compare with cannot be installed, so nothing was measured. "
                "`python -m bench` measures without them.\n" + (done.stderr or done.stdout)[-2000:]
            )
    if not _complete(python):
        raise SystemExit(f"bench: {_HOME} has no working copy of the queues to compare with; remove it")
    return python


def _complete(python: Path) -> bool:
    if not python.exists():
        return False
    wanted = [str(python), "-c", "import asyncpg, pgqueuer, procrastinate, psycopg_pool, uvloop"]
    return subprocess.run(wanted, capture_output=True, check=False).returncode == 0
