"""A transport that connects to addresses that were looked at, and to no other (RELIABILITY R6).

The name stays the request's: certificates are checked against it, and redirects start from it. Connections are not
kept, because one that was checked for a name must not carry requests for another.
"""

from __future__ import annotations

from typing import Final

import httpx

from .egress import Egress

__all__ = ["GuardedTransport"]

_PORTS: Final = {"http": 80, "https": 443}


class GuardedTransport(httpx.AsyncBaseTransport):
    """Resolves the host of every request, and of every hop of it, through `egress`."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(limits=limits, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it to the first address that can be connected to. Raises AddressRefused."""
        host = request.url.raw_host.decode("ascii").strip("[]")
        port = request.url.port or _PORTS.get(request.url.scheme, 0)
        try:
            addresses = await self._egress.resolve(host, port)
        except OSError as exc:
            raise httpx.ConnectError(str(exc), request=request) from exc
        last = len(addresses) - 1
        for number, address in enumerate(addresses):
            sent = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await self._inner.handle_async_request(sent)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if number == last:
                    raise
        raise httpx.ConnectError(f"{host} has no address", request=request)

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()
