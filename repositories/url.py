"""Database URLs: `sqlite:///file.db`, `sqlite:////absolute/file.db`, `postgresql://user@host/db?schema=name`.

A namespace is one SQLite file or one Postgres schema; the schema travels in our own query parameter `schema`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

__all__ = ["DatabaseUrl"]

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A parsed URL. `text` is what the user wrote; never log it, it may hold a password: log `label`."""

    text: str
    dialect: str
    #: SQLite: absolute path of the file.
    path: Path | None = None
    #: Postgres: libpq URL without our own parameters.
    dsn: str = ""
    #: Postgres: schema that holds the tables; None = the role's search path.
    schema: str | None = None
    label: str = ""

    @classmethod
    def parse(cls, text: str) -> DatabaseUrl:
        """Raises ValueError with a sentence that says what is accepted."""
        scheme, sep, rest = text.partition("://")
        if not sep:
            raise ValueError(
                f"{text!r} is no database URL; write sqlite:///file.db or postgresql://user@host/database"
            )
        kind = scheme.split("+")[0]
        if kind == "sqlite":
            return cls._sqlite(text, rest)
        if kind in {"postgresql", "postgres"}:
            return cls._postgres(text)
        raise ValueError(f"{scheme!r} is no supported database; use sqlite:/// or postgresql://")

    @classmethod
    def _sqlite(cls, text: str, rest: str) -> DatabaseUrl:
        name = unquote(rest.partition("?")[0])
        if name in {"", "/", "/:memory:", ":memory:"}:
            raise ValueError(
                "an in-memory SQLite database is not durable; name a file: sqlite:///strataflow.db"
            )
        if not name.startswith("/"):
            raise ValueError(f"{text!r} needs three slashes for a relative and four for an absolute path")
        path = Path(name[1:]).expanduser().absolute()
        return cls(text=text, dialect="sqlite", path=path, label=f"sqlite:///{path}")

    @classmethod
    def _postgres(cls, text: str) -> DatabaseUrl:
        parts = urlsplit(text)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        schema = query.pop("schema", None)
        if schema is not None and not _SCHEMA.fullmatch(schema):
            raise ValueError(f"schema {schema!r} must match {_SCHEMA.pattern}")
        # Not urlunsplit: it drops the empty host of `postgresql:///db?host=/run`, and libpq wants %20, not +.
        asked = "?" + urlencode(query, quote_via=quote) if query else ""
        dsn = f"postgresql://{parts.netloc}{parts.path}{asked}"
        login, _, host = parts.netloc.rpartition("@")
        # With the user, since commands are pasted with it, and never with the password.
        user = login.partition(":")[0] or quote(query.get("user", ""), safe="")
        place = f"{user}@" if user else ""
        place += host or query.get("host", "local socket")
        label = f"postgresql://{place}{parts.path}" + (f"?schema={schema}" if schema else "")
        return cls(text=text, dialect="postgresql", dsn=dsn, schema=schema, label=label)

    @property
    def sqlalchemy(self) -> str:
        """The same database for SQLAlchemy."""
        if self.dialect == "sqlite":
            return f"sqlite:///{quote(str(self.path))}" if self.path else ""
        return "postgresql+psycopg" + self.dsn.removeprefix("postgresql")
