"""Filters, heartbeats, readers that take nothing, and what a client may say."""

from __future__ import annotations

import json
import secrets
import socket
import threading
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from strataflow.api.live.hub import Hub
from strataflow.repositories.database import Database
from strataflow.repositories.feed import write_notice
from tests.integration.kit import until
from tests.live.conftest import PATH, STREAM, frames, listen, sse, talk, to_the_end
from tests.live.test_streams import kept, run
from tests.rest.conftest import API, Served

FAST = 0.1


def notices(url: str, count: int, size: int = 10, kind: str = "queue.high") -> None:
    """Write events of a queue into the feed, each with so many characters that cannot be made fewer."""
    database = Database(url)
    with database.write() as connection:
        for _ in range(count):
            write_notice(connection, kind, "q", {"depth": 1, "pad": secrets.token_hex(size // 2)})
    database.close()


def test_filters(api: Served, token: str) -> None:
    first, second = run(api, token), run(api, token)
    notices(api.urls["main"], 1)
    address = api.client.base_url

    def seqs(**query: Any) -> list[int]:
        """Read a filtered stream from the beginning; the last notice tells that nothing else comes."""
        wanted = kept(api)
        found = []
        with listen(address, token, query={"after": 0, **query}) as opened:
            until_cursor = wanted[-1]
            opened.send('{"type":"ping"}')
            while True:
                message = talk(opened)
                if message["type"] == "event":
                    found.append(message["event"]["seq"])
                    if found[-1] == until_cursor:
                        return found
                if message["type"] == "heartbeat" and message["cursor"] >= until_cursor:
                    return found

    everything = kept(api)
    assert seqs() == everything
    assert seqs(queue="q") == everything[-1:]
    assert seqs(name=["queue.*", "instance.completed"]) == kept(api, names=["queue.*", "instance.completed"])
    with sse(address, token, after=0, instance=second, name="instance.completed") as stream:
        frame = next(frame for frame in stream if frame.event == "message" and frame.data)
        assert (frame.data["instance_id"], frame.data["name"]) == (second, "instance.completed")
    assert first != second


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"name": "task.nonsense"}, "/query/name/0"),
        ({"name": "x" * 300}, "/query/name/0"),
        ({"name": ["task.*"] * 51}, "/query/name"),
        ({"instance": "nonsense"}, "/query/instance"),
        ({"after": "-1"}, None),
        ({"after": "9" * 30}, None),
        ({"after": "\u0664"}, None),
    ],
)
def test_what_could_fit_nothing_is_refused(api: Served, token: str, query: Any, pointer: str | None) -> None:
    headers = {**STREAM, "Authorization": f"Bearer {token}"}
    found = api.client.get(PATH, params=query, headers=headers)
    assert found.status_code == 422
    if pointer is not None:
        assert found.json()["errors"][0]["pointer"] == pointer
    with pytest.raises(Exception, match="422"):
        listen(api.client.base_url, token, query=query)
    with pytest.raises(Exception, match="422"):
        listen(api.client.base_url, token, query={"instanec": "x"})


def test_heartbeats_carry_the_cursor_past_what_a_filter_leaves_out(open_app: Any) -> None:
    with open_app(heartbeat_s=FAST) as (api, _):
        token = api.token()
        with (
            listen(api.client.base_url, token, query={"queue": "none"}) as opened,
            sse(api.client.base_url, token, queue="none") as stream,
        ):
            begun = talk(opened)["cursor"]
            run(api, token)
            last = kept(api)[-1]
            beat = until(lambda: (found := talk(opened))["cursor"] >= last and found)
            assert beat["type"] == "heartbeat"
            assert begun < last
            line = next(frame for frame in stream if int(frame.id or 0) >= last)
            assert (line.comments, line.event, line.data) == (["heartbeat"], "message", None)


def test_a_client_may_ping_and_nothing_else(api: Served, token: str) -> None:
    with listen(api.client.base_url, token) as opened:
        opened.send('{"type": "ping"}')
        assert [talk(opened)["type"] for _ in range(2)] == ["begin", "pong"]
    wrong: list[tuple[str | bytes, int]] = [
        ("hello", 1008),
        ('{"type": "subscribe"}', 1008),
        ("[" * 1000, 1008),
        (b"\x00", 1003),
        (json.dumps({"type": "ping", "pad": "x" * 2000}), 1009),
    ]
    for message, code in wrong:
        assert closed_by(api, token, [message]) == code
    assert closed_by(api, token, ['{"type": "ping"}'] * 40) == 1008, "too many in a second"


def closed_by(api: Served, token: str, messages: list[str | bytes]) -> int | None:
    with listen(api.client.base_url, token) as opened:
        with suppress(ConnectionClosed):  # it may be closed before all are sent
            for message in messages:
                opened.send(message)
        return to_the_end(opened)[1]


