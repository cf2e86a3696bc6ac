"""Fixtures of the crash tests: the nursery, and a bench that starts engines on one database and judges it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.recovery.bench import Bench
from tests.recovery.nursery import Nursery


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Give the process that forks engines; one per test process."""
    made = Nursery(tmp_path_factory.mktemp("nursery"))
    yield made
    made.close()


@pytest.fixture
def bench(nursery: Nursery, db_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Give engines on a new database of either kind."""
    yield Bench(nursery, db_url, tmp_path_factory.mktemp("bench"))
    nursery.end_children()


@pytest.fixture
def pg_bench(
    nursery: Nursery, migrated_pg_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """Give engines on a new Postgres database."""
    yield Bench(nursery, migrated_pg_url, tmp_path_factory.mktemp("bench"))
    nursery.end_children()
