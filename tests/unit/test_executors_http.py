"""`http.request` against a server on this machine."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from strataflow.executors import http_client
from strataflow.executors.builtin import default_registry
from strataflow.executors.errors import ConfigRefused, ExecutorError, error_from_exception
from strataflow.executors.invoke import invoke
from strataflow.executors.threads import WorkerThreads
from tests.unit.test_executors_base import context

REQUEST = default_registry(entry_points=False).get_executor("http.request")
POOL = WorkerThreads(1)
WAIT_S = 10

Answer = tuple[int, dict[str, str], bytes]


class Server(ThreadingHTTPServer):
    """Answers by a table of paths; keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer | Callable[[Handler], Answer]] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    def answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, headers, self.rfile.read(length)))
        found = self.server.answers.get(self.path.partition("?")[0], (404, {}, b"nothing here"))
        status, extra, body = found(self) if callable(found) else found
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815


def served() -> Iterator[Server]:
    """Serve until the test has ended."""
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join(WAIT_S)


@pytest.fixture
def server() -> Iterator[Server]:
    yield from served()


@pytest.fixture
def other() -> Iterator[Server]:
    yield from served()


def run(config: dict[str, Any]) -> Any:
    """Send one request on a loop of its own."""
    return asyncio.run(invoke(REQUEST, context(), config, pool=POOL))


def error_of(config: dict[str, Any]) -> Any:
    """Give the stored error of a request that fails."""
    with pytest.raises(ExecutorError) as caught:
        run(config)
    return error_from_exception(caught.value, "http")


JSON = {"content-type": "application/json"}


def test_a_request_gives_status_headers_and_parsed_body(server: Server) -> None:
    server.answers["/a"] = (200, {**JSON, "X-More": "1"}, b'{"n": [1, null, "\xc3\xa9"]}')
    answer = run({"url": f"{server.url}/a"})
    assert (answer["status"], answer["body"]) == (200, {"n": [1, None, "é"]})
    assert answer["headers"]["x-more"] == "1"
    assert json.loads(json.dumps(answer)) == answer
    method, path, headers, body = server.asked[0]
    assert (method, path, body) == ("GET", "/a", b"")
    assert headers["user-agent"] == "strataflow"
    assert "idempotency-key" not in headers


@pytest.mark.parametrize(
    ("headers", "body", "parsed"),
    [
        ({"content-type": "application/problem+json; charset=utf-8"}, b"[1]", [1]),
        (JSON, b"", None),
        ({"content-type": "text/plain"}, b"[1]", "[1]"),
        ({}, b"", ""),
        ({"content-type": "text/plain; charset=iso-8859-1"}, b"\xe9", "é"),
        ({"content-type": "text/plain; charset=punycode"}, b"a-b", "a-b"),
        ({"content-type": "text/plain; charset=no-such"}, "é".encode(), "é"),
        ({"content-type": "image/png"}, b"\xff\x00", "\ufffd\x00"),
    ],
)
def test_bodies(server: Server, headers: dict[str, str], body: bytes, parsed: Any) -> None:
    server.answers["/a"] = (200, headers, body)
    assert run({"url": f"{server.url}/a"})["body"] == parsed


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_every_method_but_get_sends_the_idempotency_key(server: Server, method: str) -> None:
    server.answers["/a"] = (200, {}, b"")
    run({"url": f"{server.url}/a", "method": method})
    run({"url": f"{server.url}/a", "method": method, "headers": {"Idempotency-Key": "mine"}})
    assert [asked[0] for asked in server.asked] == [method] * 2
    assert [asked[2]["idempotency-key"] for asked in server.asked] == ["0190-i/step", "mine"]


@pytest.mark.parametrize(
    ("given", "body", "kind"),
    [
        ({"json": {"n": 1.5, "é": None}}, b'{"n":1.5,"\\u00e9":null}', "application/json"),
        ({"json": None}, b"null", "application/json"),
        ({"json": 1, "headers": {"content-type": "application/vnd.x+json"}}, b"1", "application/vnd.x+json"),
        ({"body": "é"}, "é".encode(), None),
        ({"body": "a=b", "headers": {"Content-Type": "text/x"}}, b"a=b", "text/x"),
    ],
)
def test_what_is_sent(server: Server, given: dict[str, Any], body: bytes, kind: str | None) -> None:
    server.answers["/a"] = (200, {}, b"")
    run({"url": f"{server.url}/a", "method": "POST", **given})
    assert server.asked[0][3] == body
    assert server.asked[0][2].get("content-type") == kind


def test_query_is_added_to_that_of_the_url(server: Server) -> None:
    server.answers["/a"] = (200, {}, b"")
    run({"url": f"{server.url}/a?z=0&n=9", "query": {"n": 1, "q": ["x y", True], "none": None}})
    assert server.asked[0][1] == "/a?z=0&n=1&q=x+y&q=true"


