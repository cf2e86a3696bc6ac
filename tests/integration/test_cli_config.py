"""Settings by file, environment and flags: one table, one order, and every one of them arrives."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer.main

from strataflow.api.cli import app, serving
from strataflow.api.cli.loglines import show_log
from strataflow.api.rest.app import ServerLimits
from strataflow.engine.config import EngineConfig
from strataflow.services import container
from strataflow.services.configuration import SETTINGS, Setting
from strataflow.services.configuration_page import markdown
from strataflow.services.container import Options, Services, engine_config
from strataflow.services.settings import read_file
from tests.support.cli import Cli

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
#: What an engine may be told by code alone, or is decided by the command.
BY_CODE = {"body_s", "executes", "secret", "hooks", "strategy", "tracing", "lease"}


@pytest.fixture
def cli(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    for setting in SETTINGS:
        monkeypatch.delenv(setting.env, raising=False)
    for name in ("STRATAFLOW_CONFIG", "STRATAFLOW_DB_FILE"):
        monkeypatch.delenv(name, raising=False)
    return Cli(sqlite_url, tmp_path)


def show(cli: Cli, *flags: str, env: Mapping[str, str] | None = None) -> dict[str, tuple[Any, str]]:
    found = cli("config", "show", "--json", *flags, env={"STRATAFLOW_DB": "", **(env or {})}).json
    return {each["name"]: (each["value"], each["source"]) for each in found}


# --- the table


def test_the_page_shows_the_table() -> None:
    if markdown() not in PAGE:
        pytest.fail(
            "docs/configuration.md is stale: `python -m strataflow.services.configuration_page` prints its table"
        )


def test_the_file_of_the_page_is_one(cli: Cli) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    found = read_file(text, "strataflow.toml")
    assert (found.problems, len(found.values) >= 10) == ((), True)
    cli.file("strataflow.toml", text)
    assert "Settings are well" in cli("config", "check").out


def test_every_setting_of_an_engine_and_of_a_server_is_in_the_table() -> None:
    keys = {setting.key for setting in SETTINGS}
    for field in dataclasses.fields(EngineConfig):
        name = field.name.removesuffix("_s").replace("log_attempts", "attempts")
        assert field.name in BY_CODE or {f"engine.{name}", f"log.{name}"} & keys, field.name
    assert {"engine.lease", "engine.lease_margin"} <= keys
    for name in (field.name for field in dataclasses.fields(ServerLimits) if field.name not in BY_CODE):
        assert f"server.{name}" in keys or any(key.startswith(f"{name}.") for key in keys), name


def test_defaults_are_those_of_the_engine_and_of_the_server(cli: Cli) -> None:
    with told(cli, "worker") as options:
        assert engine_config(options) == EngineConfig()
    settings = {setting.key: setting.default for setting in SETTINGS}
    assert serving._limits(settings) == ServerLimits()


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def test_options_and_the_table_agree() -> None:
    """An option whose variable is a setting's is that setting; every one has its flag where it is used."""
    by_env = {setting.env: setting for setting in SETTINGS}
    assert len(by_env) == len(SETTINGS)
    seen: dict[str, set[str]] = {}
    for path, command in commands(typer.main.get_command(app)):
        for each in command.params:
            assert (
                each.envvar in by_env or path == "config show" or not {"--db", "--import"} & {*each.opts}
            ), path
            if each.envvar in by_env:
                assert by_env[each.envvar].flag in each.opts, (path, each.opts)
                seen.setdefault(path, set()).add(by_env[each.envvar].key)
            elif path == "config show":  # which asks the table itself
                seen.setdefault(path, set()).update(by.key for by in SETTINGS if by.flag in each.opts)
    everything = {setting.key for setting in SETTINGS}
    assert seen["serve"] == seen["config show"] == everything
    of_serve = ("server.", "streams.", "graphql.", "telemetry.metrics")
    assert seen["worker"] == {key for key in everything if not key.startswith(of_serve)}


# --- the order

SAMPLES: dict[str, tuple[Any, str, str]] = {
    "engine.slots": (7, "8", "9"),
    "engine.queues": (["a"], "b c", "d"),
    "engine.grace": ("7s", "8s", "9s"),
    "engine.missing_executor": ("never", "8m", "9m"),
    "engine.notify": (False, "off", ""),
    "server.host": ("127.0.0.7", "127.0.0.8", "127.0.0.9"),
    "server.port": (7, "8", "9"),
    "server.namespaces": ({"a": "sqlite:///a.db"}, "b=sqlite:///b.db", "c=sqlite:///c.db"),
    "server.rate": (7, "8.5", "9.5"),
    "log.format": ("json", "json", "text"),
    "db": ("sqlite:///seven.db", "sqlite:///eight.db", "sqlite:///nine.db"),
}


