"""`http.request` where definitions come from others: public addresses, what is allowed, and nothing else (R6)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from strataflow.executors.builtin import default_registry
from strataflow.executors.egress import Egress
from strataflow.executors.errors import ExecutorError, error_from_exception
from strataflow.executors.invoke import invoke
from strataflow.executors.threads import WorkerThreads
from strataflow.services.container import Options, make_registry
from tests.unit.test_executors_base import context
from tests.unit.test_executors_http import Server, served

POOL = WorkerThreads(1)


@pytest.fixture
def server() -> Iterator[Server]:
    yield from served()


def send(config: dict[str, Any], *allowed: str) -> Any:
    entry = default_registry(entry_points=False, egress=Egress(allowed)).get_executor("http.request")
    return asyncio.run(invoke(entry, context(), config, pool=POOL))


def refused(config: dict[str, Any], *allowed: str) -> str:
    with pytest.raises(ExecutorError) as caught:
        send(config, *allowed)
    error = error_from_exception(caught.value, "http")
    assert (error.code, error.retryable) == ("http.Forbidden", False)
    return error.message


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0",
        "0.0.0.0",
    ],
)
def test_this_machine_is_not_reached_however_it_is_written(server: Server, host: str) -> None:
    assert "not public" in refused({"url": f"http://{host}:{server.server_port}/a"})
    assert server.asked == []


def test_what_is_allowed_is_reached_by_its_name(server: Server) -> None:
    server.answers["/a"] = (200, {"content-type": "application/json"}, b"[1]")
    answer = send({"url": f"http://localhost:{server.server_port}/a"}, "127.0.0.0/8", "::1/128")
    assert answer["body"] == [1]
    assert server.asked[0][2]["host"] == f"localhost:{server.server_port}"


def test_a_redirect_inwards_is_refused_and_a_relative_one_keeps_its_name(server: Server) -> None:
    server.answers["/in"] = (302, {"location": "http://169.254.169.254/latest/meta-data"}, b"")
    server.answers["/near"] = (302, {"location": "/a"}, b"")
    server.answers["/a"] = (200, {}, b"here")
    base = f"http://localhost:{server.server_port}"
    assert "169.254.169.254" in refused({"url": f"{base}/in"}, "127.0.0.0/8", "::1/128")
    assert send({"url": f"{base}/near"}, "127.0.0.0/8", "::1/128")["body"] == "here"
    assert {asked[2]["host"] for asked in server.asked} == {f"localhost:{server.server_port}"}


def test_a_name_that_changes_its_meaning_is_connected_to_where_it_was_looked_at(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look gives this server, every later one a private address: nothing looks a second time."""
    looks: list[str] = []
    look = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host != "rebinding.example":
            return look(host, port, *args, **more)
        looks.append(host)
        address = "127.0.0.1" if len(looks) == 1 else "10.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    server.answers["/a"] = (200, {}, b"once")
    url = f"http://rebinding.example:{server.server_port}/a"
    assert send({"url": url}, "127.0.0.1/32")["body"] == "once"
    assert looks == ["rebinding.example"]
    assert "rebinding.example" in refused({"url": url}, "127.0.0.1/32")


def test_a_process_that_takes_definitions_from_others_guards_its_requests(server: Server) -> None:
    def outcome(**options: Any) -> str:
        entry = make_registry(Options(**options)).get_executor("http.request")
        server.answers["/a"] = (200, {}, b"")
        try:
            asyncio.run(invoke(entry, context(), {"url": f"{server.url}/a"}, pool=POOL))
        except ExecutorError as exc:
            return error_from_exception(exc, "http").code
        return "reached"

    refusal = "http.Forbidden"
    assert outcome() == "reached", "one's own process reaches one's own services"
    assert outcome(allow_local_code=False) == refusal
    assert outcome(egress="public") == refusal
    assert outcome(allow_local_code=False, egress="any") == "reached"
    assert outcome(allow_local_code=False, egress_allow=("127.0.0.1/32",)) == "reached"
