"""Where the users live: one SQLite file that belongs to this package and not to the workflow engine.

Every user carries the key of the task that created it. An attempt that is repeated after a crash finds that key taken
and gets the user of the first attempt, so that nobody is created twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["EmailTaken", "User", "UserStore"]

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY,
    email TEXT NOT NULL UNIQUE COLLATE NOCASE,
    name TEXT NOT NULL,
    created_by TEXT NOT NULL UNIQUE
)
"""


class EmailTaken(Exception):
    """Raised when somebody else has the address."""


@dataclass(frozen=True)
class User:
    """One stored user."""

    id: int
    email: str
    name: str


class UserStore:
    """The users in one SQLite file, which is made when it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, *, email: str, name: str, key: str) -> User:
        """Create a user once per key. Raises EmailTaken."""
        with self._transaction() as db:
            first = db.execute("SELECT id, email, name FROM users WHERE created_by = ?", (key,)).fetchone()
            if first is not None:
                return User(*first)
            try:
                found = db.execute(
                    "INSERT INTO users (email, name, created_by) VALUES (?, ?, ?) RETURNING id",
                    (email, name, key),
                ).fetchone()
            except sqlite3.IntegrityError as exc:
                raise EmailTaken(email) from exc
            return User(found[0], email, name)

    def all(self) -> list[User]:
        """Give every user, oldest first."""
        with self._transaction() as db:
            return [User(*row) for row in db.execute("SELECT id, email, name FROM users ORDER BY id")]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute(SCHEMA)
            yield db
            db.execute("COMMIT")
