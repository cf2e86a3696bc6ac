"""Table of what happened to no instance: engines that came and went, queues that filled up. Part of `tables`."""

from __future__ import annotations

from typing import Any, Final, cast

from sqlalchemy import BigInteger, Column, Table, Text
from sqlmodel import Field

from .columns import Base, big, col

__all__ = ["NOTICES"]


class Notice(Base, table=True):
    """One event beside the journal, numbered by the same sequence, so that one cursor reads both."""

    __tablename__: Any = "notices"
    seq: int = Field(sa_column=Column(BigInteger(), primary_key=True, autoincrement=False))
    kind: str = col(Text())
    #: What it is about: an engine's id, a queue's name.
    subject: str = col(Text())
    #: More of it, as a JSON object.
    body: str = col(Text(), default="{}")
    at: int = big()


NOTICES: Final = cast("Table", vars(Notice)["__table__"])
