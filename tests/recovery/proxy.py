"""A TCP proxy before Postgres that swallows the server's answer to a COMMIT and cuts the connection.

The transaction is committed, and its writer cannot know: the ambiguous commit. Loopback only.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit, urlunsplit

__all__ = ["CommitCutter"]

#: CommandComplete with the tag COMMIT, as the server sends it.
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"


class CommitCutter:
    """Forwards everything to the server of `url`; `proxied` is the URL to use instead."""

    def __init__(self, url: str, *, seed: int, rate: float, away_s: tuple[float, float] = (0.0, 0.0)) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._random = random.Random(seed)
        self._rate = rate
        self._away = away_s
        self._back_at = 0.0
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._stopping = False
        #: Commits whose answer was swallowed.
        self.cuts = 0
        #: False lets everything through.
        self.armed = True
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        account = parts.netloc.rpartition("@")[0]
        place = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.proxied = urlunsplit(parts._replace(netloc=f"{account}@{place}" if account else place))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._server.close()
        with self._lock:
            for one in self._sockets:
                _hang_up(one)

    def _accept(self) -> None:
        while not self._stopping:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if time.monotonic() < self._back_at:  # the server seems to be away for a while
                client.close()
                continue
            try:
                server = socket.create_connection(self._target, timeout=5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets |= {client, server}
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:  # noqa: FBT001 - private
        with suppress(OSError):
            while data := source.recv(65536):
                if answers and COMMITTED in data and self._cuts_now():
                    break
                target.sendall(data)
        for one in (source, target):
            _hang_up(one)
            with self._lock:
                self._sockets.discard(one)

    def _cuts_now(self) -> bool:
        with self._lock:
            if not self.armed or self._random.random() >= self._rate:
                return False
            self.cuts += 1
            self._back_at = time.monotonic() + self._random.uniform(*self._away)
            return True


def _hang_up(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
