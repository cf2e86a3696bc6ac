"""Definitions of this process: checked, compiled, stored by content, found again by name; plans for the writer.

A definition is stored before its first instance starts and never changes. `run FILE` stores by hash and never moves
the active version; only `register(activate=True)` does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

from ..executors.registry import ExecutorRegistry
from ..repositories import views
from ..repositories.database import Database
from ..repositories.errors import Retryable
from ..repositories.gateways import WorkflowRepository
from .adopting import adopt
from .compiler import compile_definition
from .definition import Definition
from .errors import DefinitionError, EngineError, EngineStopped, NotFound, Problem
from .membership import new_id
from .parser import canonical_text, content_hash
from .plan import Plan, given
from .plans import PlanCache
from .transaction import Pending
from .validator import Severity

__all__ = ["Catalog", "DefinitionSource", "Registered", "read_source"]

DefinitionSource = Mapping[str, Any] | str | bytes | Path
_KEPT: Final = 512
_UNKNOWN: Final = object()
#: Whoever starts often by document or `Registered` asks for its state so often.
_STATE_S: Final = 1.0


@dataclass(slots=True, frozen=True)
class Registered:
    """A stored definition version, ready to be started."""

    id: str
    name: str
    version: int
    hash: str
    #: draft, active, deprecated or archived.
    state: str
    #: Input schema of the definition.
    inputs: Any
    warnings: tuple[Problem, ...] = ()

    @property
    def active(self) -> bool:
        """Is this what the name alone means?"""
        return self.state == "active"


class _Executors:
    """What validation may know of executors: this process's and, for a client, those that live engines advertise.

    What is switched off here is refused here, though another engine would run it: who may not call it through this
    process may not call it there.
    """

    def __init__(self, registry: ExecutorRegistry, advertised: Iterable[str], *, executes: bool) -> None:
        self._registry = registry
        self._executes = executes
        self._mine = {entry.name for entry in registry.list_executors()}
        self._others = {name for name in advertised if registry.is_enabled(name)}

    def has(self, name: str) -> bool:
        return name in self._mine or name in self._others

    def names(self) -> Iterable[str]:
        return sorted(self._mine | self._others)

    def config_problems(self, name: str, config: Any) -> Iterable[tuple[str, str]]:
        return self._registry.config_problems(name, config) if name in self._mine else ()

    def severity(self, name: str) -> Severity:
        """What it is that nobody knows an executor: work may come to an engine that does, unless it would run here."""
        return "error" if self._executes or not self._registry.is_enabled(name) else "warning"


class Catalog:
    """Registers and finds definitions, and builds their plans outside any transaction."""

    def __init__(
        self, database: Database, registry: ExecutorRegistry, plans: PlanCache, *, executes: bool
    ) -> None:
        self._database = database
        self._stored = WorkflowRepository(database)
        self._registry = registry
        self._plans = plans
        self._executes = executes
        self._lock = threading.Lock()
        self._by_hash: dict[tuple[str, str], Registered] = {}
        #: What the inputs of a version look like, by its id.
        self._inputs: dict[str, Any] = {}
        #: What a version was when it was last looked at, and when that was.
        self._states: dict[str, tuple[float, str]] = {}

    def check(self, source: DefinitionSource) -> tuple[Definition, Plan, list[Problem]]:
        """Parse and validate. Raises DefinitionError with every problem; the problems returned are warnings."""
        return self._compile(read_source(source), "", 0)

    def register(self, source: DefinitionSource, *, activate: bool = False) -> Registered:
        """Store a definition by its content, once; the same content gives the same version again."""
        definition, plan, problems = self._compile(read_source(source), "", 0)
        text = canonical_text(definition)
        digest = content_hash(text)
        known = self._by_hash.get((definition.name, digest))
        if known is not None and not activate:
            return self.current(known)
        stored = self._stored.store(
            definition_id=new_id(),
            name=definition.name,
            digest=digest,
            body=text,
            now=time.time_ns() // 1000,
            activate=activate,
        )
        if activate:
            adopt(self._database, stored.name, plan)
        plan.definition_id, plan.version = stored.id, stored.version
        self._plans.put(plan)
        registered = Registered(
            stored.id, stored.name, stored.version, digest, stored.state, definition.inputs, tuple(problems)
        )
        self._seen(registered.id, registered.state)
        with self._lock:
            if len(self._by_hash) >= _KEPT:
                self._by_hash.clear()
            self._by_hash[definition.name, digest] = registered
        return registered

    def current(self, registered: Registered) -> Registered:
        """What was registered before, in the state that it has now, or had less than a second ago. Raises NotFound."""
        at, state = self._states.get(registered.id, (0.0, registered.state))
        if time.monotonic() - at >= _STATE_S:
            try:
                found = self._stored.state_of(registered.id)
            except Retryable:  # the database is away: the start waits for it, and must not be refused here
                found = state
            if found is None:
                raise NotFound(f"{registered.name}@{registered.version} is not stored in this database.")
            state = str(found)
            self._seen(registered.id, state)
        return registered if state == registered.state else replace(registered, state=state)

    def _seen(self, definition_id: str, state: str) -> None:
        with self._lock:
            if len(self._states) >= _KEPT:
                self._states.clear()
            self._states[definition_id] = time.monotonic(), state

    def find(self, reference: str) -> Registered:
        """A stored definition by `name` (the active version, else the newest draft) or `name@3`. Raises NotFound."""
        name, _, version = reference.partition("@")
        if version and not version.isdigit():
            raise NotFound(f"{reference!r} is no definition reference.", hint="Write name or name@3.")
        found = self._stored.by_name(name, int(version) if version else None)
        if found is None:
            raise self._unknown(reference)
        inputs = self._inputs.get(found.id, _UNKNOWN)
        if inputs is _UNKNOWN:
            inputs = self._load(found.id)
        return Registered(found.id, found.name, found.version, found.hash, found.state, inputs)

    def _unknown(self, reference: str) -> NotFound:
        newest = None if "@" in reference else self._stored.newest(reference)
        if newest is None:
            return NotFound(
                f"there is no definition {reference!r}.", hint="Register it first: strataflow register FILE."
            )
        one = f"{reference}@{newest.version}"
        return NotFound(
            f"no version of {reference!r} starts by its name alone: all are deprecated or archived.",
            hint=f"Name a version that is deprecated, or bring one back: strataflow definitions --activate {one}.",
        )

    def find_flow(self, name: str, version: int | None) -> Registered:
        """The definition that a flow starts. Raises NotFound; an archived version is not started any more."""
        found = self.find(name if version is None else f"{name}@{version}")
        if found.state == "archived":
            raise NotFound(f"{found.name}@{found.version} is archived: it starts no more.")
        return found

    def activated(self, name: str) -> None:
        """The active version of a name has changed, or there is none any more: its schedule follows."""
        with self._lock:
            self._states.clear()
        found = self._stored.by_name(name)
        active = found is not None and found.active
        adopt(self._database, name, self.plan(found.id) if found is not None and active else None)

    def plan(self, definition_id: str) -> Plan:
        """The plan of a stored definition; built when it is not in memory. Blocks. Raises NotFound."""
        plan = self._plans.get(definition_id)
        if plan is not None:
            return plan
        self._load(definition_id)
        return given(self._plans.get(definition_id), "definition")

    def load_later(
        self,
        definition_id: str,
        pendings: list[Pending],
        submit: Callable[[Pending], None],
        wake: Callable[[], None],
    ) -> None:
        """Build a plan on a thread of its own, then submit what waited for it: a large definition takes seconds."""

        def load() -> None:
            try:
                self.plan(definition_id)
            except Exception as exc:  # noqa: BLE001 - told to whoever waits
                error = (
                    exc
                    if isinstance(exc, EngineError)
                    else EngineError(f"the definition cannot be built: {exc}")
                )
                _tell(pendings, error)
                return
            for at, pending in enumerate(pendings):
                try:
                    submit(pending)
                except EngineStopped as stopped:  # meanwhile: what is stored, other engines find
                    _tell(pendings[at:], stopped)
                    return
            wake()

        threading.Thread(target=load, name="strataflow-loader", daemon=True).start()

    def _load(self, definition_id: str) -> Any:
        """Compile a stored text and give its inputs; executors are not asked for, since it was accepted once."""
        found = self._stored.get(definition_id)
        if found is None:
            raise NotFound(f"there is no definition with id {definition_id}.")
        definition, plan, _ = compile_definition(
            found.body, registry=None, definition_id=found.id, version=found.version
        )
        self._plans.put(plan)
        with self._lock:
            if len(self._inputs) >= _KEPT:
                self._inputs.clear()
            self._inputs[found.id] = definition.inputs
        return definition.inputs

    def _compile(
        self, source: Mapping[str, Any] | str | bytes, definition_id: str, version: int
    ) -> tuple[Definition, Plan, list[Problem]]:
        advertised = set[str]() if self._executes else self._advertised()
        executors = _Executors(self._registry, advertised, executes=self._executes)
        return compile_definition(
            source,
            registry=executors,
            definition_id=definition_id,
            version=version,
            executor_severity=executors.severity,
            node_types=self._registry.node_types,
        )

    def _advertised(self) -> set[str]:
        with self._database.read() as connection:
            return {
                name for engine in views.engines(connection, alive_only=True) for name in engine.executors
            }


def _tell(pendings: Iterable[Pending], error: EngineError) -> None:
    for pending in pendings:
        if pending.done is not None:
            pending.done(error)


def read_source(source: DefinitionSource) -> Mapping[str, Any] | str | bytes:
    """A definition's document; a path is read (`.yaml` and `.yml` hold the same shape in YAML)."""
    if not isinstance(source, Path):
        return source
    try:
        data = source.read_bytes()
    except OSError as exc:
        raise NotFound(f"{source} cannot be read: {exc.strerror or exc}.") from exc
    if source.suffix in {".yaml", ".yml"}:
        return read_yaml(data, str(source))
    return data


def read_yaml(data: bytes, label: str) -> Mapping[str, Any]:
    """A YAML document of the same shape. Raises DefinitionError naming the line."""
    import yaml

    from .yaml_loader import load_yaml

    try:
        found = load_yaml(data)
    except (yaml.YAMLError, ValueError, RecursionError) as exc:  # a date that does not exist is a ValueError
        mark = getattr(exc, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        reason = getattr(exc, "problem", None) or getattr(exc, "reason", None) or str(exc)
        problem = Problem("", "not_yaml", f"{label} is not YAML: {reason}{place}")
        raise DefinitionError([problem]) from exc
    if not isinstance(found, dict):
        hint = "A definition begins with `dsl`, `name` and `nodes`."
        raise DefinitionError([Problem("", "wrong_type", f"{label} holds no mapping.", hint)])
    return cast("Mapping[str, Any]", found)
