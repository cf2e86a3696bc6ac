"""A server that executes nothing: what it accepts for the engines of others, and what it refuses on their behalf."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from strataflow.api.rest.app import create_app
from strataflow.repositories import views
from strataflow.repositories.database import Database
from strataflow.services.container import Options
from strataflow.services.namespaces import Namespaces
from tests.integration.kit import until
from tests.rest.conftest import API, Serve, Served, listening
from tests.support.cli import Cli

#: Executors of a package that only the worker has.
OWN = """
from strataflow.executors import ExecutorDomain

own = ExecutorDomain("own")

@own.executor("double")
def double(ctx, config):
    return config["n"] * 2
"""


def document(run: str, config: Any = None, name: str = "t.own") -> dict[str, Any]:
    node = {"run": run} if config is None else {"run": run, "with": config}
    return {"dsl": "1", "name": name, "nodes": {"a": node}, "output": "{{ nodes.a.output }}"}


@pytest.fixture
def cli(db_url: str, tmp_path: Path) -> Iterator[Cli]:
    found = Cli(db_url, tmp_path)
    found.file("own_executors.py", OWN)
    yield found
    found.close()


@pytest.fixture
def front(serve: Serve) -> Iterator[Served]:
    """Give a server without an engine and without the executors."""
    with serve(executes=False) as served:
        yield served


def advertised(url: str) -> set[str]:
    database = Database(url)
    try:
        with database.read() as connection:
            return {
                name for engine in views.engines(connection, alive_only=True) for name in engine.executors
            }
    finally:
        database.close()


@pytest.mark.slow
def test_what_a_live_engine_can_run_is_registered_and_started_elsewhere(
    cli: Cli, front: Served, db_url: str
) -> None:
    token = front.token()
    cli.spawn("worker", "--import", "own_executors.py")
    until(lambda: "own.double" in advertised(db_url))
    made = front(
        "POST",
        "/definitions",
        token=token,
        json={"definition": document("own.double", {"n": 21}), "activate": True},
    )
    assert (made.status_code, made.json()["warnings"]) == (201, [])
    ran = front("POST", "/instances?wait=40s", token=token, json={"definition": "t.own"}, status=201).json()
    assert (ran["state"], ran["output"]) == ("completed", 42)
    # The configuration's schema is the worker's: what does not fit is that attempt's failure.
    wrong = front(
        "POST",
        "/instances?wait=40s",
        token=token,
        json={"definition": document("own.double", {"m": 1})},
        status=201,
    ).json()
    assert wrong["state"] == "failed"


def test_an_executor_that_nobody_knows_is_a_warning(front: Served) -> None:
    token = front.token()
    made = front("POST", "/definitions", token=token, json={"definition": document("later.come")}, status=201)
    (warning,) = made.json()["warnings"]
    assert warning.startswith("/nodes/a/run: ")
    assert "[unknown_executor]" in warning
    body = {"definition": document("later.come")}
    checked = front("POST", "/definitions/validate", token=token, json=body, status=200).json()
    assert (checked["valid"], [each["code"] for each in checked["problems"]]) == (True, ["unknown_executor"])
    assert front("POST", "/definitions/graph", token=token, json=body, status=200).text
    # What is known here is checked here.
    body = {"definition": document("core.sleep", {"minutes": 1})}
    assert front("POST", "/definitions", token=token, json=body).status_code == 422
    assert not front("POST", "/definitions/validate", token=token, json=body).json()["valid"]


def test_an_executor_that_nobody_knows_is_an_error_where_work_would_run(api: Served, token: str) -> None:
    body = {"definition": document("later.come")}
    assert api("POST", "/definitions", token=token, json=body).status_code == 422


@pytest.mark.slow
def test_local_code_is_refused_though_a_live_engine_runs_it(cli: Cli, front: Served, db_url: str) -> None:
    """A worker of the command line runs `shell`; who comes through HTTP may not call it there either."""
    token = front.token()
    cli.spawn("worker")
    until(lambda: "shell.run" in advertised(db_url))
    for run in ("shell.run", "python.call", "shell.of_a_newer_release"):
        body = {"definition": document(run, {"argv": ["id"]})}
        for path in ("/definitions", "/instances"):
            refused = front("POST", path, token=token, json=body, status=422).json()
            assert refused["errors"][0]["code"] == "unknown_executor", run
        assert not front("POST", "/definitions/validate", token=token, json=body).json()["valid"]


def test_namespaces_that_are_open_stay_open(sqlite_url: str) -> None:
    """Whoever opened them closes them: an application that is mounted or served only uses them."""
    with Namespaces({"main": sqlite_url}, Options(create=True)) as namespaces:
        with listening(create_app(namespaces)) as address:
            assert httpx.get(f"{address}{API}/ready").status_code == 200
        assert namespaces.is_open
    assert not namespaces.is_open
