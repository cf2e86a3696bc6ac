"""Live streams: from a commit to the frame at its readers, for 1 and 100 of them; what idle readers cost.

`python -m bench.streams [--pg URL]`. The server is a process of its own with an engine; the writer is this process, on
its own connection: what is measured begins when its commit has returned.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from bench.server import durable_postgres, fresh_database
from strataflow.repositories.database import Database
from strataflow.repositories.feed import write_notice
from strataflow.repositories.migrate import upgrade
from strataflow.services.access.keys import KeyService

_EVENTS: Final = 200
_IDLE_S: Final = 10.0
_TICKS: Final = 100


async def _latencies(address: str, token: str, url: str, readers: int) -> list[float]:
    """Milliseconds from each of some commits to its frame at each reader."""
    sockets = [await _open(address, token) for _ in range(readers)]
    tasks = [asyncio.create_task(_take(each)) for each in sockets]
    database = Database(url)
    sent: dict[int, float] = {}
    for number in range(_EVENTS):
        await asyncio.to_thread(_write, database, number)
        sent[number] = time.monotonic()
        await asyncio.sleep(0.03)
    found = await asyncio.gather(*tasks)
    database.close()
    for each in sockets:
        await each.close()
    return [1e3 * (at - sent[number]) for arrivals in found for number, at in arrivals]


async def _open(address: str, token: str) -> ClientConnection:
    headers = {"Authorization": f"Bearer {token}"}
    socket = await connect(
        f"ws{address.removeprefix('http')}/api/v1/events/stream?name=queue.*",
        additional_headers=headers,
        compression=None,
        proxy=None,
    )
    await socket.recv()
    return socket


async def _take(socket: ClientConnection) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    while len(found) < _EVENTS:
        message = json.loads(await socket.recv())
        if message["type"] == "event":
            found.append((message["event"]["data"]["number"], time.monotonic()))
    return found


def _write(database: Database, number: int) -> None:
    with database.write() as connection:
        write_notice(connection, "queue.high", "bench", {"number": number})


async def _idle(address: str, token: str, pid: int, readers: int) -> float:
    """Per cent of one processor that the server uses while nothing happens."""
    sockets = [await _open(address, token) for _ in range(readers)]
    await asyncio.sleep(6)  # longer than the hub goes on without a reader
    before, began = _cpu(pid), time.monotonic()
    await asyncio.sleep(_IDLE_S)
    used = (_cpu(pid) - before) / (time.monotonic() - began)
    for each in sockets:
        await each.close()
    return 100 * used


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def _server(url: str) -> Generator[tuple[str, int]]:
    command = [sys.executable, "-m", "strataflow", "serve", "--port", "0", "--rate", "0", "--db", url]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr or ():
            if found := re.search(r"Serving (http://\S+)/api/v1", line):
                yield found[1], process.pid
                return
        raise SystemExit("the server did not start")
    finally:
        process.terminate()
        process.communicate(timeout=60)


async def _measure(label: str, url: str) -> None:
    database = Database(url)
    token = KeyService(database, "main").create("bench", ["*:*"]).token
    database.close()
    with _server(url) as (address, pid):
        for readers in (1, 100):
            found = sorted(await _latencies(address, token, url, readers))
            p50, p99 = statistics.median(found), found[int(len(found) * 0.99) - 1]
            print(f"| {label} | commit to frame, {readers} readers | p50 {p50:.1f} ms | p99 {p99:.1f} ms |")
        costs: list[Any] = [await _idle(address, token, pid, readers) for readers in (0, 1, 100)]
        print(
            f"| {label} | processor, 0 / 1 / 100 idle readers | "
            + " / ".join(f"{c:.1f} %" for c in costs)
            + " | |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.streams", description=__doc__)
    parser.add_argument("--pg", help="URL of a Postgres to use; default: a private durable one")
    args = parser.parse_args()
    print("| database | what | | |\n|---|---|---|---|")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="strataflow-bench-"))
        url = f"sqlite:///{folder}/streams.db"
        upgrade(url)
        asyncio.run(_measure("SQLite", url))
        base = args.pg or stack.enter_context(durable_postgres())
        url = fresh_database(base, "bench_streams")
        upgrade(url)
        asyncio.run(_measure("Postgres", url))


if __name__ == "__main__":
    main()
