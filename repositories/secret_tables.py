"""Table of the secrets store: what stands in it opens only with a master key, which is never here. Part of `tables`."""

from __future__ import annotations

from typing import Any, Final, cast

from sqlalchemy import Integer, Table, Text

from .columns import PATH, Base, big, col, key_col

__all__ = ["SECRETS"]


class Secret(Base, table=True):
    """A named value, sealed."""

    __tablename__: Any = "secrets"
    #: In byte order on both databases.
    name: str = key_col(PATH)
    sealed: str = col(Text())
    #: Id of the master key under which it is sealed.
    key_id: str = col(Text())
    #: Grows with every value; the sealed text is bound to it.
    version: int = col(Integer())
    created_at: int = big()
    updated_at: int = big()
    created_by: str = col(Text())
    updated_by: str = col(Text())


SECRETS: Final = cast("Table", vars(Secret)["__table__"])