def toml(values: Mapping[str, Any]) -> str:
    """Write one setting a line, under its section."""
    lines: list[str] = []
    before = ""
    for key, value in sorted(values.items(), key=lambda item: ("." in item[0], item[0])):
        section, _, name = key.rpartition(".")
        lines += [f"[{section}]"] if section != before else []
        if isinstance(value, dict):
            inner = ", ".join(f"{each} = {json.dumps(url)}" for each, url in value.items())
            lines.append(f"{name} = {{{inner}}}")
        else:
            lines.append(f"{name} = {json.dumps(value)}")
        before = section
    return "\n".join(lines) + "\n"


def as_shown(setting: Setting, value: Any) -> Any:
    if setting.kind == "urls" and isinstance(value, dict):
        return [f"{name}={url}" for name, url in value.items()]
    if not isinstance(value, str):
        return value
    if setting.kind in {"list", "urls"}:
        return value.split()
    return {"integer": int, "number": float, "boolean": lambda text: text != "off"}.get(setting.kind, str)(
        value
    )


@pytest.mark.parametrize("key", SAMPLES)
def test_a_flag_counts_more_than_a_variable_than_the_file_than_the_default(cli: Cli, key: str) -> None:
    (setting,) = [each for each in SETTINGS if each.key == key]
    in_file, in_env, as_flag = SAMPLES[key]
    default = show(cli)[key]
    assert default[1] == "default"
    cli.file("strataflow.toml", toml({key: in_file}))
    assert show(cli)[key] == (as_shown(setting, in_file), "file strataflow.toml")
    env = {setting.env: in_env}
    assert show(cli, env=env)[key] == (as_shown(setting, in_env), f"environment {setting.env}")
    flags = (setting.flag or "", as_flag) if as_flag else (setting.flag or "",)
    wanted = as_shown(setting, as_flag) if as_flag else True
    assert show(cli, *flags, env=env)[key] == (wanted, f"flag {setting.flag}")


@contextmanager
def told(cli: Cli, *args: str, env: Mapping[str, str] | None = None) -> Iterator[Options]:
    """Give what an engine would be opened with by a command."""
    seen: list[Options] = []

    @contextmanager
    def opened(options: Options) -> Iterator[Services]:
        seen.append(options)
        raise RuntimeError("that is enough")
        yield  # pragma: no cover

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container, "running", opened)
        cli(*args, code=1, env={"STRATAFLOW_DB": "", **(env or {})})
    yield seen[0]


def test_what_is_shown_is_what_a_worker_gets(cli: Cli) -> None:
    cli.file(
        "strataflow.toml",
        toml({"db": "sqlite:///of-the-file.db", "engine.poll": "5s", "engine.queues": ["q"]}),
    )
    with told(cli, "worker", "--slots", "3", env={"STRATAFLOW_LEASE": "1m"}) as options:
        assert options.url == "sqlite:///of-the-file.db"
        config = engine_config(options)
    assert (config.slots, config.lease.ttl_s, config.poll_s, config.queues) == (3, 60.0, 5.0, ("q",))


@pytest.mark.parametrize("command", [("signal", "01a1", "go"), ("start", "hello")])
def test_commands_without_the_flags_get_the_settings_too(cli: Cli, command: tuple[str, ...]) -> None:
    """A client behind a pooler of transactions must not listen either; a worker's queues are not its business."""
    cli.file("strataflow.toml", "[engine]\nnotify = false\nqueues = ['q']\n")
    with told(cli, *command, env={"STRATAFLOW_THREADS": "4"}) as options:
        assert (options.notify, options.threads, options.queues) == (False, 4, ())


def test_the_file_names_the_database_for_every_command(cli: Cli) -> None:
    cli.file("strataflow.toml", 'db = "sqlite:///named.db"\n')
    cli("keys", "create", "me", "--scope", "read:*", env={"STRATAFLOW_DB": ""})
    assert (cli.folder / "named.db").exists()
    assert len(cli("keys", "list", "--json", env={"STRATAFLOW_DB": ""}).json) == 1
    assert "no database" in cli("keys", "list", "--db", "sqlite:///other.db", code=2).err


@pytest.mark.parametrize("way", ["flag", "variable"])
def test_another_file_is_named(cli: Cli, way: str) -> None:
    cli.file("strataflow.toml", "[engine]\nslots = 1\n")
    other = cli.file("other.toml", "[engine]\nslots = 2\n")
    args, env = (("--config", str(other)), {}) if way == "flag" else ((), {"STRATAFLOW_CONFIG": str(other)})
    found = cli(*args, "config", "show", "--json", env=env).json
    assert [each["source"] for each in found if each["name"] == "engine.slots"] == [f"file {other}"]
    assert "cannot be read" in cli("--config", "none.toml", "list", code=2).err


