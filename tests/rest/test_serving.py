"""`strataflow serve` and `strataflow keys` as their users run them, and what docs/rest.md names."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import text

from strataflow.api.rest.app import create_app
from strataflow.repositories.database import Database
from strataflow.services.container import Options
from strataflow.services.namespaces import Namespaces
from tests.integration.kit import until
from tests.support.cli import Cli

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "rest.md").read_text(encoding="utf-8")


@pytest.fixture
def cli(db_url: str, tmp_path: Path) -> Iterator[Cli]:
    found = Cli(db_url, tmp_path)
    yield found
    found.close()


def test_keys_from_the_command_line(cli: Cli) -> None:
    made = cli("keys", "create", "ci", "--scope", "read:*", "--expires-in", "1h", "--json").json
    assert made["token"].startswith("sf1.main.")
    rotated = cli("keys", "rotate", made["id"], "--overlap", "1d")
    assert rotated.out.startswith("sf1.main.")
    assert "not shown again" in rotated.err
    listed = cli("keys", "list", "--json").json
    assert [(each["name"], each["state"]) for each in listed] == [("ci", "active")] * 2
    assert made["token"].rpartition(".")[2] not in cli("keys", "list").out
    assert cli("keys", "revoke", made["id"]).out == "ci is revoked.\n"
    assert "no scope" in cli("keys", "create", "ci", "--scope", "reed:*", code=2).err
    assert "there is no key" in cli("keys", "revoke", "nonsense", code=2).err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--insecure", "--host", "0.0.0.0"), "for this machine alone"),
        (
            ("--insecure", "--namespace", "a=sqlite:///a.db", "--namespace", "b=sqlite:///b.db"),
            "serves one namespace",
        ),
        (("--namespace", "a"), "NAME=URL"),
        (("--namespace", "A=sqlite:///a.db"), "no name of a namespace"),
        (("--namespace", "a=mysql://x"), "no supported database"),
        (("--trusted-proxy", "*"), "no address"),
        (("--root-path", "flows"), "no path"),
        (("--host", "no.such.host.invalid"), "cannot be listened on"),
    ],
)
def test_what_serve_refuses(cli: Cli, options: tuple[str, ...], said: str) -> None:
    assert said in cli("serve", *options, code=2).err


def test_a_key_can_be_made_before_there_is_a_database(tmp_path: Path) -> None:
    cli = Cli(f"sqlite:///{tmp_path / 'new.db'}", tmp_path)
    assert "there is no database" in cli("keys", "list", code=2).err
    assert cli("keys", "create", "me", "--scope", "*:*").out.startswith("sf1.main.")
    assert [each["name"] for each in cli("keys", "list", "--json").json] == ["me"]


# --- what cannot be had is one sentence


def refusal(cli: Cli, *options: str, code: int) -> str:
    """Run `serve`, which must end by itself; give its one line."""
    process = cli.spawn("serve", *options)
    out, err = process.communicate(timeout=50)
    assert (process.returncode, out) == (code, ""), err
    assert err.count("\n") == 1, err
    return err


def test_a_database_that_is_not_there_is_one_sentence(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"postgresql://nobody:hidden@127.0.0.1:{port}/none"
    said = refusal(cli, "--port", "0", "--db", url, code=1)
    assert said.startswith("error: ")
    assert "hidden" not in said


def test_a_port_that_is_taken_is_one_sentence(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(cli, "--port", str(port), code=2)
    assert f"127.0.0.1:{port} cannot be listened on" in said
    assert "--port 0" in said


def test_a_newer_schema_is_one_sentence(cli: Cli) -> None:
    database = Database(cli.url)
    with database.write() as connection:
        connection.execute(text("UPDATE strataflow_version SET version_num = '9999'"))
    database.close()
    assert "newer" in refusal(cli, "--port", "0", code=1)


# --- a process that serves


@contextmanager
def serving(cli: Cli, *options: str) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """Run `serve` on a free port; gives the process, its address, and the lines it says from then on."""
    process = cli.spawn("serve", "--port", "0", *options)
    said: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"Serving (https?://\S+)/api/v1", line):
            break
    else:
        pytest.fail(f"it did not start: {said}")
    reader = threading.Thread(target=said.extend, args=(process.stderr,))
    reader.start()
    try:
        yield process, found[1], said
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        reader.join()
        cli.close()


@pytest.mark.slow
def test_a_served_database_from_its_first_call_to_sigterm(cli: Cli) -> None:
    token = cli("keys", "create", "me", "--scope", "*:*", "--json").json["token"]
    with (
        serving(cli) as (process, address, said),
        httpx.Client(base_url=f"{address}/api/v1", timeout=60) as client,
    ):
        assert client.get("/ready").json() == {"status": "ok"}
        assert client.get("/instances").status_code == 401
        client.headers["Authorization"] = f"Bearer {token}"
        body = {"definition": {"dsl": "1", "name": "t.served", "nodes": {"a": {"run": "core.noop"}}}}
        assert client.post("/instances?wait=30s", json=body).json()["state"] == "completed"
        local = {"run": "shell.run", "with": {"argv": ["id"]}}
        body = {"definition": {"dsl": "1", "name": "t.local", "nodes": {"a": local}}}
        assert client.post("/instances", json=body).status_code == 422
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert "Traceback" not in "".join(said)
    assert "Stopping; running tasks have 10 s." in "".join(said)
    (engine,) = [
        each
        for each in cli("events", "--name", "engine.*", "--json").json
        if each["name"] == "engine.stopped"
    ]
    assert engine["data"]["pid"] == process.pid


#: Runs until a file is there, and says so by a file of its own.
GATE = """
import time
from pathlib import Path
from strataflow.executors import ExecutorDomain

