"""A database object and writers for the contract tests of the repositories."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from strataflow.repositories.database import Database
from tests.support.writers import Writer


@pytest.fixture
def database(db_url: str) -> Iterator[Database]:
    database = Database(db_url)
    yield database
    database.close()


@pytest.fixture
def writers(db_url: str, database: Database) -> Iterator[Callable[[], Writer]]:
    made: list[Writer] = []

    def make() -> Writer:
        made.append(Writer(db_url, database))
        return made[-1]

    yield make
    for writer in made:
        writer.batch.rollback()
        writer.connection.close()


@pytest.fixture
def writer(writers: Callable[[], Writer]) -> Writer:
    return writers()


@pytest.fixture
def postgres(migrated_pg_url: str) -> Iterator[Callable[[], Writer]]:
    """Give writers on Postgres only."""
    database = Database(migrated_pg_url)
    made: list[Writer] = []

    def make() -> Writer:
        made.append(Writer(migrated_pg_url, database))
        return made[-1]

    yield make
    for writer in made:
        writer.batch.rollback()
        writer.connection.close()
    database.close()
