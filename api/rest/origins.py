"""Which web pages may call: those of this very host, and those that somebody has allowed (RELIABILITY R12).

A browser lends a page what it has: it opens WebSockets for any page, and where no key is asked for it sends any page's
requests with the same right as its owner's.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from .problems import Refused

__all__ = ["check_origin"]

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def check_origin(connection: HTTPConnection, allowed: frozenset[str]) -> None:
    """Programs send no Origin; a page must be of this very host, or be allowed. Raises Refused."""
    origin = connection.headers.get("origin")
    if origin is None or origin.lower() in {each.lower().rstrip("/") for each in allowed}:
        return
    try:
        page = urlsplit(origin.lower())
        port = page.port or _PORTS.get(page.scheme)
    except ValueError:
        page, port = urlsplit(""), None
    host, number = _host_of(connection.headers.get("host", ""))
    own = (host, int(number) if number else _PORTS.get(connection.url.scheme))
    if page.scheme in {"http", "https"} and (page.hostname, port) == own:
        return
    detail = f"pages of {origin[:200]!r} may not call here."
    raise Refused(403, "origin", detail, hint="Name it with --allow-origin.")


def _host_of(header: str) -> tuple[str, str]:
    found = re.fullmatch(r"\[?([^\]]*?)\]?(?::(\d{1,5}))?", header.strip().lower())
    return ("", "") if found is None else (found[1], found[2] or "")
