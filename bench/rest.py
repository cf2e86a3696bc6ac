"""Requests a second and their latency: start, status and list through `strataflow serve`, beside the bare server.

The server is a process of its own; so is each client, which keeps `_LANES` connections busy. The limit in the same run
is `/live`, a route that no gate guards and that asks no database: what is slower than it, is ours.
"""

from __future__ import annotations

import http.client
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from strataflow.repositories.database import Database
from strataflow.repositories.migrate import upgrade
from strataflow.services.access.keys import KeyService

from .workloads import Figure

__all__ = ["requests"]

_LANES: Final = 8
_WARM_UP: Final = 50
_NODE: Final = {"run": "core.noop", "with": {"x": "{{ inputs.n }}"}}
_DEFINITION: Final[dict[str, Any]] = {
    "dsl": "1",
    "name": "bench.rest",
    "inputs": {"type": "object", "properties": {"n": {"type": "integer"}}},
    "nodes": {"a": _NODE},
}
_START: Final = {"definition": "bench.rest", "inputs": {"n": 1}}


@dataclass(frozen=True)
class _Call:
    """One kind of request, to one server, by one caller."""

    port: int
    token: str
    method: str
    path: str
    body: Any = None


def requests(url: str, count: int) -> list[Figure]:
    """`count` requests of each kind, one at a time and `_LANES` at a time."""
    if url.startswith("sqlite"):
        upgrade(url)
    token = _token(url)
    with _server(url) as port:
        defined = _Call(port, token, "POST", "/definitions", {"definition": _DEFINITION, "activate": True})
        _answer(defined)
        start = _Call(port, token, "POST", "/instances", _START)
        started = json.loads(_answer(start))["id"]
        calls = {
            "bare server": _Call(port, token, "GET", "/live"),
            "start": start,
            "status": _Call(port, token, "GET", f"/instances/{started}"),
            "list of 20": _Call(port, token, "GET", "/instances?limit=20"),
        }
        for call in calls.values():
            _lane(call, _WARM_UP)
        return [figure for name, call in calls.items() for figure in _figures(name, call, count)]


def _figures(name: str, call: _Call, count: int) -> list[Figure]:
    alone = _lane(call, count // 4)
    many, wall = _lanes(call, count)
    latency = {"p99_us": _p99(alone) * 1e6}
    rate = {"p50_us": statistics.median(many) * 1e6, "p99_us": _p99(many) * 1e6}
    return [
        Figure(f"REST {name}, one at a time, p50", statistics.median(alone) * 1e3, "ms", latency),
        Figure(f"REST {name}, {_LANES} at a time", len(many) / wall, "requests/s", rate),
    ]


def _p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[98]


def _lanes(call: _Call, count: int) -> tuple[list[float], float]:
    found: list[float] = []
    threads = [
        threading.Thread(target=lambda: found.extend(_lane(call, count // _LANES))) for _ in range(_LANES)
    ]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - begun
    if len(found) != count // _LANES * _LANES:
        raise SystemExit(f"{call.method} {call.path}: only {len(found)} of {count} requests were answered")
    return found, wall


def _lane(call: _Call, count: int) -> list[float]:
    """Requests one after the other on one connection; seconds of each."""
    connection = http.client.HTTPConnection("127.0.0.1", call.port, timeout=60)
    times: list[float] = []
    for _ in range(count):
        begun = time.perf_counter()
        _on(connection, call)
        times.append(time.perf_counter() - begun)
    connection.close()
    return times


def _answer(call: _Call) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", call.port, timeout=60)
    found = _on(connection, call)
    connection.close()
    return found


def _on(connection: http.client.HTTPConnection, call: _Call) -> str:
    headers = {"Authorization": f"Bearer {call.token}", "Content-Type": "application/json"}
    body = None if call.body is None else json.dumps(call.body)
    connection.request(call.method, "/api/v1" + call.path, body, headers)
    response = connection.getresponse()
    text = response.read().decode()
    if response.status >= 400:
        raise SystemExit(f"{call.method} {call.path}: {response.status} {text[:300]}")
    return text


def _token(url: str) -> str:
    database = Database(url)
    try:
        return KeyService(database, "main").create("bench", ["*:*"]).token
    finally:
        database.close()


@contextmanager
def _server(url: str) -> Generator[int]:
    """`strataflow serve` with an engine, without a limit of requests; gives its port."""
    command = [sys.executable, "-m", "bench.rest", url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        found = re.fullmatch(r"ready (\d+)", line.strip())
        if found is None:
            raise SystemExit("the server did not start")
        yield int(found[1])
    finally:
        process.communicate(timeout=60)


def _serve(url: str) -> None:
    """The application on a free port, until standard input is closed."""
    import uvicorn

    from strataflow.api.rest.app import ServerLimits, create_app
    from strataflow.services.container import Options
    from strataflow.services.namespaces import Namespaces

    options = Options(executes=True, allow_local_code=False, create=True, slots=500, grace_s=0.5)
    app = create_app(Namespaces({"main": url}, options), limits=ServerLimits(rate=0))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="websockets-sansio")
    server = uvicorn.Server(config)

    def tell() -> None:
        while not server.started:
            time.sleep(0.01)
        print(f"ready {server.servers[0].sockets[0].getsockname()[1]}", flush=True)
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=tell, daemon=True).start()
    server.run()


if __name__ == "__main__":
    _serve(sys.argv[1])