@pytest.mark.timeout(120)
def test_a_reader_that_takes_nothing_is_let_go_and_goes_on_where_it_was(open_app: Any) -> None:
    """A server with 20 MB for a reader that stands still: others go on, and it misses nothing afterwards."""
    with open_app(stall_s=1.0) as (api, streams):
        token, port = api.token(), api.client.base_url.port or 0
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        slow = listen(api.client.base_url, token, sock=sock, max_queue=1)
        begun = talk(slow)["cursor"]
        notices(api.urls["main"], 500, 40_000)
        with listen(api.client.base_url, token, query={"after": begun}) as quick:
            assert talk(quick)["type"] == "begin"
            seen = [talk(quick)["cursor"] for _ in range(500)]
            until(lambda: streams.open == 1)
        some, code, _ = to_the_end(slow)
        found = [each["cursor"] for each in some]
        assert code == 4008
        assert found == seen[: len(found)]
        assert len(found) < len(seen)
        with listen(api.client.base_url, token, query={"after": found[-1] if found else begun}) as again:
            assert talk(again)["type"] == "begin"
            assert found + [talk(again)["cursor"] for _ in range(len(seen) - len(found))] == seen


@pytest.mark.timeout(120)
def test_the_same_for_server_sent_events(open_app: Any) -> None:
    with open_app(stall_s=1.0) as (api, streams):
        token = api.token()
        headers = {**STREAM, "Authorization": f"Bearer {token}"}
        with api.client.stream("GET", PATH, headers=headers) as response:
            until(lambda: streams.open == 1)
            notices(api.urls["main"], 500, 40_000)
            until(lambda: streams.open == 0)
            found = [int(each.id) for each in broken_off(response) if each.id and each.event == "message"]
        everything, rest = kept(api, names=["queue.*"]), list[int]()
        with sse(api.client.base_url, token, last=str(found[-1])) as stream:
            while not rest or rest[-1] != everything[-1]:
                frame = next(stream)
                rest += [int(frame.id or 0)] if frame.event == "message" and frame.data else []
        assert found + rest == everything
        assert rest


def broken_off(response: Any) -> Any:
    """What comes until the other side hangs up."""
    import httpx

    stream = frames(response)
    while True:
        try:
            yield next(stream)
        except (StopIteration, httpx.RemoteProtocolError):
            return


def test_readers_at_the_end_share_one_read(open_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty streams at the end of the feed: none of them asks the database by itself."""
    read = Hub._read
    asked: list[int] = []

    def counted(self: Hub, cursor: int) -> Any:
        asked.append(cursor)
        return read(self, cursor)

    monkeypatch.setattr(Hub, "_read", counted)
    with open_app() as (api, _):
        token = api.token()
        first = listen(api.client.base_url, token)
        run(api, token)
        until(lambda: talk(first).get("event", {}).get("name") == "instance.completed")
        asked.clear()
        many = [listen(api.client.base_url, token) for _ in range(30)]
        begun = [talk(each)["type"] for each in many]
        instance = run(api, token)
        for each in many:
            until(lambda each=each: talk(each)["event"]["instance_id"] == instance)
            each.close()
        first.close()
    assert (set(begun), asked) == ({"begin"}, [])


def test_nothing_is_left_of_streams_whose_readers_went(open_app: Any) -> None:
    with open_app() as (api, streams):
        token = api.token()
        some = [listen(api.client.base_url, token) for _ in range(3)]
        with sse(api.client.base_url, token) as stream:
            next(stream)
            until(lambda: streams.open == 4)
        some[0].close()
        some[1].socket.shutdown(socket.SHUT_RDWR)
        until(lambda: streams.open == 1)
        some[2].close()
        some[1].close()
        until(lambda: streams.open == 0)
    assert not [each.name for each in threading.enumerate() if each.name.startswith("strataflow-live")]


@pytest.mark.row("A-16")
def test_log_lines_are_read_live_and_later(api: Served, token: str) -> None:
    nodes = {
        "a": {"run": "core.log", "with": {"message": "first"}},
        "w": {"wait": {"signal": "go"}, "needs": ["a"]},
        "b": {"run": "core.log", "with": {"message": "last", "level": "warning"}, "needs": ["w"]},
    }
    body = {"definition": {"dsl": "1", "name": "t.logs", "nodes": nodes}}
    instance = api("POST", "/instances", token=token, status=201, json=body).json()["id"]
    path = f"{API}/instances/{instance}/logs/stream"
    with sse(api.client.base_url, token, path) as stream:
        line = next(frame for frame in stream if frame.event == "message" and frame.data)
        assert (line.data["message"], line.data["path"], str(line.data["seq"])) == ("first", "a", line.id)
        api("POST", f"/instances/{instance}/signals", token=token, json={"name": "go"})
        rest = list(stream)
    assert [frame.data["message"] for frame in rest if frame.event == "message" and frame.data] == ["last"]
    assert (rest[-1].event, rest[-1].data["state"]) == ("end", "completed")
    with sse(api.client.base_url, token, path, last=line.id) as stream:
        later = [frame.data["message"] for frame in stream if frame.event == "message" and frame.data]
    assert later == ["last"]
    with sse(api.client.base_url, token, path, level="warning") as stream:
        assert [frame.data["message"] for frame in stream if frame.event == "message" and frame.data] == [
            "last"
        ]
    headers = {**STREAM, "Authorization": f"Bearer {token}"}
    unknown = f"{API}/instances/0190a000-0000-7000-8000-000000000001/logs/stream"
    assert api.client.get(unknown, headers=headers).status_code == 404
