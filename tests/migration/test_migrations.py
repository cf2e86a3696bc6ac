"""The migrations make exactly what `repositories/tables.py` says, for any number of processes at once."""

from __future__ import annotations

import ast
import importlib.resources
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect

from strataflow.repositories import migrate
from strataflow.repositories.database import Database
from strataflow.repositories.errors import Retryable
from strataflow.repositories.tables import metadata
from strataflow.repositories.url import DatabaseUrl
from tests.support.processes import run_together

VERSIONS = Path(str(importlib.resources.files("strataflow.migrations"))) / "versions"


@pytest.fixture(params=["sqlite", "postgres"])
def new_url(request: pytest.FixtureRequest) -> str:
    """Give a database without any table, once of each kind."""
    url: str = request.getfixturevalue({"sqlite": "sqlite_url", "postgres": "pg_url"}[request.param])
    return url


def _engine_url(url: str) -> str:
    return DatabaseUrl.parse(url).sqlalchemy


def _create_from_tables(url: str) -> None:
    engine = create_engine(_engine_url(url))
    wanted = [t for t in metadata.sorted_tables if t.info.get("only") in {None, engine.dialect.name}]
    metadata.create_all(engine, tables=wanted)
    engine.dispose()


# --- migrated == tables.py -------------------------------------------------------------------------------------------


def test_autogenerate_finds_nothing_to_do(db_url: str) -> None:
    def ours(item: Any, name: str | None, kind: str, _reflected: object, _to: object) -> bool:
        return kind != "table" or (
            name != migrate.VERSION_TABLE and item.info.get("only") in {None, engine.dialect.name}
        )

    engine = create_engine(_engine_url(db_url))
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "include_object": ours}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    engine.dispose()
    assert differences == []


def test_sqlite_has_the_same_columns_checks_and_indexes(migrated_sqlite_url: str, tmp_path: Path) -> None:
    made = f"sqlite:///{tmp_path / 'made.db'}"
    _create_from_tables(made)
    assert _sqlite_schema(migrated_sqlite_url) == _sqlite_schema(made)


def _sqlite_schema(url: str) -> dict[str, Any]:
    """Give columns in their order, and every line of the DDL in any order."""
    connection = sqlite3.connect(str(DatabaseUrl.parse(url).path))
    rows = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    ).fetchall()
    schema: dict[str, Any] = {}
    for kind, name, table, sql in rows:
        if table != migrate.VERSION_TABLE:
            lines = sorted(line.strip().rstrip(",") for line in sql.splitlines())
            columns = connection.execute(f"PRAGMA table_info({name})").fetchall() if kind == "table" else []
            schema[f"{kind} {name}"] = (columns, lines)
    connection.close()
    return schema


CATALOG = {
    "columns": """
        SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, k.collname,
               pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_collation k ON k.oid = a.attcollation
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "options": """
        SELECT relname, relkind::text, reloptions
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i', 'S', 'v')""",
    "sequences": """
        SELECT sequencename, data_type::text, start_value, increment_by, max_value, cycle, cache_size
        FROM pg_sequences WHERE schemaname = 'public'""",
}


def _pg_schema(url: str) -> dict[str, list[Any]]:
    with psycopg.connect(url) as connection:
        found = {name: connection.execute(query.encode()).fetchall() for name, query in CATALOG.items()}
    return {
        name: sorted(r for r in rows if migrate.VERSION_TABLE not in str(r)) for name, rows in found.items()
    }


def test_postgres_has_the_same_catalog(migrated_pg_url: str, pg_url: str) -> None:
    _create_from_tables(pg_url)
    migrated, made = _pg_schema(migrated_pg_url), _pg_schema(pg_url)
    for part in CATALOG:
        assert migrated[part] == made[part]
    assert [row[0] for row in migrated["sequences"]] == ["journal_seq"]
    assert "sequences" not in {row[0] for row in migrated["options"]}
    paths = {(row[0], row[5]) for row in migrated["columns"] if row[2] == "path"}
    assert {collation for _, collation in paths} == {"C"}
    assert ("tasks", "r", ["fillfactor=50"]) in migrated["options"]


# --- up, down, up ----------------------------------------------------------------------------------------------------


def test_up_down_and_up_again(new_url: str) -> None:
    assert migrate.check(new_url) == migrate.SchemaStatus(None, migrate.HEAD, "missing")
    migrate.upgrade(new_url)
    assert migrate.check(new_url) == migrate.SchemaStatus(migrate.HEAD, migrate.HEAD, "current")
    before = _tables(new_url)
    migrate.upgrade(new_url)
    migrate.downgrade(new_url)
    assert migrate.check(new_url).state == "missing"
    assert _tables(new_url) == {migrate.VERSION_TABLE}
    migrate.upgrade(new_url)
    assert _tables(new_url) == before


def _tables(url: str) -> set[str]:
    database = Database(url)
    with database.read() as connection:
        found = _table_names(connection)
    database.close()
    return found


