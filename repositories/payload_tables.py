"""Tables of what tasks give and report: large values, variables, checkpoints, progress, log lines. Part of `tables`."""

from __future__ import annotations

from typing import Any, Final, cast

from sqlalchemy import BigInteger, Float, Integer, String, Table, Text

from .columns import ID, PATH, Base, big, col, key_col, partial

__all__ = [
    "BLOBS",
    "CHECKPOINTS",
    "LOGS",
    "PROGRESS",
    "VARS",
    "Blob",
    "Checkpoint",
    "LogLine",
    "Progress",
    "Var",
]


class Blob(Base, table=True):
    """Payloads kept apart: large values by SHA-256, pages of a map's items by `items:<path>:<gen>:<page>`."""

    __tablename__: Any = "blobs"
    instance_id: str = key_col(ID)
    key: str = key_col(PATH)
    body: str = col(Text())


class Var(Base, table=True):
    """Committed values of the variables that `set` nodes wrote, by scope."""

    __tablename__: Any = "vars"
    instance_id: str = key_col(ID)
    scope: str = key_col(PATH)
    name: str = key_col(Text())
    writer: str = key_col(PATH)
    rev: int = col(Integer(), default="0")
    gen: int = col(Integer(), default="0")
    value: str | None = col(Text(), null=True)
    value_ref: str | None = col(Text(), null=True)


class Checkpoint(Base, table=True):
    """The last checkpoint of a task, kept across its attempts."""

    __tablename__: Any = "checkpoints"
    instance_id: str = key_col(ID)
    path: str = key_col(PATH)
    attempt: int = col(Integer())
    at: int = big()
    value: str = col(Text())


class Progress(Base, table=True):
    """The last progress an executor reported."""

    __tablename__: Any = "progress"
    instance_id: str = key_col(ID)
    path: str = key_col(PATH)
    attempt: int = col(Integer())
    at: int = big()
    fraction: float = col(Float())
    message: str | None = col(Text(), null=True)


class LogLine(Base, table=True):
    """Log lines of attempts, readable while they run."""

    __tablename__: Any = "logs"
    instance_id: str = key_col(ID)
    seq: int = key_col(BigInteger())
    path: str = col(PATH)
    attempt: int = col(Integer())
    at: int = big()
    level: str = col(String(8))
    message: str = col(Text())

    __table_args__: Any = (partial("logs_progress", "seq", where="level = 'progress'"),)


BLOBS: Final = cast("Table", vars(Blob)["__table__"])
VARS: Final = cast("Table", vars(Var)["__table__"])
CHECKPOINTS: Final = cast("Table", vars(Checkpoint)["__table__"])
PROGRESS: Final = cast("Table", vars(Progress)["__table__"])
LOGS: Final = cast("Table", vars(LogLine)["__table__"])
