"""What every driver measures in the same way, and how it says so: one JSON line on its standard output.

A driver of another queue runs in an environment of its own, where Strataflow is not installed; what it shares with the
others stands here and needs psycopg alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

__all__ = ["BATCH", "Report", "Request", "server_cpu_s"]

#: Tasks handed over by one call.
BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Request:
    """What a driver is asked for on its command line: `throughput` or `latency`, where, and how much."""

    what: str
    url: str
    count: int
    concurrency: int
    #: How the driver is to be used, where there is more than one way.
    way: str

    @classmethod
    def read(cls) -> Request:
        """Take it from the command line, as `command` wrote it."""
        what, url, count, concurrency, way = sys.argv[1:]
        return cls(what, url, int(count), int(concurrency), way)

    def command(self) -> list[str]:
        """The arguments that `read` makes the same request of."""
        return [self.what, self.url, str(self.count), str(self.concurrency), self.way]

    def batches(self) -> Iterator[range]:
        """The numbers of the tasks, in parts that one call hands over."""
        for first in range(0, self.count, BATCH):
            yield range(first, min(self.count, first + BATCH))


@dataclass(slots=True)
class Report:
    """Figures of one run by name."""

    request: Request
    packages: tuple[str, ...]
    figures: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what is done inside: rate, and what each task costs this process and the server."""
        count = self.request.count
        server, wal = self._server()
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self.figures |= {f"{name}_per_s": count / wall, f"{name}_cpu_us": cpu / count * 1e6}
        server_after, wal_after = self._server()
        if self._on_postgres:
            self.figures[f"{name}_server_us"] = (server_after - server) / count * 1e6
            self.figures[f"{name}_wal"] = (wal_after - wal) / count

    def times(self, name: str, seconds: list[float]) -> None:
        """Keep the median and the 99th percentile, in milliseconds."""
        ordered = sorted(seconds)
        self.figures[f"{name}_p50_ms"] = ordered[len(ordered) // 2] * 1e3
        self.figures[f"{name}_p99_ms"] = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1e3

    def send(self) -> None:
        """Add what is left in the database, and print everything."""
        if self.request.what == "throughput":
            self.figures |= self._kept()
        print(json.dumps({"figures": self.figures, "versions": _versions(self.packages)}), flush=True)

    @property
    def _on_postgres(self) -> bool:
        return self.request.url.startswith("postgres")

    def _server(self) -> tuple[float, float]:
        if not self._on_postgres:
            return 0.0, 0.0
        with _connected(self.request.url) as db:
            row = db.execute(b"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')").fetchone()
            return server_cpu_s(db), float(row[0])

    def _kept(self) -> dict[str, float]:
        """Rows and bytes a task leaves behind, counted over all tables."""
        count = self.request.count
        if not self._on_postgres:
            file = Path(urlsplit(self.request.url).path)
            return {
                "kept_bytes": sum(each.stat().st_size for each in file.parent.glob(f"{file.name}*")) / count
            }
        with _connected(self.request.url) as db:
            tables = db.execute(
                b"SELECT schemaname, relname, pg_total_relation_size(relid) FROM pg_stat_user_tables"
            ).fetchall()
            rows = sum(_rows(db, schema, name) for schema, name, _ in tables)
        return {"kept_rows": rows / count, "kept_bytes": sum(size for *_, size in tables) / count}


def _rows(db: Any, schema: str, table: str) -> int:
    from psycopg import sql

    return db.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))).fetchone()[0]


@contextmanager
def _connected(url: str) -> Iterator[Any]:
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        yield db


def server_cpu_s(db: Any) -> float:
    """Seconds of processor time that all processes of the server have used; NaN when it is on another machine."""
    ticks = os.sysconf("SC_CLK_TCK")
    try:
        parent = int(_stat(db.info.backend_pid)[1])
        own = _stat(parent)
    except OSError:
        return float("nan")
    # of the postmaster with its ended children, of the living ones alone
    total = sum(int(each) for each in own[11:15])
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                stat = _stat(int(process.name))
                total += int(stat[11]) + int(stat[12]) if int(stat[1]) == parent else 0
    return total / ticks


def _stat(pid: int) -> list[str]:
    """The fields of a process from its state on."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
