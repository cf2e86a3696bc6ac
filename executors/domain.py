"""What a package publishes: a domain, its executors under short names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .entry import ExecutorEntry, check_domain_name, check_executor, make_entry, split_name
from .errors import DuplicateExecutor

__all__ = ["ExecutorDomain", "NodeType", "RegistryProblem"]

E = TypeVar("E")
#: Makes a node of the language of what stands under the type's name.
NodeType = Callable[[Any], Mapping[str, Any]]
N = TypeVar("N", bound=NodeType)


class ExecutorDomain:
    """A namespace of executors, owned by one package.

    Nothing is instantiated before a registry takes the domain; every registry then shares the same entries.
    """

    def __init__(self, name: str) -> None:
        self.name = check_domain_name(name)
        self._builders: dict[str, Callable[[], ExecutorEntry]] = {}
        self._entries: dict[str, ExecutorEntry] = {}
        #: Verbs that this domain brings: full name → what writes a node of the language in its place.
        self.node_types: dict[str, NodeType] = {}

    def executor(
        self, name: str, *, config: object = None, description: str | None = None, inline: bool = False
    ) -> Callable[[E], E]:
        """Decorate a function (sync or async) or a class with `execute` as `<domain>.<name>`.

        `config` is a pydantic model, a JSON Schema or None. `inline` is for synchronous functions that never
        block: they are called on the engine's event loop, without a thread.
        """

        def declare(executor: E) -> E:
            self.add(name, executor, config=config, description=description, inline=inline)
            return executor

        return declare

    def node_type(self, name: str) -> Callable[[N], N]:
        """Decorate a function as the node type `<domain>.<name>`: it makes a node of what stands under that name."""

        def declare(expand: N) -> N:
            full = f"{self.name}.{name}"
            split_name(full)
            self.node_types[full] = expand
            return expand

        return declare

    def add(
        self,
        name: str,
        executor: object,
        *,
        config: object = None,
        description: str | None = None,
        inline: bool = False,
    ) -> None:
        """The decorator as a call. Raises DuplicateExecutor, InvalidExecutor."""
        full = f"{self.name}.{name}"
        split_name(full)
        check_executor(full, executor)
        if full in self._builders:
            raise DuplicateExecutor(f"{full} is declared twice in the domain {self.name}")
        self._builders[full] = lambda: make_entry(
            full, executor, config=config, description=description, inline=inline
        )

    def names(self) -> list[str]:
        """The full names declared, in order of declaration."""
        return list(self._builders)

    def entry(self, name: str) -> ExecutorEntry:
        """The entry of a full name; the first call builds it, and its instance. Raises InvalidExecutor."""
        if name not in self._entries:
            self._entries[name] = self._builders[name]()
        return self._entries[name]


@dataclass(slots=True, frozen=True)
class RegistryProblem:
    """One plugin or executor that could not be loaded."""

    #: The domain or executor concerned.
    name: str
    #: Where it came from, e.g. `entry point bank = acme.bank:domain (acme-bank 1.2)`.
    source: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message} [{self.source}]"
