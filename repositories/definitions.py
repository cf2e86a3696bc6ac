"""Stored definitions: immutable versions by name, number and content hash.

The same content under the same name is stored once, whoever stores it first; versions of a name are numbered from 1
without gaps. Only `state` ever changes: a start by name takes the active version.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, bindparam, case, func, select, update

from .database import Database, insert_into
from .errors import RepositoryError, Retryable
from .readmodels import uuid_text
from .records import DefinitionState
from .tables import DEFINITIONS

__all__ = [
    "DefinitionBody",
    "StoredDefinition",
    "UnknownDefinition",
    "activate",
    "by_name",
    "get",
    "listing",
    "meant",
    "set_state",
    "state_of",
    "store",
]

#: Two that store at once agree in the second round; more rounds mean that others store without a pause.
_ROUNDS: Final = 50
_ACTIVE: Final = DEFINITIONS.c.state == DefinitionState.ACTIVE.value
_DRAFT: Final = DEFINITIONS.c.state == DefinitionState.DRAFT.value
#: Everything but the text.
_HEAD: Final = [column for column in DEFINITIONS.columns if column.name != "body"]


class UnknownDefinition(RepositoryError):
    """No definition has this name and version."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"there is no definition {name!r} with version {version}")
        self.name = name
        self.version = version


@dataclass(frozen=True, slots=True)
class StoredDefinition:
    """One version of a definition, without its text."""

    id: str
    name: str
    version: int
    #: SHA-256 of the text, hexadecimal.
    hash: str
    state: DefinitionState
    created_at: int

    @property
    def active(self) -> bool:
        """Is this what the name alone means?"""
        return self.state is DefinitionState.ACTIVE


@dataclass(frozen=True, slots=True)
class DefinitionBody(StoredDefinition):
    """One version of a definition with its canonical JSON text."""

    body: str


def store(
    target: Connection | Database,
    *,
    id: str,  # noqa: A002 - the column's name
    name: str,
    hash: str,  # noqa: A002 - the column's name
    body: str,
    now: int,
    activate: bool = False,
) -> StoredDefinition:
    """Store a definition, or give the version that has this content already, and make it the active one if asked.

    On a connection it takes part in the caller's transaction (READ COMMITTED; IMMEDIATE on SQLite), else it is a
    transaction of its own, and only a read when nothing is to be changed: on SQLite a caller that starts an instance
    inside its own transaction holds the write lock already. `id` and `now` are used only when the content is new.

    Raises:
        Retryable: others kept taking the next version number.
    """
    if isinstance(target, Database):
        with target.read() as connection:
            known = connection.execute(_same(name, hash)).first()
        if known is not None and (known.state == DefinitionState.ACTIVE.value or not activate):
            return _stored(known)
    row = {"id": id, "name": name, "hash": hash, "body": body, "created_at": now}
    with _writing(target) as connection:
        found = _insert_first(connection, row)
        if activate and not found.active:
            found = _activate(connection, found.name, found.version)
        return found


def activate(target: Connection | Database, name: str, version: int) -> StoredDefinition:
    """Make one version the active one of its name, and no other.

    Raises:
        UnknownDefinition: there is no such version.
    """
    with _writing(target) as connection:
        return _activate(connection, name, version)


def set_state(
    target: Connection | Database, name: str, version: int, state: DefinitionState
) -> StoredDefinition:
    """Give one version a state; `active` also makes the one that was active deprecated.

    Raises:
        UnknownDefinition: there is no such version.
    """
    if state is DefinitionState.ACTIVE:
        return activate(target, name, version)
    one = (DEFINITIONS.c.name == name) & (DEFINITIONS.c.version == version)
    with _writing(target) as connection:
        if not connection.execute(update(DEFINITIONS).where(one).values(state=state.value)).rowcount:
            raise UnknownDefinition(name, version)
        return _stored(connection.execute(select(*_HEAD).where(one)).one())


def get(connection: Connection, definition_id: str) -> DefinitionBody | None:
    """Give one definition by its id."""
    return _body(connection, select(*DEFINITIONS.columns).where(DEFINITIONS.c.id == uuid_text(definition_id)))


def state_of(connection: Connection, definition_id: str) -> DefinitionState | None:
    """Give the state of one definition by its id."""
    query = select(DEFINITIONS.c.state).where(DEFINITIONS.c.id == uuid_text(definition_id))
    state = connection.scalar(query)
    return None if state is None else DefinitionState(state)


