"""Readers of live streams, and the served application of the REST tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection

from strataflow.api.live.settings import StreamLimits
from strataflow.api.live.streams import Streams
from strataflow.api.rest.app import ServerLimits, create_app
from strataflow.services.container import Options
from strataflow.services.namespaces import Namespaces
from tests.rest.conftest import API, Served, api, listening, serve, token

__all__ = [
    "PATH",
    "Frame",
    "api",
    "frames",
    "listen",
    "open_app",
    "serve",
    "sse",
    "talk",
    "to_the_end",
    "token",
]

PATH = API + "/events/stream"
STREAM = {"Accept": "text/event-stream"}


@dataclass
class Frame:
    """One block of server-sent events."""

    id: str | None = None
    event: str = "message"
    data: Any = None
    comments: list[str] = field(default_factory=list)


def frames(response: httpx.Response) -> Iterator[Frame]:
    """Parse a response as it comes."""
    found, some = Frame(), False
    for line in response.iter_lines():
        if not line:
            if some:
                yield found
            found, some = Frame(), False
            continue
        some = True
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            found.comments.append(value)
        elif name == "id":
            found.id = value
        elif name == "event":
            found.event = value
        elif name == "data":
            found.data = json.loads(value)


@contextmanager
def sse(
    address: str | httpx.URL, token: str | None, path: str = PATH, *, last: str | None = None, **query: Any
) -> Iterator[Iterator[Frame]]:
    """Open a stream of server-sent events."""
    headers = dict(STREAM)
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if last is not None:
        headers["Last-Event-ID"] = last
    with (
        httpx.Client(base_url=address, timeout=30) as client,
        client.stream("GET", path, headers=headers, params=query) as response,
    ):
        if response.status_code != 200:
            response.read()
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        yield frames(response)


def listen(address: str | httpx.URL, token: str | None, path: str = PATH, **more: Any) -> ClientConnection:
    """Open a WebSocket; `query` and what `connect` takes."""
    query = more.pop("query", {})
    url = httpx.URL(str(more.pop("place", address))).copy_with(scheme="ws", path=path, params=query)
    headers = dict(more.pop("headers", {}))
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return connect(str(url), additional_headers=headers, proxy=None, **more)


def talk(socket: Connection, timeout_s: float = 30.0) -> Any:
    """Give the next message."""
    return json.loads(socket.recv(timeout_s))


def to_the_end(socket: Connection) -> tuple[list[Any], int | None, str]:
    """Give the messages up to the other side's close, its code, and its reason."""
    found: list[Any] = []
    try:
        while True:
            found.append(talk(socket))
    except ConnectionClosed as closed:
        return found, closed.rcvd and closed.rcvd.code, closed.rcvd.reason if closed.rcvd else ""


@pytest.fixture
def open_app(db_url: str) -> Any:
    """Give the way to run an application whose streams can be looked at."""

    @contextmanager
    def run(
        url: str = db_url, imports: tuple[str, ...] = (), **limits: Any
    ) -> Iterator[tuple[Served, Streams]]:
        options = Options(executes=True, imports=imports, allow_local_code=False, create=True, grace_s=1.0)
        walls = ServerLimits(rate=0, streams=StreamLimits(**limits))
        app = create_app(Namespaces({"main": url}, options), limits=walls)
        with listening(app) as address, httpx.Client(base_url=address, timeout=60) as client:
            yield Served(client, {"main": db_url}), app.state.streams

    return run
