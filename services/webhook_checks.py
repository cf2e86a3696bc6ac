"""What a webhook may be: its name, where it goes, what it is told of."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from ..engine.errors import Problem
from ..engine.feed import EVENTS, unknown_pattern
from ..engine.webhooks import OWN_EVENTS
from ..executors.egress import VARIABLE, Egress

__all__ = ["name_problems", "spec_problems"]

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LONGEST_URL: Final = 2_000
_MOST_PATTERNS: Final = 50
_LONGEST_PATTERN: Final = 100
_LONGEST_DEFINITION: Final = 512


def name_problems(name: str) -> list[Problem]:
    """What is wrong with a name."""
    if _NAME.fullmatch(name):
        return []
    hint = "It has 1 to 128 letters, digits, '_', '.' and '-', and begins with one of the first three."
    return [Problem("/name", "wrong_value", "this is no name of a webhook", hint)]


def spec_problems(url: str, events: Sequence[str], definition: str | None, egress: Egress) -> list[Problem]:
    """Everything that is wrong with the rest of a webhook."""
    found = _pattern_problems(events)
    if (wrong := _url_problem(url, egress)) is not None:
        found.insert(0, wrong)
    if definition is not None and not (
        definition.isprintable() and 1 <= len(definition) <= _LONGEST_DEFINITION
    ):
        found.append(Problem("/definition", "wrong_value", "this is no name of a definition"))
    return found


def _url_problem(url: str, egress: Egress) -> Problem | None:
    """None of these repeats the URL: it may hold a token."""
    import httpx

    def wrong(message: str, hint: str = "") -> Problem:
        return Problem("/url", "wrong_value", message, hint)

    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        return wrong(f"a URL is at most {_LONGEST_URL} printable ASCII characters without blanks")
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return wrong("this is no URL", "Such as https://example.org/hook.")
    if (
        parts.scheme not in {"http", "https"}
        or not parts.raw_host
        or not 1 <= (80 if parts.port is None else parts.port) <= 65_535
    ):
        return wrong("a URL begins with https:// or http:// and names a host")
    if parts.userinfo:
        return wrong("a URL holds no password", "Messages are signed: the receiver needs none.")
    if parts.fragment:
        return wrong("a URL has no fragment")
    host = parts.raw_host.decode("ascii").strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        private = host == "localhost" or host.endswith(".localhost")
        refused = private and not egress.allows("127.0.0.1")
    else:
        refused = not egress.allows(host)
    return wrong("this address is not public", f"{VARIABLE} allows networks.") if refused else None


def _pattern_problems(events: Sequence[str]) -> list[Problem]:
    if not 1 <= len(events) <= _MOST_PATTERNS:
        hint = "Such as instance.*."
        message = f"a webhook takes 1 to {_MOST_PATTERNS} patterns of events"
        return [Problem("/events", "wrong_value", message, hint)]
    found: list[Problem] = []
    for number, pattern in enumerate(events):
        if len(pattern) > _LONGEST_PATTERN:
            message: str | None = f"a pattern has at most {_LONGEST_PATTERN} characters"
        elif all(name.startswith(OWN_EVENTS) for name in EVENTS if fnmatchcase(name, pattern)):
            message = unknown_pattern(pattern) or "events about webhooks go to no webhook"
        else:
            continue
        found.append(Problem(f"/events/{number}", "wrong_value", message))
    return found
