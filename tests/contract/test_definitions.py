"""Stored definitions on both databases: one row per content, numbers without gaps, one active version."""

from __future__ import annotations

import contextlib
import threading
import uuid

import pytest

from strataflow.repositories import definitions
from strataflow.repositories.database import Database
from strataflow.repositories.definitions import StoredDefinition, UnknownDefinition
from strataflow.repositories.records import DefinitionState
from tests.support.writers import Writer, beside


def _store(
    database: Database, content: str, *, name: str = "flow", activate: bool = False
) -> StoredDefinition:
    return definitions.store(
        database, id=str(uuid.uuid4()), name=name, hash=content, body=f'"{content}"', now=1, activate=activate
    )


def test_versions_of_a_name_are_numbered_from_one(database: Database) -> None:
    assert [_store(database, text).version for text in ("a", "b", "c")] == [1, 2, 3]
    assert _store(database, "a", name="other").version == 1


def test_the_same_content_is_the_same_version(database: Database) -> None:
    first = _store(database, "a")
    _store(database, "b")
    assert _store(database, "a") == first


def test_stored_text_comes_back_by_id_and_by_number(database: Database) -> None:
    stored = _store(database, "a")
    with database.read() as connection:
        found = definitions.get(connection, stored.id)
        assert found is not None
        assert (found.body, found.version, found.created_at, found.active) == ('"a"', 1, 1, False)
        assert definitions.by_name(connection, "flow", 1) == found
        assert definitions.by_name(connection, "flow", 2) is None
        assert definitions.get(connection, str(uuid.uuid4())) is None
        assert definitions.get(connection, "no id") is None


def test_a_name_alone_gives_the_active_version_and_the_newest_only_when_asked(database: Database) -> None:
    _store(database, "a")
    _store(database, "b")
    with database.read() as connection:
        assert definitions.by_name(connection, "flow") is None
        newest = definitions.by_name(connection, "flow", latest=True)
    assert newest is not None
    assert newest.version == 2
    definitions.activate(database, "flow", 1)
    with database.read() as connection:
        active = definitions.by_name(connection, "flow")
        assert active is not None
        assert active.version == 1
        assert definitions.by_name(connection, "flow", latest=True) == active


def test_a_name_alone_never_gives_what_is_deprecated_or_archived(database: Database) -> None:
    for text in ("a", "b", "c"):
        _store(database, text)

    def newest() -> int | None:
        with database.read() as connection:
            found = definitions.by_name(connection, "flow", latest=True)
        return None if found is None else found.version

    retired = (DefinitionState.ARCHIVED, DefinitionState.DEPRECATED)
    assert newest() == 3
    for version, state in zip((3, 2), retired, strict=True):
        one = definitions.set_state(database, "flow", version, state)
        with database.read() as connection:
            assert definitions.state_of(connection, one.id) is state
            assert definitions.by_name(connection, "flow", version) is not None
    assert newest() == 1
    definitions.set_state(database, "flow", 1, DefinitionState.DEPRECATED)
    assert newest() is None
    with database.read() as connection:
        assert definitions.state_of(connection, str(uuid.uuid4())) is None
        assert definitions.state_of(connection, "no id") is None


def test_storing_leaves_the_active_version_alone_unless_asked(database: Database) -> None:
    assert _store(database, "a", activate=True).active
    assert not _store(database, "b").active
    assert _store(database, "a").active
    assert _store(database, "b", activate=True).active
    assert not _store(database, "a").active


def test_activating_what_does_not_exist_changes_nothing(database: Database) -> None:
    _store(database, "a", activate=True)
    with pytest.raises(UnknownDefinition) as caught:
        definitions.activate(database, "flow", 7)
    assert (caught.value.name, caught.value.version) == ("flow", 7)
    assert _store(database, "a").active


def test_storing_on_a_connection_is_part_of_its_transaction(database: Database) -> None:
    with contextlib.suppress(RuntimeError), database.write() as connection:
        definitions.store(connection, id=str(uuid.uuid4()), name="flow", hash="a", body="1", now=1)
        raise RuntimeError
    with database.read() as connection:
        assert definitions.listing(connection) == []


def test_pages_go_by_name_with_the_newest_version_first(database: Database) -> None:
    for name in ("b", "a"):
        for text in ("x", "y"):
            _store(database, text, name=name)
    definitions.activate(database, "b", 1)
    with database.read() as connection:
        page = definitions.listing(connection, limit=3)
        assert [(d.name, d.version) for d in page] == [("a", 2), ("a", 1), ("b", 2)]
        rest = definitions.listing(connection, limit=3, after=("b", 2))
        assert [(d.name, d.version) for d in rest] == [("b", 1)]
        assert [d.name for d in definitions.listing(connection, name="a")] == ["a", "a"]
        assert [(d.name, d.version) for d in definitions.listing(connection, active_only=True)] == [("b", 1)]


def test_of_two_that_activate_at_once_the_last_one_stands(database: Database, writer: Writer) -> None:
    for content in ("a", "b", "c"):
        _store(database, content)
    definitions.activate(database, "flow", 1)
    with contextlib.ExitStack() as waiting, database.write() as connection:
        definitions.activate(connection, "flow", 2)
        waiting.enter_context(beside(writer, lambda: definitions.activate(database, "flow", 3)))
    with database.read() as connection:
        assert [d.version for d in definitions.listing(connection, active_only=True)] == [3]


def test_many_that_store_at_once_agree(database: Database) -> None:
    contents = [f"{n % 6}" for n in range(24)]
    start, found = threading.Barrier(4), list[StoredDefinition]()

    def work(part: int) -> None:
        start.wait()
        for content in contents[part::4]:
            found.append(_store(database, content, activate=content == "3"))

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(d.hash, d.version, d.id) for d in found}) == 6
    assert {d.version for d in found} == set(range(1, 7))
    with database.read() as connection:
        assert [d.hash for d in definitions.listing(connection, active_only=True)] == ["3"]
