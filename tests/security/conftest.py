"""The served application of the REST tests, and bytes that no client would send."""

from __future__ import annotations

import socket

from tests.rest.conftest import Served, api, serve, token

__all__ = ["api", "raw", "serve", "token"]


def raw(api: Served, head: str, body: bytes = b"") -> tuple[int, str]:
    """Send these very lines; gives the status and the whole answer."""
    address = api.client.base_url
    with socket.create_connection((address.host, address.port or 0), timeout=30) as sock:
        sock.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
        found = b""
        while chunk := sock.recv(65_536):
            found += chunk
    text = found.decode()
    return int(text.split(" ", 2)[1]), text
