"""The database's own schema: how it stands, and bringing it up to date."""

from __future__ import annotations

from typing import Any

from ..engine.translate import engine_errors
from ..repositories import migrate

__all__ = ["schema_state", "upgrade_schema"]


def schema_state(url: str) -> dict[str, Any]:
    """`{"current", "head", "state"}`; state is `current`, `missing`, `older` or `newer`. Changes nothing."""
    with engine_errors():
        status = migrate.check(url)
    return {"current": status.current, "head": status.head, "state": status.state}


def upgrade_schema(url: str) -> dict[str, Any]:
    """Bring the database to this release's schema, making it if it is absent. Raises SchemaError."""
    with engine_errors():
        migrate.upgrade(url)
    return schema_state(url)
