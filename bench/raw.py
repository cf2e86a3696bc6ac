"""Physical limits of a database from one Python process: what one durable step costs with nothing around it.

A step here is one update of a row, one insert of its successor and one history row: the writes no engine can avoid.
"""

from __future__ import annotations

import sqlite3
import statistics
import time
from pathlib import Path
from typing import Any

import psycopg

__all__ = ["raw_steps", "raw_steps_postgres", "raw_steps_sqlite"]

_OUTPUT = "x" * 64


def raw_steps(url: str, per_commit: int, seconds: float, folder: Path) -> float:
    """Steps per second at `per_commit` steps a transaction."""
    if url.startswith("sqlite"):
        return raw_steps_sqlite(folder / f"raw-{per_commit}.db", per_commit, seconds)
    return raw_steps_postgres(url, per_commit, seconds)


def raw_steps_sqlite(path: Path, per_commit: int, seconds: float) -> float:
    """WAL with synchronous=FULL, as the engine uses it."""
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("PRAGMA journal_mode=WAL")
    raw.execute("PRAGMA synchronous=FULL")
    raw.execute("CREATE TABLE node(run INT, node INT, state INT, output TEXT, PRIMARY KEY(run, node))")
    raw.execute("CREATE TABLE history(id INTEGER PRIMARY KEY, run INT, node INT, state INT)")
    raw.executemany("INSERT INTO node VALUES (?, 0, 0, NULL)", [(run,) for run in range(per_commit)])
    rates, step, until = [], 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        begun = time.perf_counter()
        raw.execute("BEGIN IMMEDIATE")
        raw.executemany(
            "UPDATE node SET state = 2, output = ? WHERE run = ? AND node = ?",
            [(_OUTPUT, run, step) for run in range(per_commit)],
        )
        raw.executemany(
            "INSERT INTO node VALUES (?, ?, 1, NULL)", [(run, step + 1) for run in range(per_commit)]
        )
        raw.executemany(
            "INSERT INTO history(run, node, state) VALUES (?, ?, 2)",
            [(run, step) for run in range(per_commit)],
        )
        raw.execute("COMMIT")
        rates.append(per_commit / (time.perf_counter() - begun))
        step += 1
    raw.close()
    return statistics.median(rates)


def raw_steps_postgres(url: str, per_commit: int, seconds: float) -> float:
    """Arrays by unnest, one pipeline a transaction."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS raw_node, raw_history")
        db.execute(
            "CREATE TABLE raw_node(run int, node int, state int, output text, PRIMARY KEY(run, node)) "
            "WITH (fillfactor = 50)"
        )
        db.execute("CREATE TABLE raw_history(id bigserial PRIMARY KEY, run int, node int, state int)")
        runs = list(range(per_commit))
        db.execute("INSERT INTO raw_node SELECT r, 0, 0, NULL FROM unnest(%s::int[]) r", (runs,))
        rates = _postgres_rates(db, runs, seconds)
        db.execute("DROP TABLE raw_node, raw_history")
        return statistics.median(rates)


def _postgres_rates(db: psycopg.Connection[Any], runs: list[int], seconds: float) -> list[float]:
    outputs = [_OUTPUT] * len(runs)
    rates, step, until = [], 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        begun = time.perf_counter()
        with db.transaction(), db.pipeline():
            db.execute(
                "UPDATE raw_node n SET state = 2, output = u.o FROM unnest(%s::int[], %s::text[]) u(r, o) "
                "WHERE n.run = u.r AND n.node = %s",
                (runs, outputs, step),
            )
            db.execute(
                "INSERT INTO raw_node SELECT r, %s, 1, NULL FROM unnest(%s::int[]) r", (step + 1, runs)
            )
            db.execute(
                "INSERT INTO raw_history(run, node, state) SELECT r, %s, 2 FROM unnest(%s::int[]) r",
                (step, runs),
            )
        rates.append(len(runs) / (time.perf_counter() - begun))
        step += 1
    return rates
