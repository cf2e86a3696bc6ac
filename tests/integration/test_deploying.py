"""Containerfile, compose.yaml and docs/deploying.md: commands, variables and SQL run for real, without containers."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import typer.main
import yaml

from strataflow.api.cli import app
from strataflow.services.configuration import SETTINGS
from tests.conftest import Databases
from tests.support.cli import Cli, until
from tests.support.postgres import database_of
from tools import image_lock, lock

ROOT = Path(__file__).resolve().parents[2]
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("migrate", "worker", "api")
PAGE = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
HELLO = {"dsl": "1", "name": "t.hello", "nodes": {"a": {"run": "core.noop", "with": 1}}}


def instructions() -> list[tuple[str, str]]:
    """Give the Containerfile's instructions in order, lines that go on put together."""
    text = re.sub(r"(?m)^#.*\n", "", CONTAINERFILE).replace("\\\n", " ")
    return [
        (name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)
    ]


def image_environment() -> dict[str, str]:
    """Give what the last stage sets for strataflow."""
    last = CONTAINERFILE.rpartition("\nFROM ")[2]
    found = dict(
        each.split("=", 1) for line in re.findall(r"(?m)^ENV (.+)$", last) for each in shlex.split(line)
    )
    return {name: value for name, value in found.items() if name.startswith("STRATAFLOW_")}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


# --- what stands in the files


