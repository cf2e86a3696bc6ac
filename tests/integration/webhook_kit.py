"""A receiver of webhooks on this machine: it remembers what came, answers what a test says, and verifies by itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.integration.kit import until


@dataclass(frozen=True)
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def type(self) -> str:
        return self.json["type"]

    def signed_by(self, secret: str) -> bool:
        """Verify as the documents tell receivers to; nothing of the product is used."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        text = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        wanted = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        return any(hmac.compare_digest(wanted, each) for each in self.headers["webhook-signature"].split(" "))


Answer = int | tuple[int, dict[str, str]]


class Receiver:
    """What came, in the order of its coming; `answer` says what each request gets."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answer: Callable[[Got], Answer] = lambda _: 200
        self.url = ""
        self._lock = threading.Lock()

    def take(self, got: Got) -> Answer:
        with self._lock:
            self.got.append(got)
        return self.answer(got)

    def wait(self, count: int, kind: str | None = None) -> list[Got]:
        """Wait for so many requests, of one type; gives them."""

        def found() -> list[Got]:
            with self._lock:
                return [got for got in self.got if kind is None or got.type == kind]

        until(lambda: len(found()) >= count)
        return found()


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver on a free port."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            if len(body) != length:  # the sender died in the middle of it
                self.close_connection = True
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            found = receiver.take(Got(self.path, headers, body))
            status, more = found if isinstance(found, tuple) else (found, {})
            self.send_response(status)
            for name, value in {"content-length": "0", **more}.items():
                self.send_header(name, value)
            self.end_headers()

        do_GET = do_POST  # noqa: N815 - the name that the server calls

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
