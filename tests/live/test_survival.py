"""Readers under kills: servers and engines die, readers come back with their cursor, and see every event once."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from strataflow.engine.feed import EventFeed
from strataflow.repositories.database import Database
from strataflow.services.access.keys import KeyService
from tests.live.conftest import listen, sse
from tests.recovery import lab
from tests.recovery.bench import Bench
from tests.recovery.conftest import bench, nursery
from tests.recovery.nursery import until
from tests.recovery.proxy import CommitCutter
from tests.support.cli import Cli

__all__ = ["bench", "nursery"]

pytestmark = [pytest.mark.crash, pytest.mark.timeout(180)]

RUNS = 12
#: A client that leaves in the middle of much does not wait for what was sent to it meanwhile.
ABRUPT: dict[str, Any] = {"close_timeout": 0.1, "max_queue": None}
FLOW = lab.definition(
    "steps",
    {
        "spread": {
            "map": list(range(10)),
            "do": {"run": "lab.work", "with": {"value": "{{ item }}", "ms": 5}},
        },
        "last": {"run": "lab.work", "with": {"value": 1, "ms": 5}, "needs": ["spread"]},
    },
)


class Fleet:
    """Server processes on one database; each may be killed, and is followed by another at an address of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.cli = Cli(url, folder)
        self._lock = threading.Lock()
        self._running: list[tuple[subprocess.Popen[str], str]] = []
        self._turn = 0

    def start(self, *options: str) -> subprocess.Popen[str]:
        process = self.cli.spawn("serve", "--port", "0", "--no-engine", *options)
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"Serving (http://\S+)/api/v1", line):
                break
        else:
            pytest.fail("a server did not start")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        with self._lock:
            self._running.append((process, found[1]))
        return process

    def address(self) -> str:
        """One of them, another one each time: nothing makes a reader stick to a server."""
        with self._lock:
            self._turn += 1
            return self._running[self._turn % len(self._running)][1]

    def kill_one(self) -> None:
        """End the oldest at once, after another has started."""
        self.start()
        with self._lock:
            process, _ = self._running.pop(0)
        process.send_signal(signal.SIGKILL)
        process.wait(20)


@contextmanager
def fleet_on(url: str, folder: Path, count: int) -> Iterator[Fleet]:
    found = Fleet(url, folder)
    try:
        for _ in range(count):
            found.start()
        yield found
    finally:
        found.cli.close()


class Follower:
    """Follows the feed from its begin over one kind of stream, and comes back with its cursor whenever it is cut."""

    def __init__(self, fleet: Fleet, token: str, kind: str, leave_after: int | None = None) -> None:
        self.seen: list[int] = []
        self.cuts = 0
        self.kind = kind
        self.cut_by: object = None
        self._fleet, self._token, self._leave_after = fleet, token, leave_after
        self._read = self._over_sse if kind == "sse" else self._over_websocket
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def wait_for(self, seq: int) -> None:
        """Wait until it has seen so far."""

        def told() -> str:
            return f"{seq}; {self.kind} has {self.cuts} cuts, the last by {self.cut_by!r}, and is at {self.seen[-1:]}"

        until(lambda: not self._thread.is_alive() or (self.seen and self.seen[-1] >= seq), 40, why=told)
        assert self._thread.is_alive(), told()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def _follow(self) -> None:
        cursor = 0
        while not self._stop.is_set():
            before = len(self.seen)
            try:
                for seq in self._read(cursor):
                    self.seen.append(seq)
                    cursor = seq
                    if self._stop.is_set():
                        return
                    if self._leave_after and len(self.seen) - before >= self._leave_after:
                        break
            except (OSError, httpx.HTTPError, ConnectionClosed, InvalidHandshake) as cut:
                self.cuts += 1
                self.cut_by = cut
                self._stop.wait(0.05)

    def _over_sse(self, cursor: int) -> Iterator[int]:
        with sse(self._fleet.address(), self._token, last=str(cursor)) as stream:
            for frame in stream:
                assert frame.event in {"message", "begin", "error"}, frame
                if frame.event == "message" and frame.data:
                    yield frame.data["seq"]
                if self._stop.is_set():
                    return

    def _over_websocket(self, cursor: int) -> Iterator[int]:
        with listen(self._fleet.address(), self._token, query={"after": cursor}, **ABRUPT) as socket:
            while not self._stop.is_set():
                try:
                    message = json.loads(socket.recv(0.5))
                except TimeoutError:
                    continue
                assert message["type"] in {"event", "begin", "heartbeat"}, message
                if message["type"] == "event":
                    yield message["cursor"]


def everything(url: str) -> list[int]:
    database = Database(url)
    try:
        found, cursor, more = list[int](), 0, True
        while more:
            page = EventFeed(database).read(cursor)
            found += [event.seq for event in page.events]
            cursor, more = page.cursor, page.more
        return found
    finally:
        database.close()