gate = ExecutorDomain("gate")

@gate.executor("pass")
def pass_(ctx, config):
    here = Path(config["folder"])
    (here / "began").touch()
    while not (here / "open").exists():
        time.sleep(0.01)
    return "through"
"""


def gated(cli: Cli, folder: Path) -> dict[str, Any]:
    cli.file("gate_executors.py", GATE)
    node = {"run": "gate.pass", "with": {"folder": str(folder)}}
    return {"definition": {"dsl": "1", "name": "t.gated", "nodes": {"a": node}}}


@pytest.mark.slow
def test_sigterm_lets_running_tasks_end_and_takes_no_further_calls(cli: Cli, tmp_path: Path) -> None:
    token = cli("keys", "create", "me", "--scope", "*:*", "--json").json["token"]
    body = gated(cli, tmp_path)
    with serving(cli, "--grace", "40s", "--import", "gate_executors.py") as (process, address, said):
        url, headers = f"{address}/api/v1", {"Authorization": f"Bearer {token}"}
        started = httpx.post(f"{url}/instances", json=body, headers=headers, timeout=60).json()
        until((tmp_path / "began").exists)
        process.send_signal(signal.SIGTERM)
        until(lambda: any("Stopping" in line for line in said))
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/live")
        assert process.poll() is None
        (tmp_path / "open").touch()
        assert process.wait(40) == 0
    assert cli("status", started["id"], "--json").json["state"] == "completed"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_second_signal_ends_at_once(sqlite_url: str, tmp_path: Path, number: signal.Signals) -> None:
    cli = Cli(sqlite_url, tmp_path)
    token = cli("keys", "create", "me", "--scope", "*:*", "--json").json["token"]
    body = gated(cli, tmp_path)
    with serving(cli, "--grace", "1h", "--import", "gate_executors.py") as (process, address, said):
        headers = {"Authorization": f"Bearer {token}"}
        httpx.post(f"{address}/api/v1/instances", json=body, headers=headers, timeout=60)
        until((tmp_path / "began").exists)
        process.send_signal(number)
        until(lambda: any("Stopping" in line for line in said))
        process.send_signal(number)
        assert process.wait(30) == 130


@pytest.mark.slow
def test_metrics_for_prometheus_where_they_are_asked_for(sqlite_url: str, tmp_path: Path) -> None:
    cli = Cli(sqlite_url, tmp_path)
    token = cli("keys", "create", "me", "--scope", "*:*", "--json").json["token"]
    headers = {"Authorization": f"Bearer {token}"}
    for options, status in ((("--metrics",), 200), ((), 404)):
        with serving(cli, "--no-engine", *options) as (_, address, _said):
            assert httpx.get(f"{address}/metrics", headers=headers, timeout=60).status_code == status
    refused = cli("worker", "--engines", "2", "--metrics-port", "0", code=2).err
    assert "--metrics-port is for one engine" in refused
    worker = cli.spawn("worker", "--metrics-port", "0", "--log-level", "info")
    assert worker.stderr is not None
    found = next(each for each in map(re.compile(r"http://\S+/metrics").search, worker.stderr) if each)
    assert "strataflow" in httpx.get(found[0], timeout=60).text
    cli.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of this machine's name and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


@pytest.mark.slow
def test_tls_and_a_path_of_its_own(sqlite_url: str, tmp_path: Path) -> None:
    cli = Cli(sqlite_url, tmp_path)
    cert, key = certificate(tmp_path)
    options = "--tls-cert", str(cert), "--tls-key", str(key), "--root-path", "/flows", "--no-engine"
    with serving(cli, *options) as (process, address, _):
        assert address.startswith("https://127.0.0.1:")
        trust = ssl.create_default_context(cafile=str(cert))
        # The balancer takes `/flows` away: what comes in is a path without it.
        with httpx.Client(base_url=address.removesuffix("/flows"), verify=trust, timeout=60) as client:
            assert client.get("/api/v1/ready").json() == {"status": "ok"}
            assert client.get("/flows/api/v1/ready").status_code == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_certificate_that_cannot_be_used(cli: Cli, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    cli.file("other.pem", "nothing")
    assert "go together" in cli("serve", "--tls-cert", cert, code=2).err
    for cut in (
        ("--tls-cert", tmp_path / "none.pem", "--tls-key", key),
        ("--tls-cert", tmp_path / "other.pem", "--tls-key", key),
        ("--tls-cert", cert, "--tls-key", cert),
    ):
        assert "cannot be used" in cli("serve", *cut, code=2).err


@pytest.mark.parametrize(
    ("trusted", "found"),
    [((), {401, 429}), (("--trusted-proxy", "127.0.0.0/8"), {401})],
    ids=["nobody", "proxy"],
)
@pytest.mark.slow
def test_forwarded_addresses_count_only_from_a_trusted_proxy(
    sqlite_url: str, tmp_path: Path, trusted: tuple[str, ...], found: set[int]
) -> None:
    """Calls without a key are limited by their address: a new one for each call is believed of a proxy alone."""
    cli = Cli(sqlite_url, tmp_path)
    with (
        serving(cli, "--no-engine", "--rate", "0.001", "--burst", "3", *trusted) as (_, address, _said),
        httpx.Client(base_url=f"{address}/api/v1", timeout=60) as client,
    ):
        headers = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(8)]
        assert {client.get("/instances", headers=each).status_code for each in headers} == found


def test_the_page_names_every_route(tmp_path: Path) -> None:
    app = create_app(Namespaces({"main": f"sqlite:///{tmp_path}/x.db"}, Options()))
    for path in app.openapi()["paths"]:
        last = path.removeprefix("/api/v1").rstrip("/").rpartition("/")[2]
        assert last in PAGE, path
