"""What a command says when a server cannot be used: in one line, with the exit code of the same mistake elsewhere."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from strataflow.api.cli.target import LOCAL
from strataflow.repositories.migrate import upgrade
from tests.remote.kit import at, server
from tests.support.cli import Cli, Ran, until

pytestmark = pytest.mark.slow
GATED: Any = {"w": {"wait": {"signal": "go"}}}


class Client:
    """Commands at a server."""

    def __init__(self, cli: Cli, address: str, token: str) -> None:
        self.cli, self.address, self.token = cli, address, token

    def __call__(self, *args: str | Path, code: int = 0, **env: str) -> Ran:
        return self.cli(*args, code=code, env={**at(self.address, self.token), **env})

    def key(self, *scopes: str) -> str:
        options = [word for scope in scopes for word in ("--scope", scope)]
        return self("keys", "create", "few", *options).out.strip()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("served")
    cli = Cli(f"sqlite:///{folder / 'served.db'}", folder)
    upgrade(cli.url)
    token = cli("keys", "create", "tests", "--scope", "*:*").out.strip()
    try:
        with server(cli) as address:
            yield Client(cli, address, token)
    finally:
        cli.close()


def refused(ran: Ran, *words: str) -> None:
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert all(word in ran.err for word in words), ran.err


# --- who calls


@pytest.mark.parametrize("token", ["", "wrong", f"sf1.main.{'0' * 32}.{'A' * 43}"])
def test_a_token_that_nobody_has_issued(client: Client, token: str) -> None:
    refused(
        client("list", code=2, STRATAFLOW_TOKEN=token), "valid API key", "STRATAFLOW_TOKEN", "--token-file"
    )


@pytest.mark.parametrize("token", ["two words", "\u00fc", "a\nb"])
def test_a_text_that_is_no_token_is_not_sent(client: Client, token: str) -> None:
    refused(client("list", code=2, STRATAFLOW_TOKEN=token), "the token is none")


def test_a_scope_that_is_missing_is_named(client: Client) -> None:
    token = client.key("read:instances")
    assert client("list", "--json", STRATAFLOW_TOKEN=token).json is not None
    refused(client("keys", "list", code=2, STRATAFLOW_TOKEN=token), "read:keys", "It needs the scope")
    flow = client.cli.flow(GATED)
    refused(client("start", flow, code=2, STRATAFLOW_TOKEN=token), "define:definitions")


def test_who_may_operate_one_run_need_not_be_allowed_to_list_them(client: Client) -> None:
    started = client("start", client.cli.flow(GATED))
    assert "No worker" not in started.err
    one = started.out.strip()
    token = client.key("operate:instances")
    assert client("signal", one, "other", "--json", STRATAFLOW_TOKEN=token).json["status"] == "accepted"
    refused(client("signal", one[:13], "go", code=2, STRATAFLOW_TOKEN=token), "read:instances")


def test_the_token_may_stand_in_a_file(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{client.token}\n", encoding="utf-8")
    assert client("list", "--token-file", file, "--json", STRATAFLOW_TOKEN="").json is not None
    assert client("list", "--token-file", file, "--json", STRATAFLOW_TOKEN="wrong").json is not None
    refused(client("list", "--token-file", file, "--token", "x", code=2), "contradict")
    refused(client("list", "--token-file", tmp_path / "none", code=2), "--token-file", "cannot be read")
    refused(client("list", "--token", "wrong", code=2, STRATAFLOW_TOKEN_FILE=str(file)), "valid API key")


def test_a_namespace_that_is_not_the_tokens_is_refused(client: Client) -> None:
    assert client("keys", "list", "--namespace", "main", "--json").json
    refused(client("keys", "list", "--namespace", "other", code=2), "namespace 'main'", "from the token")


# --- which server, or which database


def test_a_server_that_is_away(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    refused(client("list", code=1, STRATAFLOW_SERVER=address), address, "does not answer", "strataflow serve")
    refused(client("run", client.cli.flow(GATED), "--server", address, code=1), "does not answer")


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>welcome</html>")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


def test_a_server_of_somebody_else(client: Client) -> None:
    other = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=other.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{other.server_port}"
        refused(client("list", "--server", address, code=2), "not as Strataflow does", "without /api/v1")
    finally:
        other.shutdown()
        other.server_close()
        thread.join()
    refused(client("list", "--server", f"{client.address}/nowhere", code=2), "does not know this call")
    assert client("list", "--server", f"{client.address}/api/v1/", "--json").json is not None


@pytest.mark.parametrize("url", ["nonsense", "sqlite:///a.db", "ftp://host"])
def test_what_is_no_address_is_not_asked(client: Client, url: str) -> None:
    refused(client("list", "--server", url, code=2), "--server", "no address")


def test_a_password_in_an_address_is_not_repeated(client: Client) -> None:
    ran = client("list", "--server", "http://me:hidden@127.0.0.1:1", code=2)
    refused(ran, "no password")
    assert "hidden" not in ran.err


def test_server_and_database_contradict_each_other_unless_one_stands_nearer(client: Client) -> None:
    db = client.cli.url
    refused(client("list", "--server", client.address, "--db", db, code=2), "--server and --db contradict")
    refused(client("list", code=2, STRATAFLOW_DB=db), "STRATAFLOW_SERVER and STRATAFLOW_DB contradict")
    away = "http://127.0.0.1:1"
    assert client("list", "--db", db, "--json", STRATAFLOW_SERVER=away).json is not None
    assert (
        client("list", "--server", client.address, "--json", STRATAFLOW_DB="sqlite:///none.db").json
        is not None
    )
    refused(
        client("list", "--db", db, "--token", "x", code=2, STRATAFLOW_SERVER=""), "a token is for a server"
    )


@pytest.mark.parametrize("command", sorted(LOCAL))
def test_commands_that_know_no_server_say_why(client: Client, command: str) -> None:
    wanted = {"validate": ["f"], "graph": ["f"], "fmt": ["f"], "convert": ["f"]}.get(command, [])
    ran = client(*command.split(), *wanted, "--server", client.address, code=2, STRATAFLOW_SERVER="")
    refused(ran, f"`strataflow {command}` takes no --server: ")
    assert ran.err.count("\n") == 1


def test_a_command_that_needs_a_database_does_not_take_one_by_chance(client: Client) -> None:
    for command in (("worker",), ("serve",), ("db", "check")):
        refused(client(*command, code=2, STRATAFLOW_DB=""), "STRATAFLOW_SERVER", "--db")


# --- following


def spawn(client: Client, *args: str | Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in at(client.address, client.token).items():
            patch.setenv(name, value)
        away, client.cli.url = client.cli.url, ""
        try:
            return client.cli.spawn(*args)
        finally:
            client.cli.url = away


def test_a_run_goes_on_at_the_server_after_an_interrupt(client: Client) -> None:
    process = spawn(client, "run", client.cli.flow(GATED, name="held"))
    started = process.stderr.readline()
    assert started.startswith("held ")
    one = started.split()[1]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=40)
    assert (process.returncode, out) == (130, "")
    assert "It goes on at the server" in err
    assert f"strataflow wait {one[:18]} --server {client.address}" in err
    client("signal", one, "go")
    assert client("wait", one, "--timeout", "40s", "--json").json["state"] == "completed"


def test_events_are_followed_as_they_come(client: Client) -> None:
    one = client("start", client.cli.flow(GATED, name="told")).out.strip()
    process = spawn(
        client, "events", "--instance", one, "--follow", "--json", "--after", "0", "--name", "instance.*"
    )
    assert "instance.pending" in process.stdout.readline()
    client("signal", one, "go")
    lines = iter(process.stdout.readline, "")
    assert any("instance.completed" in line for line in lines)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=40)
    assert process.returncode == 130


def test_events_are_followed_from_now_on(client: Client) -> None:
    client("run", client.cli.flow({"a": {"run": "core.noop"}}, name="past"))
    process = spawn(client, "events", "--follow", "--name", "instance.*", "--limit", "1", "--json")

    def comes() -> bool:
        client("run", client.cli.flow({"a": {"run": "core.noop"}}, name="future"))
        return process.poll() is not None

    until(comes)
    out, _ = process.communicate(timeout=40)
    assert '"definition": "future"' in out


def test_logs_are_followed_to_the_end(client: Client) -> None:
    nodes: Any = {
        "a": {"run": "core.log", "with": {"message": "hello"}},
        "w": {"needs": ["a"], "wait": {"signal": "go"}},
    }
    one = client("start", client.cli.flow(nodes, name="said")).out.strip()
    process = spawn(client, "logs", one, "--follow")
    assert "hello" in process.stdout.readline()
    client("signal", one, "go")
    process.communicate(timeout=40)
    assert process.returncode == 0


def test_a_token_that_everybody_can_read_is_told(client: Client) -> None:
    ran = client("list", "--server", "http://server.invalid", code=1)
    assert "warning: the token goes to http://server.invalid unencrypted" in ran.err
    assert "does not answer" in ran.err
    assert "unencrypted" not in client("list").err


def test_who_waits_does_not_notice_that_the_server_starts_anew(tmp_path: Path) -> None:
    cli = Cli(f"sqlite:///{tmp_path / 'restarted.db'}", tmp_path)
    upgrade(cli.url)
    token = cli("keys", "create", "tests", "--scope", "*:*").out.strip()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    try:
        with server(cli, "--port", port) as address:
            client = Client(cli, address, token)
            waiting = spawn(client, "run", cli.flow(GATED, name="kept"), "--json")
            one = waiting.stderr.readline().split()[1]
            following = spawn(
                client,
                "events",
                "--instance",
                one,
                "--follow",
                "--after",
                "0",
                "--name",
                "instance.*",
                "--json",
            )
            assert "instance.pending" in following.stdout.readline()
        with server(cli, "--port", port):
            client("signal", one, "go")
            out, err = waiting.communicate(timeout=50)
            assert waiting.returncode == 0, err
            assert '"state": "completed"' in out
            assert any("instance.completed" in line for line in iter(following.stdout.readline, ""))
    finally:
        cli.close()


def test_a_server_without_a_worker_is_told(tmp_path: Path) -> None:
    cli = Cli(f"sqlite:///{tmp_path / 'idle.db'}", tmp_path)
    upgrade(cli.url)
    token = cli("keys", "create", "tests", "--scope", "*:*").out.strip()
    try:
        with server(cli, "--no-engine") as address:
            client = Client(cli, address, token)
            flow = cli.flow({"a": {"run": "core.noop"}})
            assert "No worker runs where the server is" in client("start", flow).err
            ran = client("run", flow, "--timeout", "100ms", code=130)
            assert "No worker runs where the server is" in ran.err
    finally:
        cli.close()