def key_of(url: str) -> str:
    database = Database(url)
    try:
        return KeyService(database, "main").create("tests", ["*:*"]).token
    finally:
        database.close()


@pytest.mark.long("sqlite")
@pytest.mark.row("X-39", "A-30")
def test_readers_that_reconnect_under_kills_see_every_event_once_in_order(
    bench: Bench, tmp_path: Path
) -> None:
    """Two servers and an engine are killed while runs go on; four readers reconnect to whichever server answers."""
    token = key_of(bench.url)
    with fleet_on(bench.url, tmp_path, 2) as fleet, ExitStack() as stack:
        followers = [
            Follower(fleet, token, "websocket"),
            Follower(fleet, token, "sse"),
            Follower(fleet, token, "websocket", leave_after=7),
            Follower(fleet, token, "sse", leave_after=7),
        ]
        for follower in followers:
            stack.callback(follower.stop)
        for round_ in range(3):
            bench.start(*[FLOW] * (RUNS // 3), key=None)
            child = bench.spawn("hold")
            child.await_note("up")
            more = len(everything(bench.url)) + 20
            until(lambda more=more: len(everything(bench.url)) >= more)
            child.kill()
            fleet.kill_one()
            assert round_ in range(3)
        bench.drain(60)
        journal = everything(bench.url)
        for follower in followers:
            follower.wait_for(journal[-1])
        journal = everything(bench.url)
        for follower in followers:
            follower.wait_for(journal[-1])
            follower.stop()
    for follower in followers:
        assert follower.seen[: len(journal)] == journal
        assert follower.seen == sorted(set(follower.seen))
    assert sum(follower.cuts for follower in followers) > 0
    bench.judge()


@pytest.mark.parametrize("options", [(), ("--no-engine",)], ids=["engine", "no-engine"])
def test_sigterm_with_open_streams_ends_within_the_grace(db_url: str, tmp_path: Path, options: Any) -> None:
    token = key_of(db_url)
    with fleet_on(db_url, tmp_path, 0) as fleet, ExitStack() as stack:
        process = fleet.cli.spawn("serve", "--port", "0", "--grace", "5s", *options)
        assert process.stderr is not None
        line = process.stderr.readline()
        address = line.split()[1].removesuffix("/api/v1;")
        sockets = [stack.enter_context(listen(address, token)) for _ in range(3)]
        streams = [stack.enter_context(sse(address, token)) for _ in range(2)]
        for each in sockets:
            assert json.loads(each.recv(30))["type"] == "begin"
        for stream in streams:
            assert until(lambda stream=stream: next(stream).event == "begin")
        process.send_signal(signal.SIGTERM)
        codes = [closed(each) for each in sockets]
        assert set(codes) == {1012}, "restart: come back, to another one"
        for stream in streams:
            ended(stream)
        assert process.wait(40) == 0
        assert "Traceback" not in (process.stderr.read() or "")


def closed(socket: Any) -> int | None:
    try:
        while True:
            socket.recv(60)
    except ConnectionClosed as exc:
        return exc.rcvd and exc.rcvd.code


def ended(stream: Any) -> None:
    try:
        for _ in stream:
            pass
    except httpx.RemoteProtocolError:
        return


@pytest.mark.parametrize("db_url", ["postgres"], indirect=True)
def test_a_stream_outlives_an_absence_of_the_database(db_url: str, open_app: Callable[..., Any]) -> None:
    """Every connection is cut and the server seems away; the stream stays, beats, and goes on where it was."""
    with (
        CommitCutter(db_url, seed=1, rate=0.0) as proxy,
        open_app(proxy.proxied, heartbeat_s=0.2) as (api, _),
    ):
        token = api.token()
        with listen(api.client.base_url, token) as socket:
            begun = json.loads(socket.recv(30))["cursor"]
            away(proxy)
            beats = [json.loads(socket.recv(30)) for _ in range(3)]
            assert {each["type"] for each in beats} == {"heartbeat"}
            database = Database(db_url)
            from strataflow.repositories.feed import write_notice

            with database.write() as connection:
                write_notice(connection, "queue.high", "away", {})
            database.close()
            back(proxy)
            message = until(lambda: (found := json.loads(socket.recv(30)))["type"] == "event" and found, 60)
            while message["event"]["queue"] != "away":
                message = until(
                    lambda: (found := json.loads(socket.recv(30)))["type"] == "event" and found, 60
                )
            assert message["cursor"] > begun


def away(proxy: CommitCutter) -> None:
    """Cut every connection, and take no new one."""
    proxy._back_at = float("inf")
    with proxy._lock:
        for one in list(proxy._sockets):
            with suppress(OSError):  # it may have been closed just now
                one.shutdown(2)


def back(proxy: CommitCutter) -> None:
    proxy._back_at = 0.0
