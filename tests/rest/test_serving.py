"""`strataflow serve` and `strataflow keys` as their users run them, and what docs/rest.md names."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from strataflow.api.rest.app import create_app
from strataflow.repositories.migrate import upgrade
from strataflow.services.container import Options
from strataflow.services.namespaces import Namespaces
from tests.integration.kit import until
from tests.support.cli import Cli

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "rest.md").read_text(encoding="utf-8")


@pytest.fixture
def cli(db_url: str, tmp_path: Path) -> Cli:
    upgrade(db_url)
    return Cli(db_url, tmp_path)


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
    ],
)
def test_what_serve_refuses(cli: Cli, options: tuple[str, ...], said: str) -> None:
    assert said in cli("serve", *options, code=2).err


@pytest.mark.slow
def test_a_served_database_from_its_first_call_to_sigterm(cli: Cli, db_url: str, tmp_path: Path) -> None:
    token = cli("keys", "create", "me", "--scope", "*:*", "--json").json["token"]
    log = tmp_path / "serve.log"
    command = [Path(sys.executable).parent / "strataflow", "serve", "--port", "0", "--db", db_url]
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, cwd=tmp_path) as process:
        try:
            until(
                lambda: re.search(r"running on (http://\S+)", log.read_text()) or process.poll() is not None
            )
            address = re.findall(r"running on (http://\S+)", log.read_text())[0]
            with httpx.Client(base_url=f"{address}/api/v1", timeout=60) as client:
                assert client.get("/ready").json() == {"status": "ok"}
                assert client.get("/instances").status_code == 401
                client.headers["Authorization"] = f"Bearer {token}"
                body = {"definition": {"dsl": "1", "name": "t.served", "nodes": {"a": {"run": "core.noop"}}}}
                assert client.post("/instances?wait=30s", json=body).json()["state"] == "completed"
                local = {
                    "dsl": "1",
                    "name": "t.local",
                    "nodes": {"a": {"run": "shell.run", "with": {"argv": ["id"]}}},
                }
                assert client.post("/instances", json={"definition": local}).status_code == 422
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    assert "Traceback" not in log.read_text()
    (engine,) = [
        each
        for each in cli("events", "--name", "engine.*", "--json").json
        if each["name"] == "engine.stopped"
    ]
    assert engine["data"]["pid"] == process.pid


def test_the_page_names_every_route(tmp_path: Path) -> None:
    app = create_app(Namespaces({"main": f"sqlite:///{tmp_path}/x.db"}, Options()))
    for path in app.openapi()["paths"]:
        last = path.removeprefix("/api/v1").rstrip("/").rpartition("/")[2]
        assert last in PAGE, path
