"""The domain `http`: one request, its answer as JSON.

Nothing of the engine goes out with it: no proxy settings, no cookies, no credentials. Redirects are followed
at most three times, and what the definition's author put into the headers stays with the host it was meant
for. Errors name the host only: the rest of a URL may hold secrets.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from .base import Json, TaskContext
from .domain import ExecutorDomain
from .egress import AddressRefused, Egress
from .errors import ExecutorError, storable_text
from .fields import BuiltinConfig, DurationText, Text, seconds_of
from .http_client import BodyRefused, client_of_this_loop, read_body

if TYPE_CHECKING:
    import httpx

__all__ = ["http", "http_domain"]

MAX_REDIRECTS: Final = 3
_EXCERPT_CAP: Final = 2048
_RETRYABLE: Final = frozenset({408, 429})
#: Errors of httpx that say the request itself is wrong; all others may pass.
_LASTING: Final = frozenset({"InvalidURL", "UnsupportedProtocol", "LocalProtocolError"})
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Python knows many more codecs, some of them slow enough to be a weapon.
_CHARSET: Final = re.compile(
    r"utf-?(8|16)|us-ascii|iso-8859-(1?[1-9]|10|1[3-6])|windows-125[0-8]", re.IGNORECASE
)
#: What may follow a redirect to another host; all other headers of the definition may be credentials.
_HARMLESS_HEADERS: Final = frozenset({"accept", "accept-language", "content-type"})
#: Ours: they are for the host that the definition names.
_OWN_HEADERS: Final = frozenset({"idempotency-key", "traceparent", "tracestate", "baggage"})
#: Set by the transport; a definition that sets them could make one request look like two.
_REFUSED_HEADERS: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


def _web_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("the URL must be absolute and begin with http:// or https://")
    return url


def _header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("this is no name of a header")
    if name.lower() in _REFUSED_HEADERS or name.lower().startswith("proxy-"):
        raise ValueError("this header is set by the transport")
    return name


def _header_value(value: str) -> str:
    if not value.isascii() or any((ord(char) < 32 and char != "\t") or ord(char) == 127 for char in value):
        raise ValueError("a header's value is ASCII without control characters")
    return value.strip()


HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[Text, AfterValidator(_header_value)]
Expected = Annotated[int, Field(ge=200, le=599)] | Annotated[str, Field(pattern="^[2-5]xx$")]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class RequestConfig(BuiltinConfig):
    url: Annotated[str, AfterValidator(_web_address)]
    method: Method = "GET"
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict[str, str])
    #: Added to the query of `url`, replacing its values of the same names; a list repeats its name, null leaves
    #: it out.
    query: dict[str, Text | list[Text] | None] = Field(default_factory=dict[str, str | list[str] | None])
    json_body: Any = Field(default=None, alias="json")
    #: A text, sent as UTF-8.
    body: str | None = None
    #: For the whole exchange, redirects and body included.
    timeout: DurationText = "30s"
    #: Status codes, or ranges such as "2xx", that are a success.
    expect: list[Expected] = Field(default=["2xx"], min_length=1)
    #: Tell the other side the trace that the request belongs to, where the engine traces.
    trace: bool = True

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.has_json and self.body is not None:
            raise ValueError("only one of 'json' and 'body' can be sent")
        return self

    @property
    def has_json(self) -> bool:
        """True even for `"json": null`, which sends `null`."""
        return "json_body" in self.model_fields_set

    def expects(self, status: int) -> bool:
        """True if this status code is a success."""
        return status in self.expect or f"{status // 100}xx" in self.expect


class HttpError(ExecutorError):
    """Base of what a request can fail with."""


class Status(HttpError):
    """Raised for a status code that was not expected; details: status, body (its beginning)."""


class Timeout(HttpError):
    """Raised when the exchange took longer than `timeout`."""


class RequestFailed(HttpError):
    """Raised when there was no answer; the code is the transport's own word, e.g. `http.ConnectError`."""


class TooManyRedirects(HttpError):
    """Raised after three redirects."""

    retryable = False


class BadResponse(HttpError):
    """Raised when the answer's body cannot be taken: too large, damaged, or not the JSON it says it is."""


