"""Every command says the same on a database and at a server that has it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from strataflow.api import cli
from strataflow.api.cli import app
from strataflow.api.cli.target import LOCAL
from strataflow.repositories.migrate import upgrade
from tests.remote.kit import Site, both
from tests.remote.scenarios import SCENARIOS

_OPTIONS = ("server", "server_token", "server_token_file")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    """Give both sites on SQLite; scenarios keep to names of their own."""
    folder = tmp_path_factory.mktemp("sites")
    urls = (f"sqlite:///{folder / 'local.db'}", f"sqlite:///{folder / 'remote.db'}")
    for url in urls:
        upgrade(url)
    with both(urls, folder) as sites:
        yield sites


@pytest.fixture(scope="module")
def postgres(
    pg_databases: Any, pg_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Site]]:
    """Give both sites on Postgres."""
    urls = (pg_databases.create(pg_template), pg_databases.create(pg_template))
    with both(urls, tmp_path_factory.mktemp("sites")) as sites:
        yield sites


def compare(sites: tuple[Site, Site], name: str) -> None:
    scenario, covered = SCENARIOS[name]
    for site in sites:
        site.said.clear()
        site.used.clear()
        scenario(site)
        assert covered <= site.used
    here, there = (site.said for site in sites)
    different = [pair for pair in itertools.zip_longest(here, there) if pair[0] != pair[1]]
    told = "\n".join(f"database: {local}\nserver:   {remote}" for local, remote in different)
    assert not different, told


@pytest.mark.slow
@pytest.mark.timeout(180)  # alerts are looked for every 15 s, and two sites wait for that
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_server_answers_as_a_database_does(files: tuple[Site, Site], name: str) -> None:
    compare(files, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["life_cycle", "queues", "running"])
def test_a_server_on_postgres_answers_as_postgres_does(postgres: tuple[Site, Site], name: str) -> None:
    compare(postgres, name)


def test_no_command_opens_a_database_beside_the_door() -> None:
    """Who opens one by themselves would take no notice of `--server`."""
    opening = re.compile(
        r"services\.container import [^\n]*\b(?:reading|running)\b|container\.(?:reading|running)\("
    )
    folder = Path(cli.__file__).parent
    found = {path.name for path in folder.glob("*.py") if opening.search(path.read_text(encoding="utf-8"))}
    assert found == {"door.py", "worker.py"}


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        path = f"{before}{name}"
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} ")
        else:
            yield path, command


def test_every_command_has_a_scenario_or_a_reason_to_know_no_server() -> None:
    covered = frozenset[str]().union(*(names for _, names in SCENARIOS.values()))
    known = dict(commands(typer.main.get_command(app)))
    assert sorted(known.keys() - covered - LOCAL.keys()) == []
    assert sorted((covered | LOCAL.keys()) - known.keys()) == []
    assert not covered & LOCAL.keys()
    for path, command in known.items():
        hidden = {each.name: each.hidden for each in command.params if each.name in _OPTIONS}
        assert hidden == ({"server": True} if path in LOCAL else dict.fromkeys(_OPTIONS, False))