def test_the_databases_url_may_be_a_file_of_its_own(cli: Cli) -> None:
    secret = cli.file("url.txt", "postgresql://me:hidden@db.example/flows?schema=one\n")
    env = {"STRATAFLOW_DB_FILE": str(secret)}
    shown = ("postgresql://me@db.example/flows?schema=one", "environment STRATAFLOW_DB_FILE")
    cli.file("strataflow.toml", 'db = "sqlite:///named.db"\n')
    assert show(cli, env=env)["db"] == shown
    with told(cli, "worker", env=env) as options:
        assert options.url == "postgresql://me:hidden@db.example/flows?schema=one"
    assert show(cli, env=env | {"STRATAFLOW_DB": "sqlite:///env.db"})["db"][1] == "environment STRATAFLOW_DB"
    secret.write_text("hidden")
    said = cli("config", "check", code=2, env=env | {"STRATAFLOW_DB": ""})
    assert "holds no database URL" in said.err
    assert "hidden" not in said.err


def test_passwords_are_not_shown(cli: Cli) -> None:
    url = "postgresql://me:hidden@db.example/flows"
    cli.file("strataflow.toml", toml({"db": url, "server.namespaces": {"a": url}}))
    for args in (("--json",), ()):
        assert "hidden" not in cli("config", "show", *args, env={"STRATAFLOW_DB": ""}).out
    assert "hidden" not in cli("config", "show", "--db", url, "--namespace", f"b={url}").out


# --- what is wrong


def test_everything_that_is_wrong_with_a_file_is_said_at_once(cli: Cli) -> None:
    cli.file(
        "strataflow.toml",
        "dbs = 'x'\n\n[engine]\nslotz = 3\nslots = 'many'\ngrace = 5\npoll = '5y'\nlease = '1ms'\n"
        "[server]\nqueues = []\nport = 70000\nnamespaces = {a = 'mysql://x'}\n"
        "[log]\nformat = 'xml'\n[serve]\nport = 1\n",
    )
    for command in (("list",), ("config", "check"), ("config", "show")):
        said = cli(*command, code=2).err
        for line, words in {
            1: "there is no setting 'dbs': did you mean 'db'?",
            4: "there is no setting 'engine.slotz': did you mean 'slots'?",
            5: "engine.slots: must be a whole number",
            6: "engine.grace: must be a text",
            7: "engine.poll: ",
            8: "engine.lease: must lie between 1 and 86400 s",
            10: "there is no setting 'server.queues'",
            11: "server.port: must lie between 0 and 65535",
            12: "server.namespaces: ",
            14: "log.format: must be text or json",
            15: "there is no setting 'serve': did you mean 'server'?",
        }.items():
            assert f"strataflow.toml:{line}: {words}" in said, (command, said)
    problems = cli("config", "check", "--json", code=2).json["problems"]
    assert "/engine/slotz" in [each["pointer"] for each in problems]


@pytest.mark.parametrize("text", ["db = ", "db = 'a'\ndb = 'b'", "a" + "[" * 3000])
def test_a_file_that_is_not_toml(cli: Cli, text: str) -> None:
    cli.file("strataflow.toml", text)
    assert "is not TOML" in cli("list", code=2).err


def test_wrong_variables_and_settings_that_do_not_go_together(cli: Cli) -> None:
    for env, words in (
        ({"STRATAFLOW_SLOTS": "many"}, "STRATAFLOW_SLOTS: must be a whole number"),
        ({"STRATAFLOW_NOTIFY": "maybe"}, "STRATAFLOW_NOTIFY: must be true or false"),
        ({"STRATAFLOW_LEASE": "2s"}, "engine.lease must be longer than engine.lease_margin"),
        ({"STRATAFLOW_TLS_CERT": "a.pem"}, "server.tls_cert and server.tls_key go together"),
    ):
        assert words in cli("config", "check", code=2, env=env).err
    assert "STRATAFLOW_SLOTS" in cli("list", code=2, env={"STRATAFLOW_SLOTS": "many"}).err
    assert "lease must be longer" in cli("worker", "--drain", code=2, env={"STRATAFLOW_LEASE": "2s"}).err
    assert "--grace" in cli("worker", "--grace", "soon", code=2).err


def test_a_wrong_url_does_not_stop_what_opens_no_database(cli: Cli) -> None:
    cli("schema", env={"STRATAFLOW_DB": "nonsense"})
    assert "--db" in cli("list", code=2, env={"STRATAFLOW_DB": "nonsense"}).err


# --- logs


def test_logs_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    show_log("json", "info")
    log = logging.getLogger("strataflow.tests")
    try:
        log.debug("no")
        log.info("taken %s", "up", extra={"action": "taken", "attempt": 2})
        log.error("lost", exc_info=ValueError("x"))
    finally:
        show_log()
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["message"], first["level"], first["action"], first["attempt"]) == (
        "taken up",
        "info",
        "taken",
        2,
    )
    assert second["error"] == "ValueError: x"


def test_tomllib_reads_what_these_tests_write() -> None:
    values = {key: sample[0] for key, sample in SAMPLES.items()}
    found = tomllib.loads(toml(values))
    assert found["engine"]["slots"] == 7
    assert found["server"]["namespaces"] == {"a": "sqlite:///a.db"}
