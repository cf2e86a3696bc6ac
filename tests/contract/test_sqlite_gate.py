"""The gate that SQLite writers of one process pass one by one: whatever becomes of a transaction, it opens again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from strataflow.repositories.dialect import SqliteConnection, connect
from strataflow.repositories.errors import RepositoryError, Retryable
from strataflow.repositories.url import DatabaseUrl


@pytest.fixture
def url(migrated_sqlite_url: str) -> DatabaseUrl:
    return DatabaseUrl.parse(migrated_sqlite_url)


@pytest.fixture
def writer(url: DatabaseUrl) -> Iterator[SqliteConnection]:
    connection = connect(url)
    assert isinstance(connection, SqliteConnection)
    yield connection
    connection.close()


def _another_thread_writes(url: DatabaseUrl) -> None:
    def write() -> None:
        other = connect(url)
        other.begin()
        other.commit()
        other.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(write).result(10)


def test_a_commit_opens_it(url: DatabaseUrl, writer: SqliteConnection) -> None:
    writer.begin()
    writer.commit()
    _another_thread_writes(url)


def test_a_rollback_opens_it_once(url: DatabaseUrl, writer: SqliteConnection) -> None:
    writer.begin()
    writer.rollback()
    writer.rollback()
    _another_thread_writes(url)


def test_a_transaction_that_sqlite_itself_ended_opens_it(url: DatabaseUrl, writer: SqliteConnection) -> None:
    # what SQLite does when the disk is full or fails: the statement fails and the transaction is gone
    writer.begin()
    with pytest.raises(sqlite3.IntegrityError):
        writer._raw.execute("INSERT OR ROLLBACK INTO sequences VALUES ('n', NULL)")
    assert not writer._raw.in_transaction
    writer.rollback()
    _another_thread_writes(url)


def test_a_commit_that_fails_opens_it_with_the_rollback(url: DatabaseUrl, writer: SqliteConnection) -> None:
    writer.begin()
    writer._raw.execute("ROLLBACK")
    with pytest.raises(RepositoryError):
        writer.commit()
    writer.rollback()
    _another_thread_writes(url)


def test_closing_in_the_middle_opens_it(url: DatabaseUrl, writer: SqliteConnection) -> None:
    writer.begin()
    writer.close()
    _another_thread_writes(url)


def test_closing_from_another_thread_leaves_it_to_the_one_who_holds_it(
    url: DatabaseUrl, writer: SqliteConnection
) -> None:
    writer.begin()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(writer.close).result(10)
    writer.rollback()
    _another_thread_writes(url)


def test_a_connection_that_cannot_begin_opens_it(url: DatabaseUrl, writer: SqliteConnection) -> None:
    writer.close()
    with pytest.raises((RepositoryError, sqlite3.Error)):
        writer.begin()
    _another_thread_writes(url)


def test_an_interrupt_while_waiting_for_the_file_opens_it(
    url: DatabaseUrl, writer: SqliteConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = sqlite3.connect(str(url.path), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("strataflow.repositories.dialect.time.sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            writer.begin()
    holder.execute("ROLLBACK")
    holder.close()
    _another_thread_writes(url)


def test_a_file_that_stays_locked_ends_as_retryable(
    url: DatabaseUrl, writer: SqliteConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strataflow.repositories.dialect.SQLITE_LOCK_WAIT_S", 0.01)
    holder = sqlite3.connect(str(url.path), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Retryable):
        writer.begin()
    holder.execute("ROLLBACK")
    holder.close()
    _another_thread_writes(url)
