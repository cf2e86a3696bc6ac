"""One server over HTTP: asked again where that is safe, its problems raised as the engine's errors.

Reads may be repeated, and so may writes: they carry an Idempotency-Key of their own, under which the server gives its
first answer again. Redirects are not followed, so that a token goes nowhere else.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

import httpx

from ...engine.errors import DatabaseUnavailable, EngineError, QueueFull, RequestError
from .problems import NotUnderstood, Unreached, error_of

__all__ = ["PREFIX", "Remote", "Target", "at", "server_url"]

PREFIX: Final = "/api/v1"
#: Entries of a page.
PAGE: Final = 500
_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
#: How long a call is tried again while nobody answers, its first pause and its longest.
_PATIENCE_S: Final = 1.0
_PAUSE_S: Final = 0.1
_LONGEST_S: Final = 2.0
#: How often a server may say that it cannot now, and how long it may ask to be left alone.
_TRIES: Final = 5
_LATER_S: Final = 30.0
_HINT: Final = "Is `strataflow serve` running there? --server names another one."
Query = Mapping[str, Any]


@dataclass(slots=True, frozen=True)
class Target:
    """Which server, and as whom."""

    url: str
    token: str | None = field(default=None, repr=False)


def server_url(text: str) -> str:
    """A server's address in one form. Raises RequestError for what is none, or holds a password."""
    hint = "Write https://host:port, as `strataflow serve` says it."
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError as exc:
        raise RequestError(f"{text!r} is no address of a server: {exc}.", hint=hint) from exc
    if parts.username or parts.password:
        raise RequestError("an address holds no password.", hint="Give the token in STRATAFLOW_TOKEN.")
    if parts.scheme not in {"http", "https"} or not host or port == 0 or parts.query or parts.fragment:
        raise RequestError(f"{text!r} is no address of a server.", hint=hint)
    return text.rstrip("/").removesuffix(PREFIX)


def at(*parts: str) -> str:
    """A path from its parts, whatever they hold."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


class Remote:
    """Calls a server. One thread's."""

    def __init__(
        self,
        target: Target,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url, self.token = target.url, target.token
        self._sleep = sleep
        headers = {"Accept": "application/json"}
        if target.token is not None:
            headers["Authorization"] = f"Bearer {target.token}"
        self._client = httpx.Client(
            base_url=target.url + PREFIX, headers=headers, timeout=_TIMEOUT, transport=transport
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    # --- asking

    def get(self, path: str, query: Query | None = None, *, patience_s: float = _PATIENCE_S) -> Any:
        """The value of an answer. Raises the error that the server tells, DatabaseUnavailable if nobody answers."""
        return self._json(self._call("GET", path, query, patience_s=patience_s))

    def changed(
        self, path: str, query: Query, tag: str | None, *, patience_s: float = _PATIENCE_S
    ) -> tuple[str, Any]:
        """The tag of an answer and its value; None instead of the value if the tag is still the one given."""
        headers = {} if tag is None else {"If-None-Match": tag}
        found = self._call("GET", path, query, headers=headers, patience_s=patience_s)
        return found.headers.get("etag", ""), None if found.status_code == 304 else self._json(found)

    def pages(
        self,
        path: str,
        query: Query | None = None,
        *,
        after: str | None = None,
        limit: int | None = None,
        size: int = PAGE,
    ) -> Iterator[dict[str, Any]]:
        """The entries of a list, page by page, at most `limit`."""
        return islice(
            self._entries(path, query or {}, after, size if limit is None else min(size, limit)), limit
        )

    def _entries(self, path: str, query: Query, after: str | None, size: int) -> Iterator[dict[str, Any]]:
        while True:
            page: dict[str, Any] = self.get(path, {**query, "limit": size, "after": after})
            yield from page["items"]
            after = page.get("next")
            if after is None:
                return

    @contextmanager
    def lines(self, path: str, accept: str = "application/x-ndjson") -> Generator[Iterator[str]]:
        """The lines of a long answer, as they come; each with its end."""
        try:
            with self._client.stream("GET", path.lstrip("/"), headers={"Accept": accept}) as response:
                if not response.is_success:
                    raise error_of(response.status_code, response.read(), self.url)
                yield (f"{line}\n" for line in response.iter_lines())
        except httpx.TransportError as exc:
            raise self._unreachable(exc) from exc

    # --- changing

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Query | None = None,
        lines: Iterable[str] | None = None,
        match: str | None = None,
        keyed: bool = True,
    ) -> Any:
        """Change something, once, however often it has to be tried; gives the value of the answer.

        With `match`, the tag that a read gave, only if it is still as it was then. Not `keyed` is for answers that
        hold a secret: the server keeps none of them, so the call is tried again only if it cannot have arrived.
        """
        headers = {"Idempotency-Key": str(uuid.uuid4())} if keyed else {}
        if match:
            headers["If-Match"] = match
        content = None
        if lines is not None:
            content, headers["Content-Type"] = "".join(lines).encode(), "application/x-ndjson"
        elif body is not None:
            content, headers["Content-Type"] = _written(body), "application/json"
        return self._json(self._call(method, path, query, headers=headers, content=content))

    # --- the wire

    def _call(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> httpx.Response:
        request = self._client.build_request(
            method, path.lstrip("/"), params=_params(query or {}), headers=headers, content=content
        )
        until, pause, tries = time.monotonic() + patience_s, _PAUSE_S, 0
        while True:
            soon = pause if time.monotonic() + pause <= until else None
            try:
                response = self._client.send(request)
            except httpx.TransportError as exc:
                error, later = self._unreachable(exc), soon if _may_repeat(request, exc) else None
            else:
                if response.is_success or response.status_code == 304:
                    return response
                tries += 1
                error = error_of(response.status_code, response.content, self.url)
                away = isinstance(error, Unreached) and _may_repeat(request)
                later = soon if away else _later(response, error, tries)
            if later is None:
                raise error
            self._sleep(later)
            pause = min(2 * pause, _LONGEST_S)

    def _unreachable(self, exc: httpx.TransportError) -> EngineError:
        reason = str(exc) or type(exc).__name__
        return DatabaseUnavailable(
            f"the server {self.url} does not answer: {reason.rstrip('.')}.", hint=_HINT
        )

    def _json(self, response: httpx.Response) -> Any:
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise NotUnderstood(
                f"{self.url} answers, and not as Strataflow does.",
                hint="Is it the address of `strataflow serve`, without /api/v1?",
            ) from None


def _params(query: Query) -> httpx.QueryParams:
    found: list[tuple[str, Any]] = []
    for name, value in query.items():
        values = cast("list[Any]", value) if isinstance(value, list) else [value]
        found += [(name, _text(each)) for each in values if each is not None]
    return httpx.QueryParams(found)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _written(body: Any) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as exc:
        raise RequestError(f"what is sent is no JSON: {exc}.") from exc


def _may_repeat(request: httpx.Request, exc: httpx.TransportError | None = None) -> bool:
    """Whether a call may be sent again: it changes nothing, or nothing twice, or it cannot have arrived."""
    if request.method == "GET" or "idempotency-key" in request.headers:
        return True
    return isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout)


def _later(response: httpx.Response, error: EngineError, tries: int) -> float | None:
    """In how many seconds the same call may be tried again; None: never."""
    text = response.headers.get("retry-after", "")
    if tries >= _TRIES or isinstance(error, QueueFull) or response.status_code not in {409, 429, 503}:
        return None
    return min(float(text), _LATER_S) if text.isdecimal() else None
