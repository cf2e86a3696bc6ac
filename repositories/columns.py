"""What the tables are made of: column types, constraints and partial indexes for both dialects. For `tables`."""

from __future__ import annotations

from typing import Any, Final, cast

from sqlalchemy import BigInteger, Column, Index, String, Text, text
from sqlalchemy.dialects.postgresql import TEXT as PG_TEXT
from sqlalchemy.dialects.postgresql import UUID as PG_UUID
from sqlalchemy.orm import registry
from sqlalchemy.types import TypeEngine
from sqlmodel import Field, SQLModel

__all__ = ["FILLFACTOR", "ID", "PATH", "Base", "big", "col", "key_col", "metadata", "one_of", "partial"]


class Base(SQLModel, registry=registry()):
    """Our own registry: an application's SQLModel tables may have the same names as ours."""


metadata: Final = Base.metadata

#: UUIDv7 text; native on Postgres (16 bytes).
ID: Final[TypeEngine[str]] = String(36).with_variant(PG_UUID(as_uuid=False), "postgresql")
#: Byte order on both dialects, so that ranges of paths mean the same everywhere.
PATH: Final[TypeEngine[str]] = Text().with_variant(PG_TEXT(collation="C"), "postgresql")
#: Row versions of a task fit on the page that holds them: updates stay HOT.
FILLFACTOR: Final[dict[str, Any]] = {"postgresql_with": {"fillfactor": 50}}


def one_of(column: str, values: object) -> str:
    """The rule that a column holds one of these values."""
    listed = ", ".join(f"'{value}'" for value in sorted(cast("set[str]", values)))
    return f"{column} IN ({listed})"


def partial(name: str, *columns: str, where: str) -> Index:
    """An index over the rows that meet a rule."""
    return Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where))


def key_col(kind: TypeEngine[Any]) -> Any:
    """A column of the primary key."""
    return Field(sa_column=Column(kind, primary_key=True, nullable=False))


def col(kind: TypeEngine[Any], *, null: bool = False, default: str | None = None) -> Any:
    """A column."""
    return Field(sa_column=Column(kind, nullable=null, server_default=default))


def big(*, null: bool = False) -> Any:
    """A column of microseconds or large numbers."""
    return col(BigInteger(), null=null)
