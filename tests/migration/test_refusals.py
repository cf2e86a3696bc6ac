"""Databases that do not fit, or are none: refused in one sentence that says what to do, and left as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import Connection, create_engine, inspect

from strataflow.repositories import migrate
from strataflow.repositories.database import Database, UnusableDatabase
from strataflow.repositories.errors import RepositoryError, SchemaMismatch
from strataflow.repositories.url import DatabaseUrl


@pytest.fixture(params=["sqlite", "postgres"])
def new_url(request: pytest.FixtureRequest) -> str:
    """Give a database without any table, once of each kind."""
    url: str = request.getfixturevalue({"sqlite": "sqlite_url", "postgres": "pg_url"}[request.param])
    return url


def _engine_url(url: str) -> str:
    return DatabaseUrl.parse(url).sqlalchemy


def _tables(url: str) -> set[str]:
    database = Database(url)
    with database.read() as connection:
        found = _table_names(connection)
    database.close()
    return found


def _table_names(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


# --- what is refused -------------------------------------------------------------------------------------------------


def _set_revision(url: str, revision: str) -> None:
    database = Database(url)
    with database.write() as connection:
        connection.exec_driver_sql(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '{revision}'")
    database.close()


def test_a_newer_schema_is_refused_with_both_revisions(db_url: str) -> None:
    _set_revision(db_url, "9999")
    assert migrate.check(db_url) == migrate.SchemaStatus("9999", migrate.HEAD, "newer")
    for refuses in (migrate.upgrade, lambda url: migrate.require_current(DatabaseUrl.parse(url))):
        with pytest.raises(SchemaMismatch, match=rf"9999.*{migrate.HEAD}"):
            refuses(db_url)


def test_an_older_schema_is_upgraded_on_sqlite_and_refused_on_postgres(
    migrated_sqlite_url: str, migrated_pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "REVISIONS", ("0000", *migrate.REVISIONS))
    for url in (migrated_sqlite_url, migrated_pg_url):
        _set_revision(url, "0000")
        assert migrate.check(url).state == "older"
    with pytest.raises(SchemaMismatch, match=r"0000.*strataflow db upgrade --db postgresql://"):
        migrate.require_current(DatabaseUrl.parse(migrated_pg_url))
    ran: list[str] = []
    monkeypatch.setattr(
        migrate, "_alembic", lambda _connection, _schema, verb, to: ran.append(f"{verb} {to}")
    )
    migrate.require_current(DatabaseUrl.parse(migrated_sqlite_url))
    assert ran == ["upgrade head"]


def test_postgres_is_never_migrated_by_the_way(pg_url: str) -> None:
    secret = pg_url.replace("@", ":hunter2@", 1)
    with pytest.raises(SchemaMismatch, match="run `strataflow db upgrade --db postgresql://") as caught:
        migrate.require_current(DatabaseUrl.parse(f"{secret}?application_name=s3cr3t"))
    assert "s3cr3t" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert migrate.check(pg_url).state == "missing"


def test_tables_of_another_application_are_left_alone(new_url: str) -> None:
    engine = create_engine(_engine_url(new_url))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE tasks (id INTEGER)")
    engine.dispose()
    with pytest.raises(SchemaMismatch, match=r"tasks\).*name another"):
        migrate.upgrade(new_url)
    assert _tables(new_url) == {"tasks"}


def _unusable(tmp_path: Path) -> Iterator[tuple[str, str]]:
    (tmp_path / "text.db").write_text(
        "this is a letter, and no database at all; it is long enough for a header\n" * 9
    )
    (tmp_path / "folder").mkdir()
    yield f"sqlite:///{tmp_path}/text.db", "is not a SQLite database; name another file"
    yield f"sqlite:///{tmp_path}/folder", "cannot be opened; check the path and its permissions"
    yield f"sqlite:///{tmp_path}/absent/x.db", "does not exist; create it, or name another file"


def test_what_is_no_database_gets_one_sentence(tmp_path: Path) -> None:
    for url, sentence in _unusable(tmp_path):
        for look in (
            migrate.check,
            migrate.upgrade,
            lambda url: migrate.require_current(DatabaseUrl.parse(url)),
        ):
            with pytest.raises(UnusableDatabase, match=sentence) as caught:
                look(url)
            assert "\n" not in str(caught.value)


def test_a_file_that_may_not_be_written_gets_one_sentence(
    migrated_sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(connection: Connection, *_: object) -> None:
        connection.exec_driver_sql("PRAGMA query_only=ON")
        connection.exec_driver_sql("DELETE FROM tasks")

    _set_revision(migrated_sqlite_url, "0000")
    monkeypatch.setattr(migrate, "REVISIONS", ("0000", *migrate.REVISIONS))
    monkeypatch.setattr(migrate, "_alembic", refuse)
    with pytest.raises(UnusableDatabase, match="may not write the file; change its permissions"):
        migrate.upgrade(migrated_sqlite_url)


def _as_user(url: str, user: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}"))


def test_a_server_that_does_not_let_us_in_gets_one_sentence(pg_url: str) -> None:
    for url, reason in (
        (f"{pg_url}_absent", "does not exist"),
        (_as_user(pg_url, "nobody:s3cr3t"), "nobody"),
        ("postgresql://me:s3cr3t@127.0.0.1:1/db", "127.0.0.1:1"),
    ):
        with pytest.raises(RepositoryError, match=reason) as caught:
            migrate.check(url)
        assert str(caught.value).startswith("cannot connect to postgresql://")
        assert "s3cr3t" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_role_without_privileges_gets_one_sentence(pg_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(connection: Connection, *_: object) -> None:
        connection.exec_driver_sql("DO $$ BEGIN RAISE insufficient_privilege; END $$")

    monkeypatch.setattr(migrate, "_alembic", refuse)
    with pytest.raises(UnusableDatabase, match="the role lacks a privilege"):
        migrate.upgrade(pg_url)