@pytest.mark.parametrize(
    ("status", "expect", "fine"),
    [
        (200, None, True),
        (204, None, True),
        (404, None, False),
        (404, [404], True),
        (404, ["4xx"], True),
        (200, [201, "4xx"], False),
        (503, ["2xx", 503], True),
        (304, None, False),
    ],
)
def test_expected_statuses(*, server: Server, status: int, expect: Any, fine: bool) -> None:
    server.answers["/a"] = (status, {}, b"")
    config = {"url": f"{server.url}/a", **({} if expect is None else {"expect": expect})}
    if fine:
        assert run(config)["status"] == status
    else:
        assert error_of(config).details["status"] == status


@pytest.mark.parametrize(
    ("status", "retryable"), [(400, False), (404, False), (408, True), (429, True), (500, True), (503, True)]
)
def test_which_statuses_are_worth_another_attempt(*, server: Server, status: int, retryable: bool) -> None:
    server.answers["/a"] = (status, {}, b"x" * 10_000)
    error = error_of({"url": f"{server.url}/a?token=hunter2"})
    assert (error.code, error.codes[-1], error.retryable) == ("http.Status", "http.HttpError", retryable)
    assert error.message == f"GET {server.url} answered {status}"
    assert len(error.details["body"].encode()) <= 2048


@pytest.mark.parametrize("body", [b"{", b"NaN", b"[" * 100_000])
def test_a_body_that_is_not_its_json_is_a_failure(server: Server, body: bytes) -> None:
    server.answers["/a"] = (200, JSON, body)
    error = error_of({"url": f"{server.url}/a"})
    assert (error.code, error.retryable) == ("http.BadResponse", True)


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        error = error_of({"url": f"http://user:hunter2@127.0.0.1:{port}/hunter2?hunter2"})
    assert (error.code, error.retryable) == ("http.ConnectError", True)
    assert "http.RequestFailed" in error.codes
    assert "hunter2" not in error.message + error.traceback


def test_a_server_that_hangs_up(server: Server) -> None:
    def hang_up(handler: Handler) -> Answer:
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True
        return 200, {}, b""

    server.answers["/a"] = hang_up
    error = error_of({"url": f"{server.url}/a"})
    assert (error.code, error.retryable) == ("http.RemoteProtocolError", True)


def test_the_timeout_bounds_the_whole_exchange(server: Server) -> None:
    go = threading.Event()

    def slow(_handler: Handler) -> Answer:
        go.wait(WAIT_S)
        return 200, {}, b""

    server.answers["/a"] = slow
    error = error_of({"url": f"{server.url}/a", "timeout": "300ms"})
    go.set()
    assert (error.code, error.retryable) == ("http.Timeout", True)
    assert error.message == f"GET {server.url} took longer than 300ms"


