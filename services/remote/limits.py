"""Counters of a server's limits, and the numbers that people set."""

from __future__ import annotations

from ...engine.errors import NotFound
from ..limits import LimitView
from .client import Remote, at
from .records import revive

__all__ = ["RemoteLimits"]


class RemoteLimits:
    """As `LimitService`, through a server."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def list(self, *, kind: str | None = None, after: str = "", limit: int = 1_000) -> list[LimitView]:
        """Counters that people have set, that are in use, or were until lately, by name; `after` is the last seen."""
        found = self._remote.pages(
            "/limits", {"kind": kind}, after=place(after) if after else None, limit=limit
        )
        return [revive(LimitView, each) for each in found]

    def set(
        self,
        name: str,
        *,
        concurrency: int | None = None,
        rate: str | None = None,
        burst: int | None = None,
    ) -> LimitView:
        """Give a counter numbers, which count from the next claim on. Raises RequestError."""
        body = {"concurrency": concurrency, "rate": rate, "burst": burst}
        self._remote.send("PUT", at("limits", name, "numbers"), body)
        return revive(LimitView, self._remote.get(at("limits", name)))

    def unset(self, name: str) -> bool:
        """Take numbers back; False when nobody had set any."""
        try:
            self._remote.send("DELETE", at("limits", name, "numbers"))
        except NotFound:
            return False
        return True


def place(name: str) -> str:
    """Where a page begins behind this name."""
    import base64
    import json

    return base64.urlsafe_b64encode(json.dumps([name]).encode()).decode().rstrip("=")