def test_the_image_runs_as_nobody_special_and_stops_in_order() -> None:
    found = instructions()
    last = found[max(at for at, (name, _) in enumerate(found) if name == "FROM") :]
    said = dict(last)
    assert said["USER"] == "10001:10001"
    assert said["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(said["ENTRYPOINT"]) == ["strataflow"]
    assert not any("pip" in rest for name, rest in last if name == "RUN")
    assert "ADD" not in dict(found)
    assert not re.search(r"curl|wget|apt|https?://(?!127\.0\.0\.1)", CONTAINERFILE)
    for name, rest in found:
        if name == "RUN" and " install " in rest and "pip" in rest:
            assert "--require-hashes" in rest or "--no-index" in rest, rest


def test_the_image_has_every_layer_and_nothing_else() -> None:
    copied = {rest.split()[0] for name, rest in instructions() if name == "COPY"}
    folders = {each for each in copied if (ROOT / each).is_dir()}
    setup = (ROOT / "setup.py").read_text()
    layers = set(re.findall(r'"(\w+)"', setup.partition("LAYERS = [")[2].partition("]")[0]))
    assert folders == layers | {"facade"}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == folders | {"pyproject.toml", "setup.py", image_lock.SERVER, image_lock.BUILD}


def test_the_locks_of_the_image_are_cut_from_the_one_that_is_tested() -> None:
    for name, text in image_lock.locks().items():
        assert (ROOT / name).read_text() == text, f"{name} is stale: run `python tools/image_lock.py`"
        assert all(pin.n_hashes for pin in lock.read(text).values())
    server = lock.read((ROOT / image_lock.SERVER).read_text())
    assert {"fastapi", "uvicorn", "psycopg", "uvloop"} <= server.keys()
    assert not {"pytest", "ruff", "setuptools"} & server.keys()


def test_services_of_compose_are_shut_in() -> None:
    assert "docker.sock" not in json.dumps(COMPOSE)
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), (name, port)
        assert "privileged" not in service
        for variable, value in service.get("environment", {}).items():
            assert "PASSWORD" not in variable or variable.endswith("_FILE"), name
            assert "://" not in value, name
    for name in OURS:
        assert SERVICES[name]["read_only"] is True
        assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert "ports" not in SERVICES["postgres"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert "outside" not in SERVICES["postgres"]["networks"]
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("./secrets/")
        assert f"{secret['file'][2:]}" in PAGE
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_services_of_compose_wait_for_each_other() -> None:
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("worker", "api"):
        assert SERVICES[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
        for secret in SERVICES[name]["secrets"]:
            assert secret in COMPOSE["secrets"]
    for name, service in SERVICES.items():
        assert set(service["networks"]) <= COMPOSE["networks"].keys(), name


def test_variables_of_image_and_compose_are_settings() -> None:
    known = {setting.env for setting in SETTINGS} | {"STRATAFLOW_DB_FILE"}
    assert image_environment().keys() <= known
    for name in OURS:
        assert SERVICES[name]["environment"].keys() <= known
    for variable in re.findall(r"STRATAFLOW_[A-Z_]+", PAGE):
        assert variable in known, variable


def test_commands_of_the_page_exist() -> None:
    group: Any = typer.main.get_command(app)
    for line in re.findall(r"(?m)^\$ (?:docker compose exec \w+ )?(strataflow .+)$", PAGE):
        words = shlex.split(line)[1:]
        command = group
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        flags = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= flags, line


# --- what is run


def said_by(command: list[str], url_file: Path, folder: Path, **more: str) -> subprocess.Popen[str]:
    """Run a command as the container does: with the image's variables, and the secret as a file."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STRATAFLOW_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    env = {**kept, **image_environment(), "PATH": path, "STRATAFLOW_DB_FILE": str(url_file), **more}
    return subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate(timeout=50)
    return process.returncode, out


@pytest.mark.slow
@pytest.mark.timeout(180)  # nine processes, one after the other
def test_the_services_of_compose_run(pg_url: str, tmp_path: Path) -> None:
    """Migrate, then worker and API, their health checks, a run through HTTP, SIGTERM."""
    url_file = tmp_path / "database_url"
    url_file.write_text(pg_url + "\n")
    check = ["strataflow", *SERVICES["worker"]["healthcheck"]["test"][2:]]
    assert finished(said_by(check, url_file, tmp_path))[0] == 1  # there is no schema yet
    assert finished(said_by(["strataflow", *SERVICES["migrate"]["command"]], url_file, tmp_path))[0] == 0
    assert finished(said_by(check, url_file, tmp_path))[0] == 0
    made = said_by(["strataflow", "keys", "create", "me", "--scope", "*:*", "--json"], url_file, tmp_path)
    token = json.loads(finished(made)[1])["token"]
    port = free_port()
    # The image listens on every address of its container; here nothing but loopback is listened on.
    more = {
        "STRATAFLOW_PORT": str(port),
        "STRATAFLOW_HOST": "127.0.0.1",
        "STRATAFLOW_ALLOW_HOSTS": "flows.example",
    }
    api = said_by(["strataflow", *SERVICES["api"]["command"]], url_file, tmp_path, **more)
    worker = said_by(
        ["strataflow", *SERVICES["worker"]["command"]],
        url_file,
        tmp_path,
        **SERVICES["worker"]["environment"] | {"STRATAFLOW_DB_FILE": str(url_file)},
    )
    try:
        health = json.loads(dict(instructions())["HEALTHCHECK"].partition("CMD ")[2])
        until(lambda: finished(said_by(health, url_file, tmp_path, **more))[0] == 0)
        post = (
            "import sys, json, urllib.request as r\n"
            "q = r.Request(sys.argv[1], sys.argv[2].encode(), {'Content-Type': 'application/json',"
            " 'Authorization': 'Bearer ' + sys.argv[3], 'Host': 'flows.example'})\n"
            "print(json.load(r.urlopen(q, timeout=60))['state'])"
        )
        where = f"http://127.0.0.1:{port}/api/v1/instances?wait=40s"
        command = ["python", "-c", post, where, json.dumps({"definition": HELLO}), token]
        assert finished(said_by(command, url_file, tmp_path)) == (0, "completed\n")
    finally:
        for process in (api, worker):
            process.send_signal(signal.SIGTERM)
        ended = [finished(process) for process in (api, worker)]
    assert [code for code, _ in ended] == [0, 0], ended
    health = [part.replace(f"'{8080}'", f"'{port}'") for part in health]
    assert finished(said_by(health, url_file, tmp_path, **more))[0] != 0  # nobody is there any more


# --- roles


@pytest.fixture
def roles(pg_databases: Databases) -> Iterator[tuple[str, str]]:
    """Give a database without tables and the beginning of role names that nobody else has."""
    url = pg_databases.create()
    prefix = f"r{uuid.uuid4().hex[:12]}"
    yield url, prefix
    pg_databases.drop(url)
    for role in ("migrator", "engine", "reader"):
        pg_databases._run("DROP ROLE IF EXISTS {}", f"{prefix}_{role}")


def blocks(prefix: str, url: str) -> list[str]:
    """Give the page's SQL for this database and these roles; roles belong to the whole server."""
    found = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    return [
        text.replace("flows_", f"{prefix}_").replace("DATABASE flows", f'DATABASE "{database_of(url)}"')
        for text in found
    ]


def as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = "&".join(filter(None, (parts.query, "schema=flows")))
    return urlunsplit(parts._replace(netloc=f"{role}@{host}", query=query))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_three_roles_each_with_what_it_needs(roles: tuple[str, str], tmp_path: Path) -> None:
    url, prefix = roles
    make, after = blocks(prefix, url)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(make)  # pyright: ignore[reportArgumentType, reportCallIssue]
    migrator, engine, reader = (
        Cli(as_role(url, f"{prefix}_{role}"), tmp_path) for role in ("migrator", "engine", "reader")
    )
    assert "permission denied" in engine("db", "upgrade", code=1).err
    assert "no strataflow schema" in engine("list", code=1).err
    migrator("db", "upgrade")
    dsn = migrator.url.replace("schema=flows", "").rstrip("?&")
    with psycopg.connect(dsn, autocommit=True) as owner:
        assert owner.execute("SHOW search_path").fetchone() == ("flows",)
        owner.execute(after)  # pyright: ignore[reportArgumentType, reportCallIssue]
    # An engine reads and writes rows, and nothing else.
    ran = engine("run", engine.flow({"a": {"run": "core.noop", "with": 1}}), "--json").json
    engine("keys", "create", "me", "--scope", "*:*")
    engine("purge", "--older", "0s", "--state", "failed")
    assert engine("doctor", code=None).err == ""
    with psycopg.connect(engine.url.replace("schema=flows", "").rstrip("?&"), autocommit=True) as session:
        for statement in (
            "CREATE TABLE mine (a int)",
            "ALTER TABLE tasks ADD COLUMN a int",
            "DROP TABLE journal",
            "TRUNCATE journal",
            "UPDATE strataflow_version SET version_num = '1'",
            "CREATE TEMP TABLE a (b int)",
            "CREATE SCHEMA other",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)  # pyright: ignore[reportArgumentType, reportCallIssue]
    # A reader looks.
    for command in (("status",), ("history",), ("tasks",), ("explain",), ("logs",)):
        reader(*command, ran["id"], "--json")
    for command in (
        ("list",),
        ("events",),
        ("stats",),
        ("queues", "list"),
        ("limits", "list"),
        ("definitions",),
    ):
        reader(*command, "--json")
    assert "up to date" in reader("db", "check").out
    for command in (("keys", "list"), ("secrets", "list")):
        assert "permission denied" in reader(*command, code=1).err
    for command in (("cancel", ran["id"]), ("serve", "--port", "0")):
        process = reader.spawn(*command)
        _, err = process.communicate(timeout=50)
        assert (process.returncode, err.count("\n")) == (1, 1)
        assert "permission denied" in err