def test_a_body_above_the_cap_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "BODY_CAP", 1_000_000)
    server.answers["/fits"] = (200, {}, b"x" * 1_000_000)
    server.answers["/large"] = (200, {}, b"x" * 1_000_001)
    assert len(run({"url": f"{server.url}/fits"})["body"]) == 1_000_000
    error = error_of({"url": f"{server.url}/large"})
    assert (error.code, error.retryable) == ("http.BadResponse", False)
    assert "larger than 1 MB" in error.message


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)]
)
def test_packed_bodies(server: Server, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    server.answers["/a"] = (200, {**JSON, "content-encoding": encoding}, pack(b'{"n": 1}'))
    server.answers["/bomb"] = (200, {"content-encoding": encoding}, pack(b"0" * 10_000_001))
    server.answers["/cut"] = (200, {"content-encoding": encoding}, pack(b"0" * 1000)[:-6])
    assert run({"url": f"{server.url}/a"})["body"] == {"n": 1}
    assert "larger than 10 MB" in error_of({"url": f"{server.url}/bomb"}).message
    assert "damaged" in error_of({"url": f"{server.url}/cut"}).message


def test_an_encoding_nobody_asked_for_is_refused(server: Server) -> None:
    server.answers["/a"] = (200, {"content-encoding": "br"}, b"x")
    assert "encoded as 'br'" in error_of({"url": f"{server.url}/a"}).message
    assert server.asked[0][2]["accept-encoding"] == "gzip, deflate"


def moved(url: str, status: int = 302) -> Answer:
    return status, {"location": url}, b""


def test_redirects_are_followed_three_times(server: Server) -> None:
    for step in range(4):
        server.answers[f"/{step}"] = moved(f"/{step + 1}")
    server.answers["/4"] = (200, {}, b"there")
    assert run({"url": f"{server.url}/1"})["body"] == "there"
    error = error_of({"url": f"{server.url}/0"})
    assert (error.code, error.retryable) == ("http.TooManyRedirects", False)


def test_a_redirect_that_is_expected_is_not_followed(server: Server) -> None:
    server.answers["/a"] = moved("/b")
    assert run({"url": f"{server.url}/a", "expect": ["3xx"]})["headers"]["location"] == "/b"
    assert len(server.asked) == 1


def test_a_redirect_to_another_host_takes_no_credentials_along(server: Server, other: Server) -> None:
    server.answers["/a"] = moved(f"{other.url}/b", 307)
    server.answers["/same"] = moved("/here", 307)
    server.answers["/here"] = other.answers["/b"] = (200, {}, b"")
    headers = {
        "X-Token": "s",
        "Authorization": "s",
        "Cookie": "s",
        "Accept": "text/x",
        "Content-Type": "text/y",
    }
    config = {"method": "POST", "body": "b", "headers": headers}
    run({"url": f"{server.url}/a", **config})
    run({"url": f"{server.url}/same", **config})
    (_, _, sent, body) = other.asked[0]
    assert not {"x-token", "authorization", "cookie", "idempotency-key"} & set(sent)
    assert (sent["accept"], sent["content-type"], body) == ("text/x", "text/y", b"b")
    assert server.asked[-1][1] == "/here"
    assert server.asked[-1][2]["x-token"] == "s"


def test_a_redirect_away_from_http_is_refused(server: Server) -> None:
    server.answers["/a"] = moved(Path("/etc/passwd").as_uri())
    error = error_of({"url": f"{server.url}/a"})
    assert (error.code, error.retryable) == ("http.UnsupportedProtocol", False)


def test_nothing_is_kept_between_requests(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.answers["/a"] = (200, {"set-cookie": "session=1; Path=/"}, b"")

    async def main() -> None:
        for _ in range(2):
            await invoke(REQUEST, context(), {"url": f"{server.url}/a"}, pool=POOL)

    asyncio.run(main())
    assert ["cookie" in asked[2] for asked in server.asked] == [False, False]


def test_one_client_per_loop_closed_with_it(server: Server) -> None:
    server.answers["/a"] = (200, {}, b"")

    async def main() -> Any:
        config = {"url": f"{server.url}/a"}
        await asyncio.gather(*(invoke(REQUEST, context(), config, pool=POOL) for _ in range(5)))
        client = await http_client.client_of_this_loop()
        assert client is await http_client.client_of_this_loop()
        assert not client.is_closed
        return client

    first, second = asyncio.run(main()), asyncio.run(main())
    assert first is not second
    assert first.is_closed
    assert second.is_closed
    assert not http_client._clients


def test_a_loop_closed_without_order_is_forgotten() -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(http_client.client_of_this_loop())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()

    async def main() -> int:
        await http_client.client_of_this_loop()
        return len(http_client._clients)

    assert asyncio.run(main()) == 1


def test_cancelling_ends_the_request(server: Server) -> None:
    go, began = threading.Event(), threading.Event()

    def slow(_handler: Handler) -> Answer:
        began.set()
        go.wait(WAIT_S)
        return 200, {}, b""

    server.answers["/a"] = slow

    async def main() -> None:
        task = asyncio.create_task(invoke(REQUEST, context(), {"url": f"{server.url}/a"}, pool=POOL))
        await asyncio.to_thread(began.wait, WAIT_S)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    go.set()


@pytest.mark.parametrize(
    ("config", "pointer"),
    [
        ({"url": "ftp://x"}, "/url"),
        ({"url": "/relative"}, "/url"),
        ({"url": "http://"}, "/url"),
        ({"url": "http://x:99999"}, "/url"),
        ({"url": "http://[::1"}, "/url"),
        ({}, "/url"),
        ({"url": "http://x", "method": "TRACE"}, "/method"),
        ({"url": "http://x", "timeout": 5}, "/timeout"),
        ({"url": "http://x", "timeout": "soon"}, "/timeout"),
        ({"url": "http://x", "timeout": "0s"}, "/timeout"),
        ({"url": "http://x", "expect": ["9xx"]}, "/expect/0"),
        ({"url": "http://x", "expect": [99]}, "/expect/0"),
        ({"url": "http://x", "expect": []}, "/expect"),
        ({"url": "http://x", "headers": {"A B": "x"}}, "/headers/A B"),
        ({"url": "http://x", "headers": {"Host": "x"}}, "/headers/Host"),
        ({"url": "http://x", "headers": {"Transfer-Encoding": "x"}}, "/headers/Transfer-Encoding"),
        ({"url": "http://x", "headers": {"X": "a\r\nY: b"}}, "/headers/X"),
        ({"url": "http://x", "headers": {"X": "é"}}, "/headers/X"),
        ({"url": "http://x", "headers": {"X": ["a"]}}, "/headers/X"),
        ({"url": "http://x", "query": {"a": {"b": 1}}}, "/query/a"),
        ({"url": "http://x", "body": {"a": 1}}, "/body"),
        ({"url": "http://x", "body": "a", "json": 1}, ""),
        ({"url": "http://x", "verify": False}, "/verify"),
    ],
)
def test_configs_that_do_not_fit(config: dict[str, Any], pointer: str) -> None:
    assert {found for found, _ in REQUEST.config_problems(config)} == {pointer}
    with pytest.raises(ConfigRefused):
        REQUEST.prepare(config)


def test_a_definition_may_compute_every_field() -> None:
    e = "{{ inputs.x }}"
    fields = ("url", "method", "headers", "query", "json", "timeout", "expect")
    assert REQUEST.config_problems(dict.fromkeys(fields, e)) == []
    deep = {
        "url": f"https://{e}/a",
        "headers": {"X": e},
        "query": {"a": e, "b": [e]},
        "expect": [e],
        "json": {"a": e},
    }
    assert REQUEST.config_problems(deep) == []