def by_name(
    connection: Connection, name: str, version: int | None = None, *, latest: bool = False
) -> DefinitionBody | None:
    """Give a version of a name; without a number the active one.

    If none is active, with `latest` the newest draft: what is deprecated or archived is not meant by its name alone.
    """
    return _body(connection, _named(select(*DEFINITIONS.columns), name, version, latest=latest))


def meant(connection: Connection, name: str, version: int | None = None) -> StoredDefinition | None:
    """Give what a name means: the version of the number, else the active one, else the newest draft."""
    row = connection.execute(_named(select(*_HEAD), name, version, latest=True)).first()
    return None if row is None else _stored(row)


def _named(columns: Select[Any], name: str, version: int | None, *, latest: bool) -> Select[Any]:
    named = columns.where(DEFINITIONS.c.name == name)
    if version is not None:
        return named.where(DEFINITIONS.c.version == version)
    named = named.where(_ACTIVE | _DRAFT if latest else _ACTIVE)
    first = case((_ACTIVE, 0), else_=1)
    return named.order_by(first, DEFINITIONS.c.version.desc()).limit(1)


def listing(
    connection: Connection,
    *,
    name: str | None = None,
    active_only: bool = False,
    limit: int = 100,
    after: tuple[str, int] | None = None,
) -> list[StoredDefinition]:
    """Give a page of definitions by name, newest version first; `after` is the last `(name, version)` seen."""
    columns = DEFINITIONS.c
    page = select(*_HEAD).order_by(columns.name, columns.version.desc()).limit(limit)
    if name is not None:
        page = page.where(columns.name == name)
    if active_only:
        page = page.where(_ACTIVE)
    if after is not None:
        last_name, last_version = after
        page = page.where(
            (columns.name > last_name) | ((columns.name == last_name) & (columns.version < last_version))
        )
    return [_stored(row) for row in connection.execute(page)]


def _insert_first(connection: Connection, row: dict[str, Any]) -> StoredDefinition:
    """Insert as the next version unless the content is there.

    Whoever loses a number waits for the winner's commit, then looks again in a statement of its own, which sees it.
    """
    named = DEFINITIONS.c.name == row["name"]
    values = [bindparam(key, value, DEFINITIONS.c[key].type) for key, value in row.items()]
    next_version = func.coalesce(func.max(DEFINITIONS.c.version), 0) + 1
    new = (
        insert_into(connection, DEFINITIONS)
        .from_select([*row, "version"], select(*values, next_version).where(named))
        .on_conflict_do_nothing()
    )
    same = _same(row["name"], row["hash"])
    for _ in range(_ROUNDS):
        found = connection.execute(same).first()
        if found is not None:
            return _stored(found)
        connection.execute(new)
    raise Retryable(f"the next version of definition {row['name']!r} was taken {_ROUNDS} times by others")


def _same(name: str, digest: str) -> Select[Any]:
    return select(*_HEAD).where(DEFINITIONS.c.name == name, DEFINITIONS.c.hash == digest)


def _activate(connection: Connection, name: str, version: int) -> StoredDefinition:
    """Lock the versions, then change them in a statement that sees what the last holder of the locks did."""
    named = DEFINITIONS.c.name == name
    versions = select(DEFINITIONS.c.version).where(named).order_by(DEFINITIONS.c.version).with_for_update()
    if version not in connection.scalars(versions).all():
        raise UnknownDefinition(name, version)
    # two statements: the unique index on the active version of a name is checked row by row
    before = update(DEFINITIONS).where(named, _ACTIVE, DEFINITIONS.c.version != version)
    connection.execute(before.values(state=DefinitionState.DEPRECATED.value))
    chosen = update(DEFINITIONS).where(named, DEFINITIONS.c.version == version)
    connection.execute(chosen.values(state=DefinitionState.ACTIVE.value))
    return _stored(connection.execute(select(*_HEAD).where(named, DEFINITIONS.c.version == version)).one())


@contextmanager
def _writing(target: Connection | Database) -> Generator[Connection]:
    if isinstance(target, Connection):
        yield target
    else:
        with target.write() as connection:
            yield connection


def _stored(row: Row[Any]) -> StoredDefinition:
    return StoredDefinition(
        row.id, row.name, row.version, row.hash, DefinitionState(row.state), row.created_at
    )


def _body(connection: Connection, query: Select[Any]) -> DefinitionBody | None:
    row = connection.execute(query).first()
    if row is None:
        return None
    return DefinitionBody(
        row.id, row.name, row.version, row.hash, DefinitionState(row.state), row.created_at, row.body
    )