class Forbidden(HttpError):
    """Raised when an address is not public and nobody has allowed it; nothing was sent there."""

    retryable = False


def http_domain(egress: Egress | None = None) -> ExecutorDomain:
    """The domain; with `egress` its requests go to public addresses, and to what that allows."""
    domain = ExecutorDomain("http")

    @domain.executor("request", config=RequestConfig)
    async def request(ctx: TaskContext, config: RequestConfig) -> Json:  # pyright: ignore[reportUnusedFunction] - kept by the domain
        """Send one request; return {status, headers, body}, the body parsed if it is JSON."""
        limit_s = seconds_of(config.timeout)
        try:
            async with asyncio.timeout(limit_s):
                return await _exchange(ctx, config, egress)
        except TimeoutError:
            raise Timeout(f"{_told(config)} took longer than {config.timeout}") from None
        except AddressRefused as exc:
            raise Forbidden(f"{_told(config)} is refused: {exc}") from None

    return domain


async def _exchange(ctx: TaskContext, config: RequestConfig, egress: Egress | None) -> Json:
    client = await client_of_this_loop(egress)
    import httpx  # the client's maker has loaded it, off the loop

    try:
        response = await _send(client, _build(client, ctx, config), config)
        try:
            body = await read_body(response)
        finally:
            await response.aclose()
    except BodyRefused as exc:
        raise BadResponse(f"{_told(config)}: {exc}", retryable=False) from None
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        name = type(exc).__name__
        lasting = name in _LASTING
        # What says that the request is wrong quotes from it.
        told = f"{_told(config)} failed: {name if lasting else str(exc) or name}"
        raise RequestFailed(told, code=name, retryable=not lasting) from None
    return _answer(config, response, body)


def _build(client: httpx.AsyncClient, ctx: TaskContext, config: RequestConfig) -> httpx.Request:
    import httpx

    headers = {name.lower(): value for name, value in config.headers.items()}
    if config.method != "GET":
        headers.setdefault("idempotency-key", ctx.idempotency_key)
    if config.trace:
        for name, value in ctx.trace_headers().items():
            headers.setdefault(name.lower(), value)
    content = None if config.body is None else config.body.encode("utf-8", "surrogatepass")
    if config.has_json:
        content = json.dumps(
            config.json_body, ensure_ascii=True, allow_nan=False, separators=(",", ":")
        ).encode()
        headers.setdefault("content-type", "application/json")
    query = {name: value for name, value in config.query.items() if value is not None}
    # httpx would replace the URL's own query by `params`.
    url = httpx.URL(config.url).copy_merge_params(query)
    return client.build_request(config.method, url, headers=headers, content=content)


async def _send(client: httpx.AsyncClient, request: httpx.Request, config: RequestConfig) -> httpx.Response:
    for _ in range(MAX_REDIRECTS + 1):
        response = await client.send(request, stream=True, follow_redirects=False)
        following = response.next_request
        if following is None or config.expects(response.status_code):
            return response
        await response.aclose()
        if _origin(following.url) != _origin(request.url):
            for name in {*_OWN_HEADERS, *map(str.lower, config.headers)} - _HARMLESS_HEADERS:
                following.headers.pop(name, None)
        request = following
    raise TooManyRedirects(f"{_told(config)} was redirected more than {MAX_REDIRECTS} times")


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _answer(config: RequestConfig, response: httpx.Response, body: bytes) -> Json:
    status = response.status_code
    charset = response.charset_encoding or ""
    text = body.decode(charset if _CHARSET.fullmatch(charset) else "utf-8", "replace")
    if not config.expects(status):
        raise Status(
            f"{_told(config)} answered {status}",
            retryable=status >= 500 or status in _RETRYABLE,
            details={"status": status, "body": storable_text(text, _EXCERPT_CAP)},
        )
    return {"status": status, "headers": dict(response.headers), "body": _parsed(config, response, text)}


def _parsed(config: RequestConfig, response: httpx.Response, text: str) -> Json:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        return text
    if not text:
        return None
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise BadResponse(f"{_told(config)} answered with a body that is not JSON: {exc}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _told(config: RequestConfig) -> str:
    parts = urlsplit(config.url)
    host = parts.hostname or ""
    return f"{config.method} {parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}"


http: Final = http_domain()
