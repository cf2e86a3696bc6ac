"""Databases for the tests.

| fixture | gives |
|---|---|
| `db_url` | a migrated, empty database of its own, once as `sqlite` and once as `postgres` |
| `sqlite_url` | the URL of a SQLite file that does not exist yet |
| `migrated_sqlite_url` | a migrated, empty SQLite file |
| `pg_server` | the URL of the server's maintenance database; one server per run, see tests/support/postgres.py |
| `pg_url` | a new, empty Postgres database without any table |
| `migrated_pg_url` | a new Postgres database, cloned from a template on which the migrations ran once |

Without a Postgres these fixtures fail, they never skip. A test's databases are gone when it ends.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import uuid
from typing import TYPE_CHECKING

import hypothesis
import psycopg
import psycopg.sql
import pytest

from tests.support import postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest_plugins = ["pytester", "tests.support.acceptance"]

# A shared machine makes any deadline a coin toss; the timeout of the test stands.
hypothesis.settings.register_profile("strataflow", deadline=None, print_blob=True)
hypothesis.settings.load_profile("strataflow")

LEASE = pytest.StashKey[postgres.Lease | postgres.NoPostgresError]()


def _run_id(config: pytest.Config) -> str:
    """Give what all processes of one run have in common, and no other run has."""
    workerinput: dict[str, str] = getattr(config, "workerinput", {})
    return workerinput.get("testrunuid", f"{os.getpid()}-{uuid.uuid4().hex}")


def _migrate(url: str) -> None:
    from strataflow.repositories.migrate import upgrade

    upgrade(url)


def _join(config: pytest.Config) -> postgres.Lease | postgres.NoPostgresError:
    """Take this process's share of the run's server, once."""
    if LEASE not in config.stash:
        try:
            config.stash[LEASE] = postgres.acquire(_run_id(config))
        except postgres.NoPostgresError as error:
            config.stash[LEASE] = error
    return config.stash[LEASE]


def _wants_postgres(item: pytest.Item) -> bool:
    fixtures: set[str] = set(getattr(item, "fixturenames", ()))
    callspec = getattr(item, "callspec", None)
    return "pg_lease" in fixtures or (callspec is not None and callspec.params.get("db_url") == "postgres")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long on one database and is shown on the other; `make test-all` leaves nothing out."""
    if os.environ.get("STRATAFLOW_TESTS") == "all" or config.getoption("--acceptance"):
        return
    left_out = [item for item in items if _is_long(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_long(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("long")
    return mark is not None and re.search(rf"[\[-]{mark.args[0]}\b", item.name) is not None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the server before the first test: pulling an image must not use up that test's time."""
    if not session.config.option.collectonly and any(map(_wants_postgres, session.items)):
        _join(session.config)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Give the share back; the last process of the run waits until the server is gone."""
    lease = session.config.stash.get(LEASE, None)
    if isinstance(lease, postgres.Lease):
        lease.release()


@pytest.fixture(scope="session")
def pg_lease(request: pytest.FixtureRequest) -> postgres.Lease:
    """Give this process's share of the run's server."""
    lease = _join(request.config)
    if isinstance(lease, postgres.NoPostgresError):
        pytest.fail(f"{lease}", pytrace=False)
    return lease


@pytest.fixture(scope="session")
def pg_server(pg_lease: postgres.Lease) -> str:
    """Give the URL of the maintenance database of a real server, shared by the whole run."""
    return pg_lease.url


class Databases:
    """Creates and drops databases on the run's server."""

    def __init__(self, lease: postgres.Lease) -> None:
        self._lease = lease
        self._prefix = postgres.database_prefix(lease.run_dir.name)
        self._numbers = itertools.count(1)
        self._admin = psycopg.connect(lease.url, autocommit=True)
        (fsync,) = self._admin.execute("SHOW fsync").fetchone() or ("on",)
        quick = fsync == "off" and self._admin.info.server_version >= 150000
        self._strategy = " STRATEGY FILE_COPY" if quick else ""

    def create(self, template: str | None = None) -> str:
        """Create a database, empty or as a clone, and give its URL."""
        name = f"{self._prefix}{os.getpid()}_{next(self._numbers)}"
        self._run("CREATE DATABASE {} TEMPLATE {}" + self._strategy, name, template or "template0")
        return postgres.with_database(self._lease.url, name)

    def drop(self, url: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", postgres.database_of(url))

    def template(self, name: str, prepare: Callable[[str], None]) -> str:
        """Prepare a database once per run and close it to connections, so that it can always be cloned."""
        full = self._prefix + name
        with self._lease.once(name) as first:
            if first:
                self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", full)
                self._run("CREATE DATABASE {}", full)
                prepare(postgres.with_database(self._lease.url, full))
                self._run("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", full)
        return full

    def close(self) -> None:
        """Close the connection to the maintenance database."""
        self._admin.close()

    def _run(self, statement: str, *names: str) -> None:
        identifiers = [psycopg.sql.Identifier(name) for name in names]
        self._admin.execute(psycopg.sql.SQL(statement).format(*identifiers))  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="session")
def pg_databases(pg_lease: postgres.Lease) -> Iterator[Databases]:
    """Give the way to create databases; a test that needs more than one takes it."""
    databases = Databases(pg_lease)
    try:
        yield databases
    finally:
        databases.close()


@pytest.fixture
def pg_url(pg_databases: Databases) -> Iterator[str]:
    """Give a new, empty database without any table."""
    url = pg_databases.create()
    yield url
    pg_databases.drop(url)


@pytest.fixture(scope="session")
def pg_template(pg_databases: Databases) -> str:
    """Give the name of the database on which the migrations ran, once per run."""
    return pg_databases.template("migrated", _migrate)


@pytest.fixture
def migrated_pg_url(pg_databases: Databases, pg_template: str) -> Iterator[str]:
    """Give a new, migrated, empty Postgres database."""
    url = pg_databases.create(pg_template)
    yield url
    pg_databases.drop(url)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Give the URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'strataflow.db'}"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a migrated SQLite file, made once per process."""
    folder = tmp_path_factory.mktemp("sqlite-template")
    _migrate(f"sqlite:///{folder / 'strataflow.db'}")
    return folder


@pytest.fixture
def migrated_sqlite_url(sqlite_template: Path, tmp_path: Path, sqlite_url: str) -> str:
    """Give a migrated, empty SQLite file."""
    for path in sqlite_template.iterdir():
        shutil.copy(path, tmp_path / path.name)
    return sqlite_url


@pytest.fixture(params=["sqlite", "postgres"])
def db_url(request: pytest.FixtureRequest) -> str:
    """Give a migrated, empty database of its own: every test that takes it runs on both."""
    fixture = {"sqlite": "migrated_sqlite_url", "postgres": "migrated_pg_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    return url
