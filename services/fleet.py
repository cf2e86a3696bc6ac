"""Engines of a namespace, and what they and this process can run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..engine.translate import engine_errors
from ..repositories import views

if TYPE_CHECKING:
    from ..executors.registry import ExecutorRegistry
    from ..repositories.database import Database
    from ..repositories.readmodels import EngineView

__all__ = ["ExecutorView", "engines", "executors"]


@dataclass(slots=True, frozen=True)
class ExecutorView:
    """One executor, as far as this process knows it, and how many live engines have it."""

    name: str
    description: str | None
    #: JSON Schema of its configuration; None for one that only other processes have.
    config_schema: Any
    engines: int


def engines(database: Database, *, alive_only: bool = False) -> list[EngineView]:
    """Processes that write to a namespace, those that started last first."""
    with engine_errors(), database.read() as connection:
        return views.engines(connection, alive_only=alive_only)


def executors(database: Database, registry: ExecutorRegistry) -> list[ExecutorView]:
    """What this process and live engines can run, by name."""
    alive = engines(database, alive_only=True)
    known = {each.name: each for each in registry.list_executors()}
    names = sorted(known.keys() | {name for engine in alive for name in engine.executors})
    return [
        ExecutorView(
            name=name,
            description=known[name].description if name in known else None,
            config_schema=registry.config_schema(name) if name in known else None,
            engines=sum(1 for engine in alive if name in engine.executors),
        )
        for name in names
    ]
