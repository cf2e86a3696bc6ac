"""Use cases around definitions: check, draw, store, list, choose the active version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ..engine.errors import DefinitionError, EngineError, NotFound
from ..executors.registry import ExecutorRegistry
from .documents import Checked, check_document, definitions_in, read_document
from .references import checked_reference

if TYPE_CHECKING:
    from ..engine.catalog import Catalog, Registered
    from ..engine.definition import Definition
    from ..engine.plan import Plan
    from ..repositories.database import Database
    from ..repositories.definitions import StoredDefinition
    from .diffing import Change

__all__ = ["GraphFormat", "WorkflowService"]

GraphFormat = Literal["mermaid", "dot", "svg"]
_PAGE: Final = 500
_SUFFIXES: Final = (".json", ".yaml", ".yml")


class WorkflowService:
    """Definitions: of files, and of one database where there is one."""

    def __init__(
        self,
        registry: ExecutorRegistry,
        *,
        database: Database | None = None,
        catalog: Catalog | None = None,
    ) -> None:
        self._registry = registry
        self._database = database
        self._catalog = catalog

    # --- without a database

    def validate(self, path: Path) -> Checked:
        """Every problem of a file's definition. Raises NotFound when there is no such file."""
        try:
            document = read_document(path)
        except DefinitionError as exc:
            return Checked(exc.problems)
        return check_document(document, self._registry)

    def require_valid(self, path: Path) -> tuple[Definition, Plan]:
        """A file's definition and its plan. Raises NotFound, DefinitionError."""
        checked = self.validate(path)
        if checked.definition is None or checked.plan is None:
            raise DefinitionError(checked.problems, name=checked.name)
        return checked.definition, checked.plan

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the definition language, for editors."""
        from ..engine.schema import definition_schema

        return definition_schema()

    def graph(self, path: Path, form: GraphFormat = "mermaid") -> str:
        """A file's definition as a drawing. Raises NotFound, DefinitionError."""
        from .graphs import draw

        return draw(self.require_valid(path)[1], form)

    # --- with one

    def check(self, document: Mapping[str, Any]) -> Checked:
        """Every problem of a document where this process stands: warnings for executors that only others may have."""
        from ..engine.translate import engine_errors

        try:
            with engine_errors():
                definition, plan, warnings = self._stored.check(document)
        except DefinitionError as exc:
            return Checked(exc.problems, exc.name)
        return Checked(tuple(warnings), definition.name, definition, plan)

    def register(self, path: Path, *, activate: bool = False) -> Registered:
        """Check and store a file's definition; the same content is stored once. Raises DefinitionError."""
        from ..engine.translate import engine_errors

        with engine_errors():
            return self._stored.register(path, activate=activate)

    def find(self, reference: str) -> Registered:
        """A stored definition by `name` (the active version, else the newest draft) or `name@3`. Raises NotFound."""
        from ..engine.translate import engine_errors

        with engine_errors():
            return self._stored.find(checked_reference(reference))

    def register_folder(self, folder: Path) -> list[Registered]:
        """Store every definition of a folder, so that others find it by name; what is active stays so."""
        return [self.register(path) for path in definitions_in(folder)]

    def activate(self, reference: str) -> StoredDefinition:
        """Make `name@version` the version that a start by name takes. Raises NotFound."""
        from ..engine.translate import engine_errors
        from ..repositories.definitions import UnknownDefinition, activate

        name, version = _parts(reference)
        with engine_errors():
            try:
                done = activate(self._opened, name, version)
            except UnknownDefinition as exc:
                raise NotFound(f"{exc}.", hint="`strataflow definitions` shows what there is.") from exc
            self._stored.activated(name)
        return done

    def retire(self, reference: str, state: str) -> StoredDefinition:
        """Make `name@version` deprecated (starts only by number) or archived (starts no more). Raises NotFound."""
        from ..engine.translate import engine_errors
        from ..repositories.definitions import UnknownDefinition, set_state
        from ..repositories.records import DefinitionState

        name, version = _parts(reference)
        with engine_errors():
            try:
                done = set_state(self._opened, name, version, DefinitionState(state))
            except UnknownDefinition as exc:
                raise NotFound(f"{exc}.", hint="`strataflow definitions` shows what there is.") from exc
            self._stored.activated(name)
        return done

    def stored_diff(self, name: str, first: int, second: int) -> list[Change]:
        """What differs between two stored versions of a name. Raises NotFound."""
        from .diffing import changes

        return changes(self.stored_document(f"{name}@{first}"), self.stored_document(f"{name}@{second}"))

    def diff(self, first: str, second: str) -> list[Change]:
        """What differs between two definitions, each a file or `name@version`. Raises NotFound, DefinitionError."""
        from .diffing import changes

        return changes(self._document(first), self._document(second))

    def _document(self, reference: str) -> Any:
        path = Path(reference)
        if path.suffix in _SUFFIXES or path.is_file():
            return _canonical(self.require_valid(path)[0])
        return self.stored_document(reference)

    def canonical(self, document: Mapping[str, Any]) -> Any:
        """A document as it would be stored. Raises DefinitionError."""
        checked = check_document(document, self._registry)
        if checked.definition is None or checked.plan is None:
            raise DefinitionError(checked.problems, name=checked.name)
        return _canonical(checked.definition)

    def stored_document(self, reference: str) -> Any:
        """The document of `name@version`. Raises NotFound."""
        import json

        from ..engine.translate import engine_errors
        from ..repositories import definitions

        name, version = _parts(reference)
        with engine_errors(), self._opened.read() as connection:
            found = definitions.by_name(connection, name, version)
        if found is None:
            raise NotFound(
                f"there is no definition {reference!r}.", hint="`strataflow definitions` shows what there is."
            )
        return json.loads(found.body)

    def version(self, name: str, version: int) -> StoredDefinition | None:
        """One stored version, without its text."""
        found = next(self.definitions(name, after=(name, version + 1), page_size=1), None)
        return found if found is not None and found.version == version else None

    def definitions(
        self, name: str | None = None, after: tuple[str, int] | None = None, *, page_size: int = _PAGE
    ) -> Iterator[StoredDefinition]:
        """Every stored version by name, the newest of each first; `after` is the last one seen.

        `page_size` is how many are read at a time.
        """
        from ..engine.translate import engine_errors
        from ..repositories import definitions

        while True:
            with engine_errors(), self._opened.read() as connection:
                page = definitions.listing(connection, name=name, limit=page_size, after=after)
            yield from page
            if len(page) < page_size:
                return
            after = (page[-1].name, page[-1].version)

    @property
    def _stored(self) -> Catalog:
        if self._catalog is None:
            raise EngineError("this service was made without a database.")
        return self._catalog

    @property
    def _opened(self) -> Database:
        if self._database is None:
            raise EngineError("this service was made without a database.")
        return self._database


def _canonical(definition: Definition) -> Any:
    import json

    from ..engine.parser import canonical_text

    return json.loads(canonical_text(definition))


def _parts(reference: str) -> tuple[str, int]:
    name, at, version = reference.partition("@")
    if not at or not version.isdecimal() or len(version) > 9:
        raise NotFound(f"{reference!r} names no version.", hint="Write name@3.")
    return name, int(version)
