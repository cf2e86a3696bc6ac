"""Live, ready, health: they turn when the database is away or a loop is stuck, and back."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from strataflow.engine.loops import Loop
from strataflow.repositories.url import DatabaseUrl
from strataflow.services.namespaces import Namespaces
from tests.integration.kit import until
from tests.rest.conftest import Serve, Served

LONG_AGO_S = 1_000.0


def ready(api: Served) -> int:
    found: int = api("GET", "/ready").status_code
    return found


def test_ready_names_loops_to_callers_with_a_key(api: Served, token: str) -> None:
    assert api("GET", "/ready", status=200).json() == {"status": "ok"}
    found = api("GET", "/ready", token=token, status=200).json()
    assert (found["status"], found["reachable"], found["stuck"]) == ("ok", True, [])
    assert found["loops"].keys() >= {"heartbeat", "writer", "scheduler", "recovery", "schedules", "webhooks"}
    api("GET", "/ready", token="sf_none", status=401)
    assert api("GET", "/live", status=200).json() == {"status": "ok"}


def test_the_whole_report(serve: Serve) -> None:
    with serve(options={"watches": True, "watch_s": 0.1}) as api:
        token = api.token()
        found = api("GET", "/health", token=token, status=200).json()
        assert (found["status"], found["reachable"], found["executes"], found["engines"]) == (
            "ok",
            True,
            True,
            1,
        )
        assert "alerts" in found["loops"]
        assert found["pools"]["read"]["most"] >= 1
        assert found["engine"] in [each["id"] for each in api("GET", "/engines", token=token).json()["items"]]
        assert found["schema"] == api("GET", "/version", status=200).json()["schema"]
        assert (
            "@" not in found["database"] or ":" not in found["database"].partition("@")[0].partition("//")[2]
        )
        api("GET", "/health", token=api.token("read:instances"), status=403)
        api("GET", "/health", status=401)


def test_a_server_without_an_engine_is_ready_too(serve: Serve) -> None:
    with serve(executes=False) as api:
        found = api("GET", "/ready", token=api.token(), status=200).json()
        assert found["loops"].keys() == {"heartbeat", "writer"}
        report = api("GET", "/health", token=api.token(), status=200).json()
        assert (report["executes"], report["engines"]) == (False, 0)


def test_executors_tell_their_health_when_they_are_asked(api: Served, token: str) -> None:
    found = {
        each["name"]: each
        for each in api("GET", "/executors?health=true", token=token, status=200).json()["items"]
    }
    assert found["core.noop"]["health"] is None
    assert len(found["core.noop"]["engine_ids"]) == found["core.noop"]["engines"] == 1


def test_ready_turns_when_a_loop_is_stuck_and_back(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Namespaces] = []
    enter = Namespaces.__enter__

    def noted(self: Namespaces) -> Namespaces:
        opened.append(self)
        return enter(self)

    monkeypatch.setattr(Namespaces, "__enter__", noted)
    with serve() as api:
        token = api.token()
        engine = opened[0].services("main").engine
        assert engine is not None
        loop = next(each for each in engine.parts.background if each.name == "recovery")
        inside, go_on = _blocked(loop)
        assert inside.wait(30)
        loop.last_progress -= LONG_AGO_S
        try:
            assert ready(api) == 503
            told = api("GET", "/ready", token=token, status=503).json()
            assert (told["status"], told["stuck"], told["reachable"]) == ("not ready", ["recovery"], True)
            assert api("GET", "/health", token=token, status=200).json()["status"] == "not ready"
            assert api("GET", "/live", status=200).json() == {"status": "ok"}
        finally:
            go_on.set()
        until(lambda: ready(api) == 200)


def _blocked(loop: Loop) -> tuple[threading.Event, threading.Event]:
    """Let the next round of a loop wait; gives that it does, and what lets it go on."""
    inside, go_on, once = threading.Event(), threading.Event(), loop._run_once

    def wait() -> float | None:
        inside.set()
        go_on.wait(60)
        return once()

    loop._run_once = wait
    loop.wake()
    return inside, go_on


@contextmanager
def away(url: str) -> Iterator[None]:
    """Let nobody use a database: a server takes no connection to it, a file has not what everybody asks for."""
    path = DatabaseUrl.parse(url).path
    if path is not None:
        with sqlite3.connect(path) as file:
            file.execute("ALTER TABLE engines RENAME TO engines_away")
        try:
            yield
        finally:
            with sqlite3.connect(path) as file:
                file.execute("ALTER TABLE engines_away RENAME TO engines")
        return
    parts = urlsplit(url)
    name = parts.path.lstrip("/")
    with psycopg.connect(urlunsplit(parts._replace(path="/postgres")), autocommit=True) as server:
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())


def test_ready_turns_when_the_database_is_away_and_back(api: Served, token: str) -> None:
    assert ready(api) == 200
    with away(api.urls["main"]):
        assert api("GET", "/ready", status=503).json() == {"status": "not ready"}
        assert api("GET", "/live", status=200).json() == {"status": "ok"}
    until(lambda: ready(api) == 200)
    until(lambda: api("GET", "/health", token=token).json()["status"] == "ok")
