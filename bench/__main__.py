"""`python -m bench`: every workload on both databases, with the raw limit of the same database beside it.

Each figure is the median of `--repeat` runs in a fresh process and a fresh database. Machines are noisy: compare the
ratio to the raw limit, not absolute values of different runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.operations import operations
from bench.peers.compare import compare
from bench.queues import limits, queue
from bench.raw import raw_steps
from bench.rest import requests
from bench.server import durable_postgres, fresh_database
from bench.workloads import Figure, chains, fan_out, latencies, singles
from strataflow.repositories.migrate import upgrade

#: Workload → what it measures, of a size that `--scale` changes.
_WORKLOADS: dict[str, Callable[[str, float], list[Figure]]] = {
    "chains": lambda url, scale: [chains(url, max(50, int(2000 * scale)))],
    "singles": lambda url, scale: [singles(url, max(100, int(4000 * scale)))],
    "fan_out": lambda url, scale: [fan_out(url, max(500, int(10_000 * scale)))],
    "latencies": lambda url, scale: latencies(url, max(20, int(300 * scale))),
    "queue": lambda url, scale: [queue(url, max(100, int(4000 * scale)))],
    "limits": lambda url, scale: limits(url, max(300, int(5_000 * scale))),
    "operations": lambda url, scale: operations(url, max(10, int(100 * scale))),
    "rest": lambda url, scale: requests(url, max(160, int(2_000 * scale))),
}


def _fresh(base: str, name: str, folder: Path) -> str:
    if base.startswith("sqlite"):
        return f"sqlite:///{folder / name}.db"
    url = fresh_database(base, name)
    upgrade(url)
    return url


def _in_child(workload: str, url: str, scale: float) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "bench", "--child", workload, "--pg", url, "--scale", str(scale)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{workload} failed:\n{done.stderr[-2000:]}")
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _rows(base: str, args: argparse.Namespace, folder: Path) -> None:
    limits = {n: raw_steps(_fresh(base, "bench_raw", folder), n, args.raw_s, folder) for n in (1, 100)}
    label = "SQLite" if base.startswith("sqlite") else "Postgres"
    print(f"| {label} | raw limit: 1 step a commit | {limits[1]:,.0f} steps/s | 1 | |")
    print(f"| {label} | raw limit: 100 steps a commit | {limits[100]:,.0f} steps/s | 1 | |", flush=True)
    for workload in args.only or _WORKLOADS:
        runs = [
            _in_child(workload, _fresh(base, f"bench_{workload}_{n}", folder), args.scale)
            for n in range(args.repeat)
        ]
        for figures in zip(*runs, strict=True):
            print(_line(label, figures, limits), flush=True)


def _line(label: str, figures: tuple[dict[str, Any], ...], limits: dict[int, float]) -> str:
    first = figures[0]
    value = statistics.median(figure["value"] for figure in figures)
    if first["unit"] == "ms":
        ratio = f"{value / (1e3 / limits[1]):.1f} x one raw commit"
    else:
        ratio = f"{value / limits[100]:.2f}"
    extra = ", ".join(
        f"{key} {statistics.median(f['extra'][key] for f in figures):,.0f}" for key in first["extra"]
    )
    return f"| {label} | {first['name']} | {value:,.2f} {first['unit']} | {ratio} | {extra} |"


def _beside_peers(args: argparse.Namespace) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strataflow-bench-")))
        compare(
            args.pg or stack.enter_context(durable_postgres()),
            folder,
            repeat=args.repeat,
            scale=args.scale,
            concurrency=args.concurrency,
            raw_s=args.raw_s,
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--pg", help="URL of a Postgres to use; default: a private durable one")
    parser.add_argument("--db", choices=["sqlite", "postgres"], help="only this database")
    parser.add_argument("--only", nargs="*", choices=list(_WORKLOADS))
    parser.add_argument("--scale", type=float, default=1.0, help="size of the workloads")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--raw-s", type=float, default=1.0, help="seconds for each raw limit")
    parser.add_argument("--child", choices=list(_WORKLOADS), help=argparse.SUPPRESS)
    parser.add_argument(
        "--peers",
        action="store_true",
        help="queue workload and latency beside procrastinate and PgQueuer, which are installed below .cache/",
    )
    parser.add_argument("--concurrency", type=int, default=100, help="tasks at a time, with --peers")
    args = parser.parse_args()
    if args.child:
        print(json.dumps([vars(figure) for figure in _WORKLOADS[args.child](args.pg, args.scale)]))
        return
    if args.peers:
        _beside_peers(args)
        return
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, medians of {args.repeat}")
    print("| database | what | figure | to the raw limit | also |\n|---|---|---|---|---|")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strataflow-bench-")))
        if args.db != "postgres":
            _rows("sqlite:///", args, folder)
        if args.db != "sqlite":
            _rows(args.pg or stack.enter_context(durable_postgres()), args, folder)


if __name__ == "__main__":
    main()
