"""Live streams: what they give, from where on, and how they say what they cannot give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from strataflow.engine.feed import EventFeed
from strataflow.repositories.database import Database
from strataflow.repositories.retention import delete_instance
from tests.live.conftest import Frame, listen, sse, talk
from tests.rest.conftest import HELLO, Served

PROGRESS = """
import asyncio
from pathlib import Path

from strataflow.executors import ExecutorDomain

steps = ExecutorDomain("steps")

@steps.executor("work")
async def work(ctx, config):
    ctx.progress(0.25, "a quarter")
    while not Path(config["file"]).exists():
        await asyncio.sleep(0.01)
    return 1
"""


def steps(file: Path) -> dict[str, Any]:
    """A task that tells how far it is, and ends when a file is there."""
    return {
        "dsl": "1",
        "name": "steps",
        "nodes": {"work": {"run": "steps.work", "with": {"file": str(file)}}},
    }


def run(api: Served, token: str, definition: Any = HELLO) -> str:
    """Run it to its end, and give its id."""
    body = {"definition": definition}
    found: str = api("POST", "/instances?wait=30s", token=token, status=201, json=body).json()["id"]
    return found


def kept(api: Served, **wanted: Any) -> list[int]:
    """Numbers of all events that the database has."""
    database = Database(api.urls["main"])
    try:
        feed, found, cursor, more = EventFeed(database), [], 0, True
        while more:
            page = feed.read(cursor, **wanted)
            found += [event.seq for event in page.events]
            cursor, more = page.cursor, page.more
        return found
    finally:
        database.close()


def until_event(stream: Any, name: str, instance_id: str | None = None) -> list[Frame]:
    """Read up to an event, of one run if it is named."""
    found: list[Frame] = []
    for frame in stream:
        if frame.event != "message" or frame.data is None:
            continue
        found.append(frame)
        if frame.data["name"] == name and instance_id in {None, frame.data["instance_id"]}:
            break
    return found


@pytest.mark.row("A-30")
def test_server_sent_events_begin_now_or_at_a_cursor(api: Served, token: str) -> None:
    earlier = run(api, token)
    with sse(api.client.base_url, token) as stream:
        begin = next(frame for frame in stream if frame.event == "begin")
        later = run(api, token)
        found = until_event(stream, "instance.completed", later)
    assert earlier not in {frame.data["instance_id"] for frame in found}
    assert [frame.id for frame in found] == [str(frame.data["seq"]) for frame in found]
    assert int(begin.id or "") == begin.data["cursor"] < found[0].data["seq"]
    with sse(api.client.base_url, token, after=0) as stream:
        everything = until_event(stream, "instance.completed", later)
    assert [frame.data["seq"] for frame in everything] == kept(api)[: len(everything)]
    with sse(api.client.base_url, token, last=everything[2].id, after=0) as stream:
        rest = until_event(stream, "instance.completed", later)
    assert [frame.id for frame in rest] == [frame.id for frame in everything[3:]], "the header wins"


@pytest.mark.row("X-39")
def test_a_websocket_gives_the_states_of_a_run_and_its_tasks(api: Served, token: str) -> None:
    with listen(api.client.base_url, token) as socket:
        begin = talk(socket)
        assert (begin["type"], begin["cursor"] >= 0) == ("begin", True)
        instance = run(api, token)
        found: list[Any] = []
        while not found or found[-1]["event"]["name"] != "instance.completed":
            message = talk(socket)
            assert message["type"] == "event"
            found.append(message)
    told = [(each["event"]["name"], each["event"]["path"]) for each in found]
    wanted = [("instance.pending", None), ("task.running", "a"), ("task.completed", "a")]
    assert [each for each in told if each in wanted] == wanted
    assert {each["event"]["instance_id"] for each in found} <= {instance, None}
    assert [each["cursor"] for each in found] == [each["event"]["seq"] for each in found]


@pytest.mark.row("X-39")
def test_progress_of_a_run_streams_with_its_tasks_and_its_own_states(
    open_app: Callable[..., Any], tmp_path: Path
) -> None:
    """A reader of one run gets its progress while it runs, its tasks and its end; of a run beside it nothing."""
    module = tmp_path / "stream_executors.py"
    module.write_text(PROGRESS, encoding="utf-8")
    with open_app(imports=(str(module),)) as (api, _):
        token = api.token()
        body = {"definition": steps(tmp_path / "open")}
        started = [api("POST", "/instances", token=token, status=201, json=body).json()["id"] for _ in "ab"]
        instance = started[1]
        with (
            listen(api.client.base_url, token, query={"after": 0, "instance": instance}) as socket,
            sse(api.client.base_url, token, after=0, instance=instance) as stream,
        ):
            told = [frame.data for frame in until_event(stream, "task.progress")]
            (tmp_path / "open").touch()
            told += [frame.data for frame in until_event(stream, "instance.completed")]
            messages = [talk(socket) for _ in range(1 + len(told))]
    assert [each["event"] for each in messages[1:]] == told, "both say the same"
    assert {each["instance_id"] for each in told} == {instance}
    progress = [each["data"] for each in told if each["name"] == "task.progress"]
    assert progress[0] == {"fraction": 0.25, "message": "a quarter"}
    names = [each["name"] for each in told if each["path"] in {None, "work"}]
    assert names[0] == "instance.pending"
    assert names.index("task.running") < names.index("task.progress") < names.index("task.completed")


def test_a_cursor_behind_what_was_deleted_is_told(api: Served, token: str) -> None:
    first, second = run(api, token), run(api, token)
    before = kept(api)[0]
    database = Database(api.urls["main"])
    assert delete_instance(database, first)
    database.close()
    with listen(api.client.base_url, token, query={"after": before}) as socket:
        messages = [talk(socket) for _ in range(3)]
    assert [each["type"] for each in messages] == ["begin", "gap", "event"]
    assert messages[1]["cursor"] == before < messages[1]["deleted_upto"]
    with listen(api.client.base_url, token, query={"after": messages[1]["deleted_upto"]}) as socket:
        assert [talk(socket)["type"] for _ in range(2)] == ["begin", "event"]
    with sse(api.client.base_url, token, after=before, instance=second) as stream:
        assert "gap" in [next(stream).event for _ in range(4)]


def test_a_cursor_that_nobody_gave_is_told(api: Served, token: str) -> None:
    run(api, token)
    with listen(api.client.base_url, token, query={"after": 2**40}) as socket:
        begin, reset = talk(socket), talk(socket)
        assert (reset["type"], reset["asked"], reset["cursor"]) == ("reset", 2**40, begin["cursor"])
        run(api, token)
        assert talk(socket)["cursor"] > reset["cursor"], "it goes on from now"
