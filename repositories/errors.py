"""Errors of this layer; the engine translates them (`engine/state_manager.py`).

RepositoryError
├── Fenced              this engine is no longer alive in the database: it owns nothing
├── Retryable           lock conflict, deadlock, lost connection: run the whole transaction again
│   └── ConnectionLost  the connection broke; whether a commit arrived is unknown
├── Unwritable          the database refuses writes for now (disk full, read-only)
├── BadRow              one row breaks a constraint or cannot be encoded: split the batch
└── SchemaMismatch      the schema is missing, older or newer
"""

from __future__ import annotations

__all__ = [
    "BadRow",
    "ConnectionLost",
    "Fenced",
    "RepositoryError",
    "Retryable",
    "SchemaMismatch",
    "Unwritable",
]


class RepositoryError(Exception):
    """Base of every error of this layer."""


class Fenced(RepositoryError):
    """The fence row of this engine is gone or not alive."""


class Retryable(RepositoryError):
    """The transaction did not happen and may be run again as a whole."""


class ConnectionLost(Retryable):
    """The connection broke: look up the receipt before submitting again."""


class Unwritable(RepositoryError):
    """Nothing can be written for now; reading may work."""


class BadRow(RepositoryError):
    """A row of the batch is refused by the database."""


class SchemaMismatch(RepositoryError):
    """The database's schema does not fit this engine; the message says what to do."""
