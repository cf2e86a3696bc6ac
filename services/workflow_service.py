"""Use cases around definitions: check, store, list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..engine.catalog import Catalog, DefinitionSource, Registered
from ..engine.translate import engine_errors
from ..repositories import definitions
from ..repositories.database import Database
from ..repositories.definitions import StoredDefinition

__all__ = ["WorkflowService"]

_PAGE: Final = 500


class WorkflowService:
    """Definitions of one database."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._catalog = catalog

    def register(self, source: DefinitionSource, *, activate: bool = False) -> Registered:
        """Check and store a definition; the same content is stored once. Raises DefinitionError."""
        with engine_errors():
            return self._catalog.register(source, activate=activate)

    def find(self, reference: str) -> Registered:
        """A stored definition by `name` or `name@version`. Raises NotFound."""
        with engine_errors():
            return self._catalog.find(reference)

    def definitions(self, name: str | None = None) -> Iterator[StoredDefinition]:
        """Every stored version by name, the newest of each first."""
        after: tuple[str, int] | None = None
        while True:
            with engine_errors(), self._database.read() as connection:
                page = definitions.listing(connection, name=name, limit=_PAGE, after=after)
            yield from page
            if len(page) < _PAGE:
                return
            after = (page[-1].name, page[-1].version)
