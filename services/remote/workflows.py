"""Definitions of a server: check, store, list, choose the active version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...engine.catalog import Registered
from ...engine.errors import DefinitionError, NotFound, Problem
from ...repositories.definitions import StoredDefinition
from ...repositories.records import DefinitionState
from ..diffing import Change, changes
from ..documents import SUFFIXES, definitions_in
from .client import Remote, at
from .documents import document_of
from .records import revive

__all__ = ["RemoteWorkflows"]

_HINT = "`strataflow definitions` shows what there is."


class _Told(Problem):
    """A warning in the words of the server."""

    def __str__(self) -> str:
        return self.message


class RemoteWorkflows:
    """As `WorkflowService`, through a server."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def register(self, path: Path, *, activate: bool = False) -> Registered:
        """Check and store a file's definition; the same content is stored once. Raises DefinitionError."""
        body = {"definition": document_of(path), "activate": activate}
        return _registered(self._remote.send("POST", "/definitions", body))

    def register_folder(self, folder: Path) -> list[Registered]:
        """Store every definition of a folder, so that others find it by name."""
        return [self.register(path) for path in definitions_in(folder)]

    def require_valid(self, path: Path) -> str | None:
        """The name of a file's definition, which the server would take. Raises NotFound, DefinitionError."""
        found = self._remote.send("POST", "/definitions/validate", {"definition": document_of(path)})
        problems = [_problem(each) for each in found["problems"]]
        if not found["valid"]:
            raise DefinitionError(problems, name=found["name"])
        return found["name"]

    def find(self, reference: str) -> Registered:
        """A stored definition by `name` (the active version, else the newest draft) or `name@3`. Raises NotFound."""
        name, _, version = reference.partition("@")
        if version and not version.isdigit():
            raise NotFound(f"{reference!r} is no definition reference.", hint="Write name or name@3.")
        versions = list(self.definitions(name))
        found = _meant(versions, int(version) if version else None)
        if found is not None:
            return Registered(found.id, name, found.version, found.hash, found.state.value, None)
        if versions and not version:
            raise NotFound(
                f"no version of {name!r} starts by its name alone: all are deprecated or archived.",
                hint="Name a version that is deprecated, or bring one back: "
                f"strataflow definitions --activate {name}@{versions[0].version}.",
            )
        raise NotFound(
            f"there is no definition {reference!r}.", hint="Register it first: strataflow register FILE."
        )

    def activate(self, reference: str) -> StoredDefinition:
        """Make `name@version` the version that a start by name takes. Raises NotFound."""
        return self._turned(reference, "active")

    def retire(self, reference: str, state: str) -> StoredDefinition:
        """Make `name@version` deprecated (starts only by number) or archived (starts no more). Raises NotFound."""
        return self._turned(reference, state)

    def _turned(self, reference: str, state: str) -> StoredDefinition:
        name, version = _parts(reference)
        path = at("definitions", name, "versions", version, "state")
        try:
            return _stored(self._remote.send("PUT", path, {"state": state}))
        except NotFound as exc:
            raise NotFound(f"there is no definition {name!r} with version {version}.", hint=_HINT) from exc

    def definitions(self, name: str | None = None) -> Iterator[StoredDefinition]:
        """Every stored version by name, the newest of each first."""
        return map(_stored, self._remote.pages("/definitions", {"name": name}))

    def diff(self, first: str, second: str) -> list[Change]:
        """What differs between two definitions, each a file or `name@version`. Raises NotFound, DefinitionError."""
        return changes(self._document(first), self._document(second))

    def _document(self, reference: str) -> Any:
        path = Path(reference)
        if path.suffix in SUFFIXES or path.is_file():
            self.require_valid(path)
            return document_of(path)
        name, version = _parts(reference)
        try:
            return self._remote.get(at("definitions", name, "versions", version))["definition"]
        except NotFound as exc:
            raise NotFound(f"there is no definition {reference!r}.", hint=_HINT) from exc


def _meant(versions: list[StoredDefinition], version: int | None) -> StoredDefinition | None:
    """This version; without a number the active one, else the newest draft."""
    if version is not None:
        return next((each for each in versions if each.version == version), None)
    drafts = (each for each in versions if each.state is DefinitionState.DRAFT)
    return next((each for each in versions if each.active), next(drafts, None))


def _parts(reference: str) -> tuple[str, str]:
    name, marked, version = reference.partition("@")
    if not marked or not version.isdecimal() or len(version) > 9:
        raise NotFound(f"{reference!r} names no version.", hint="Write name@3.")
    return name, str(int(version))


def _stored(found: dict[str, Any]) -> StoredDefinition:
    return revive(StoredDefinition, found)


def _registered(found: dict[str, Any]) -> Registered:
    warnings = tuple(_Told("", "warning", each, severity="warning") for each in found["warnings"])
    return revive(Registered, found, inputs=None, warnings=warnings)


def _problem(found: dict[str, Any]) -> Problem:
    return revive(Problem, found, message=found["detail"])
