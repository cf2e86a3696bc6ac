"""One HTTP client per event loop, and reading of answers within a cap.

The client keeps no cookies, reads no proxy settings and follows no redirect by itself, because everything it
might carry from one task to another, or from one host to another, must be decided in `http.py`. With an `Egress` it
connects to nothing but what that allows, on every hop of every request.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Final

from .egress import Egress

if TYPE_CHECKING:
    import httpx

__all__ = ["BodyRefused", "client_of_this_loop", "read_body"]

#: Bytes of a response's body, both as sent and unpacked.
BODY_CAP: Final = 10_000_000
#: Idle connections kept per loop; busy ones are bounded by the engine's slots.
_KEPT_CONNECTIONS: Final = 50

_Key = tuple[asyncio.AbstractEventLoop, Egress | None]
_clients: Final[dict[_Key, tuple[httpx.AsyncClient, AsyncGenerator[None, None]]]] = {}


class BodyRefused(Exception):
    """Raised when a body is too large, or packed in a way that cannot be unpacked within the cap."""


async def client_of_this_loop(egress: Egress | None = None) -> httpx.AsyncClient:
    """The running loop's client, made on first use and closed with the loop; with `egress`, one that asks it."""
    key = (asyncio.get_running_loop(), egress)
    if key not in _clients:
        # Importing httpx and reading the certificates takes half a second: not on the loop.
        client = await asyncio.to_thread(new_client, egress)
        if key not in _clients:
            for gone in [other for other in list(_clients) if other[0].is_closed()]:
                _clients.pop(gone, None)
            keeper = _keep_open(key, client)
            _clients[key] = (client, keeper)
            await anext(keeper)
    return _clients[key][0]


def new_client(egress: Egress | None = None) -> httpx.AsyncClient:
    """A client without cookies, proxies, redirects and time limits of its own."""
    import httpx

    transport = None
    if egress is not None:
        from .guarded_transport import GuardedTransport

        transport = GuardedTransport(egress)
    return httpx.AsyncClient(
        transport=transport,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"user-agent": "strataflow", "accept-encoding": "gzip, deflate"},
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS),
        timeout=None,  # noqa: S113  # `http.request` bounds the whole exchange
        trust_env=False,
    )


async def _keep_open(key: _Key, client: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    """Hold the client open until the loop ends: `asyncio.run` closes generators that still wait."""
    try:
        async with client:
            yield
    finally:
        _clients.pop(key, None)


async def read_body(response: httpx.Response) -> bytes:
    """The unpacked body. Unpacked here, because a few packed kilobytes may become gigabytes before a cap is seen.

    Raises BodyRefused.
    """
    data = bytearray()
    async for part in response.aiter_raw():
        data += part
        if len(data) > BODY_CAP:
            raise _too_large()
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity") or not data:
        return bytes(data)
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise BodyRefused(f"the answer is encoded as {encoding[:40]!r}, which was not asked for")
    return _unpack(bytes(data), encoding)


def _unpack(data: bytes, encoding: str) -> bytes:
    # "deflate" means the zlib format, but some servers send it raw.
    windows = (zlib.MAX_WBITS, -zlib.MAX_WBITS) if encoding == "deflate" else (zlib.MAX_WBITS | 16,)
    for bits in windows:
        unpacker = zlib.decompressobj(bits)
        try:
            body = unpacker.decompress(data, BODY_CAP + 1)
        except zlib.error:
            continue
        if len(body) > BODY_CAP:
            raise _too_large()
        if not unpacker.eof:
            break
        return body
    raise BodyRefused(f"the answer's {encoding} body is damaged")


def _too_large() -> BodyRefused:
    return BodyRefused(f"the answer is larger than {BODY_CAP // 1_000_000} MB")
