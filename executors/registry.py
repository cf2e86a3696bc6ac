"""Names → executors: what this process can run.

Packages publish an `ExecutorDomain`; the registry takes it from code, from `--import MODULE` or from the
entry point group `strataflow.executors`. A broken plugin never takes the process down: it is listed in
`problems`, by name. A registry is safe to read from any thread while another registers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from .base import Json
from .config import Problems
from .domain import ExecutorDomain, NodeType, RegistryProblem
from .entry import ExecutorEntry, make_entry, split_name
from .errors import DuplicateExecutor, ExecutorDisabled, InvalidExecutor, RegistryError, UnknownExecutor
from .health import check_health
from .plugins import import_domains, installed_domains

__all__ = ["ExecutorDomain", "ExecutorEntry", "ExecutorRegistry", "RegistryProblem"]


class ExecutorRegistry:
    """The executors of one process. `allow` switches domains or single executors off: `{"shell": False}`."""

    def __init__(self, *, allow: Mapping[str, bool] | None = None) -> None:
        self._entries: dict[str, ExecutorEntry] = {}
        self._allow = dict(allow or {})
        #: Verbs from outside: name → what writes a node of the language in its place.
        self.node_types: dict[str, NodeType] = {}
        #: What `load_entry_points` could not load.
        self.problems: list[RegistryProblem] = []

    def register_executor(
        self,
        name: str,
        executor: object,
        *,
        config: object = None,
        description: str | None = None,
        replace: bool = False,
    ) -> ExecutorEntry:
        """Register a function, a class or an object. Raises DuplicateExecutor, InvalidExecutor."""
        entry = make_entry(name, executor, config=config, description=description)
        if not replace:
            self._refuse_duplicates([entry])
        self._entries[name] = entry
        return entry

    def register_executor_domain(
        self, domain_or_name: ExecutorDomain | str, mapping: Mapping[str, object] | None = None
    ) -> list[ExecutorEntry]:
        """Register a whole domain, or nothing: an `ExecutorDomain`, or a name and `{name: executor}`.

        Registering the same domain object again changes nothing.
        """
        domain = domain_or_name
        if not isinstance(domain, ExecutorDomain):
            domain = ExecutorDomain(domain)
            for name, executor in (mapping or {}).items():
                domain.add(name, executor)
        elif mapping is not None:
            raise InvalidExecutor(
                "an ExecutorDomain brings its own executors; give a mapping with a domain's name"
            )
        entries = [domain.entry(name) for name in domain.names()]
        self._refuse_duplicates(entries)
        self._entries.update((entry.name, entry) for entry in entries)
        self.node_types |= domain.node_types
        return entries

    def register_node_type(self, name: str, expand: NodeType) -> None:
        """Let definitions say `{"domain.name": …}`: `expand` writes a node of the language in its place.

        It gets what stands under the name, and is called before the definition is checked. Raises InvalidExecutor.
        """
        split_name(name)
        self.node_types[name] = expand

    def get_executor(self, name: str) -> ExecutorEntry:
        """The entry of a name. Raises UnknownExecutor, or ExecutorDisabled with how to switch it on."""
        entry = self._entries.get(name)
        if entry is None:
            raise UnknownExecutor(f"no executor is named {name!r}; {self._near(name)}")
        if self._allow and not self.is_enabled(name):
            key = name if name in self._allow else entry.domain
            raise ExecutorDisabled(
                f"{name} is switched off in this process; switch it on with allow={{{key!r}: True}} where "
                "the ExecutorRegistry is made (default_registry: allow_local_code=True)"
            )
        return entry

    def is_enabled(self, name: str) -> bool:
        """False if `allow` switches the name, or its domain and not the name, off."""
        return self._allow.get(name, self._allow.get(name.partition(".")[0], True))

    def list_executors(
        self, domain: str | None = None, *, include_disabled: bool = False
    ) -> list[ExecutorEntry]:
        """The entries this process may run, of one domain or all, by name."""
        return [
            entry
            for _, entry in sorted(self._entries.items())
            if domain in (None, entry.domain) and (include_disabled or self.is_enabled(entry.name))
        ]

    def unregister_executor(self, name: str) -> ExecutorEntry:
        """Forget a name; attempts that run go on. Raises UnknownExecutor."""
        try:
            return self._entries.pop(name)
        except KeyError:
            raise UnknownExecutor(f"no executor is named {name!r}; {self._near(name)}") from None

    def config_problems(self, name: str, config: Json) -> Problems:
        """What is certainly wrong with a node's `with`, expressions and all: (JSON pointer, message) pairs."""
        return self.get_executor(name).config_problems(config)

    def config_schema(self, name: str) -> Mapping[str, Any]:
        """The JSON Schema of an executor's config."""
        return self.get_executor(name).config_schema

    def load_entry_points(self) -> list[RegistryProblem]:
        """Register every installed plugin; what fails is added to `problems` and returned. Never raises."""
        found: list[RegistryProblem] = []
        for domain, source in installed_domains(found):
            self.node_types |= domain.node_types
            for name in domain.names():
                try:
                    entry = domain.entry(name)
                    self._refuse_duplicates([entry])
                except RegistryError as exc:
                    found.append(RegistryProblem(name, source, exc.message))
                else:
                    self._entries[name] = entry
        self.problems.extend(found)
        return found

    def import_module(self, text: str) -> list[ExecutorEntry]:
        """Import a dotted module or a `.py` file and register the domains it holds. Raises RegistryError."""
        return [entry for domain in import_domains(text) for entry in self.register_executor_domain(domain)]

    async def health(self, timeout_s: float = 5.0) -> dict[str, str]:
        """Call every `health_check`: name → "ok" or what is wrong. Executors without one are not listed."""
        return await check_health(self.list_executors(), timeout_s)

    def _refuse_duplicates(self, entries: Iterable[ExecutorEntry]) -> None:
        taken = [entry.name for entry in entries if self._entries.get(entry.name, entry) is not entry]
        if taken:
            verb = "are" if len(taken) > 1 else "is"
            raise DuplicateExecutor(
                f"{', '.join(taken)} {verb} registered already; unregister first, or use replace=True"
            )

    def _near(self, name: str) -> str:
        if near := get_close_matches(name, list(self._entries), n=1):
            return f"did you mean {near[0]!r}?"
        domains = sorted({entry.domain for entry in list(self._entries.values())})
        return f"known domains: {', '.join(domains) or 'none'}"