def _table_names(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def test_looking_makes_no_file(sqlite_url: str) -> None:
    assert migrate.check(sqlite_url).state == "missing"
    assert not Path(str(DatabaseUrl.parse(sqlite_url).path)).exists()


def test_a_sqlite_file_is_made_by_its_first_use(sqlite_url: str) -> None:
    migrate.require_current(DatabaseUrl.parse(sqlite_url))
    assert migrate.check(sqlite_url).state == "current"


def test_a_failing_version_leaves_nothing(new_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_done(connection: Connection, *_: object) -> None:
        connection.exec_driver_sql("CREATE TABLE definitions (id INTEGER)")
        raise KeyError("broken")

    monkeypatch.setattr(migrate, "_alembic", half_done)
    with pytest.raises(KeyError):
        migrate.upgrade(new_url)
    assert _tables(new_url) == set()


# --- many at once ----------------------------------------------------------------------------------------------------


def _open_first(url: str) -> None:
    migrate.require_current(DatabaseUrl.parse(url))
    assert migrate.check(url).state == "current"


def _upgrade(url: str) -> None:
    migrate.upgrade(url)
    assert migrate.check(url).state == "current"


def test_ten_processes_open_one_new_file(sqlite_url: str) -> None:
    assert run_together(_open_first, [(sqlite_url,)] * 10) == []


def test_processes_upgrade_one_new_postgres_schema_at_once(pg_url: str) -> None:
    assert run_together(_upgrade, [(f"{pg_url}?schema=shared",)] * 4) == []


def test_an_upgrade_waits_for_another_only_so_long(pg_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_MS", 20)
    monkeypatch.setattr(migrate, "LOCK_ATTEMPTS", 2)
    with migrate._locked(DatabaseUrl.parse(pg_url)), pytest.raises(Retryable):
        migrate.upgrade(pg_url)
    migrate.upgrade(pg_url)


# --- a schema of its own ---------------------------------------------------------------------------------------------


def test_each_postgres_schema_is_a_namespace(migrated_pg_url: str) -> None:
    other = f"{migrated_pg_url}?schema=other"
    assert migrate.check(other).state == "missing"
    migrate.upgrade(other)
    migrate.require_current(DatabaseUrl.parse(other))
    with psycopg.connect(migrated_pg_url) as connection:
        rows = connection.execute("SELECT schemaname, tablename FROM pg_tables").fetchall()
        numbers = connection.execute(
            "SELECT schemaname FROM pg_sequences WHERE sequencename = 'journal_seq'"
        ).fetchall()
    tables = {schema: {table for s, table in rows if s == schema} for schema in ("public", "other")}
    assert tables["public"] == tables["other"] >= {"tasks", "journal", migrate.VERSION_TABLE}
    assert sorted(numbers) == [("other",), ("public",)]
    migrate.downgrade(other)
    assert migrate.check(other).state == "missing"
    assert migrate.check(migrated_pg_url).state == "current"


def test_views_look_into_the_schema_of_the_url(migrated_pg_url: str) -> None:
    other = f"{migrated_pg_url}?schema=other"
    migrate.upgrade(other)
    database = Database(other)
    for transaction in (database.read, database.write):
        with transaction() as connection:
            assert connection.exec_driver_sql(
                "SELECT 'tasks'::regclass::oid = 'other.tasks'::regclass::oid"
            ).scalar()
    database.close()


# --- the files -------------------------------------------------------------------------------------------------------


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(importlib.resources.files("strataflow.migrations")))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def test_the_constant_names_every_revision_in_order() -> None:
    revisions = [script.revision for script in _scripts().walk_revisions()]
    assert tuple(reversed(revisions)) == migrate.REVISIONS
    assert _scripts().get_heads() == [migrate.HEAD]


def test_versions_are_numbered_frozen_and_reversible() -> None:
    names = sorted(path.name for path in VERSIONS.glob("*.py"))
    assert names
    for number, name in enumerate(names, start=1):
        assert re.fullmatch(rf"{number:04d}_[a-z][a-z0-9_]*\.py", name)
        module = ast.parse((VERSIONS / name).read_text())
        values = {
            node.targets[0].id: node.value.value
            for node in module.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        assert values["revision"] == f"{number:04d}"
        assert values["down_revision"] == (f"{number - 1:04d}" if number > 1 else None)
        assert ast.get_docstring(module)
        assert {"upgrade", "downgrade"} <= {n.name for n in module.body if isinstance(n, ast.FunctionDef)}
        imported = {n.module or "" for n in ast.walk(module) if isinstance(n, ast.ImportFrom)}
        assert not any(name.startswith(("strataflow", "repositories")) for name in imported)


def test_looking_loads_no_alembic(migrated_sqlite_url: str) -> None:
    program = (
        "import sys\n"
        "from strataflow.repositories.migrate import check, require_current\n"
        "from strataflow.repositories.url import DatabaseUrl\n"
        "require_current(DatabaseUrl.parse(sys.argv[1]))\n"
        "assert check(sys.argv[1]).state == 'current'\n"
        "assert not any(name.split('.')[0] == 'alembic' for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, migrated_sqlite_url], check=True)
