"""Committed values in memory, for evaluating expressions: what this process wrote or read, bounded, never stale.

Only rows that have come to rest are kept, and those never change within a generation, so the cache needs no
invalidation. What is missing is read for a whole batch of claimed tasks at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..repositories.database import Database
from ..repositories.records import TERMINAL_TASK_STATES, InstanceRow, SignalRow, TaskRow
from ..repositories.values import read_blobs, read_signals, read_tasks, read_vars
from .errors import EngineError
from .lookups import (
    NEVER_REACHED,
    Missing,
    Wanted,
    drop_oldest,
    extra_paths,
    instance_root,
    number_of,
    path_in,
    record_of,
)
from .outputs import OutputReader
from .payload import decode
from .plan import Plan, given
from .rows import ITEMS_PER_PAGE, items_key
from .secrets import looked_up, secret_as_written
from .stored_secrets import StoredSecrets

__all__ = ["PAGES_PER_INSTANCE", "Missing", "Values", "Wanted"]

#: Finds a definition by name and version; None = the active one. Raises NotFound.
FindFlow = Callable[[str, int | None], Any]
#: Rows and pages kept over all instances; the oldest instances go first.
_MAX_ENTRIES: Final = 20_000
#: Rows, and values made of rows, kept of one instance; well above what one batch of tasks wants.
_PER_INSTANCE: Final = 4_096


@dataclass(slots=True)
class _InstanceValues:
    #: Generation of the instance; what was kept of an earlier one may have been taken back.
    gen: int = 0
    inputs: Any = None
    has_inputs: bool = False
    rows: dict[str, TaskRow] = field(default_factory=dict[str, TaskRow])
    records: dict[str, dict[str, Any]] = field(default_factory=dict[str, "dict[str, Any]"])
    vars: dict[tuple[str, str], Any] = field(default_factory=dict[tuple[str, str], Any])
    totals: dict[str, int] = field(default_factory=dict[str, int])
    pages: dict[tuple[str, int], list[Any]] = field(default_factory=dict[tuple[str, int], "list[Any]"])
    #: By path and generation: the error of a row never changes while its handler, or `finally`, runs.
    errors: dict[tuple[str, int, bool], Any] = field(default_factory=dict[tuple[str, int, bool], Any])
    #: Paths among `records` of rows that may still change: good for the evaluation that loaded them only.
    volatile: set[str] = field(default_factory=set[str])
    #: Generations of maps, of a run that was taken back.
    gens: dict[str, int] = field(default_factory=dict[str, int])
    signals: dict[str, list[SignalRow]] = field(default_factory=dict[str, "list[SignalRow]"])


class Values:
    """The cache of one engine process; `roots` never does I/O, `load` does."""

    def __init__(
        self,
        database: Database,
        *,
        find_flow: FindFlow | None = None,
        secret: Callable[[str], Any] | None = None,
    ) -> None:
        self._database = database
        self._find_flow = find_flow
        self._secret = secret or secret_as_written
        self._outputs = OutputReader(database)
        self._flows: dict[tuple[str, int | None], Any] = {}
        self._instances: OrderedDict[str, _InstanceValues] = OrderedDict()
        self._entries = 0
        self._lock = threading.Lock()

    # --- filling from what was written

    def keep(self, instance_id: str, gen: int, rows: Iterable[TaskRow]) -> None:
        """Remember rows that a batch of this process committed."""
        with self._lock:
            values = self._of(instance_id, gen)
            before = _size(values)
            for row in rows:
                if row.state in TERMINAL_TASK_STATES and not row.path.endswith("]"):
                    values.rows[row.path] = row
            drop_oldest(values.rows, _PER_INSTANCE)
            self._entries += _size(values) - before
            self._trim()

    def keep_inputs(self, instance_id: str, inputs: Any) -> None:
        """Remember an instance's inputs."""
        with self._lock:
            values = self._of(instance_id)
            self._entries += not values.has_inputs
            values.inputs, values.has_inputs = inputs, True
            self._trim()

    def forget(self, instance_id: str) -> None:
        """The instance ended: nothing of it will be evaluated any more."""
        with self._lock:
            gone = self._instances.pop(instance_id, None)
            if gone is not None:
                self._entries -= _size(gone)

    def _of(self, instance_id: str, gen: int | None = None) -> _InstanceValues:
        values = self._instances.get(instance_id)
        if values is None:
            values = self._instances.setdefault(instance_id, _InstanceValues(gen or 0))
        elif gen is not None and gen != values.gen:
            self._entries -= _size(values)
            values = self._instances[instance_id] = _InstanceValues(gen)
        return values

    def _trim(self) -> None:
        while self._entries > _MAX_ENTRIES and len(self._instances) > 1:
            _, gone = self._instances.popitem(last=False)
            self._entries -= _size(gone)

    # --- evaluating

    def roots(self, wanted: Wanted, *, loaded: bool = False) -> dict[str, Any]:  # noqa: C901, PLR0912 - one root each
        """The roots that the templates ask for. Raises Missing when something must be read first.

        `loaded` says that `load` ran for this task: variables, which may change, are then as committed.
        """
        bindings, instance = wanted.bindings, wanted.instance
        values = self._instances.get(instance.id)
        if values is not None and values.gen != instance.gen:
            values = None
        roots: dict[str, Any] = {}
        if bindings.instance:
            roots["instance"] = instance_root(instance)
        if bindings.inputs:
            roots["inputs"] = self._inputs(values, instance)
        if bindings.nothing:
            return roots
        if values is None:
            raise Missing(instance.id)
        if bindings.nodes:
            roots["nodes"] = {
                name: self._record(values, path_in(wanted.chain[at], name), whole=whole, loaded=loaded)
                for at, name, whole in bindings.nodes
            }
        if bindings.vars:
            if not loaded:
                raise Missing("vars")
            roots["vars"] = self._vars(values, wanted)
        if bindings.error:
            roots["error"] = self._error(values, wanted)
        if bindings.loop is not None:
            roots["loop"] = self._loop(values, wanted, *bindings.loop)
        if bindings.trigger:
            roots["trigger"] = self._trigger(values, wanted)
        if bindings.secrets:
            roots["secrets"] = {name: looked_up(self._secret, name) for name in bindings.secrets}
        for name, address in bindings.items:
            roots[name] = self._item(values, wanted, address)
        for name, address in bindings.indexes:
            roots[name] = number_of(wanted, address)
        for address in bindings.totals:
            if wanted.chain[address] not in values.totals:
                raise Missing(address)
            roots["total"] = values.totals[wanted.chain[address]]
        return roots

    def _inputs(self, values: _InstanceValues | None, instance: InstanceRow) -> Any:
        if values is not None and values.has_inputs:
            return values.inputs
        if instance.inputs_ref is not None:
            raise Missing("inputs")
        inputs: Any = decode(instance.inputs) if instance.inputs else {}
        self.keep_inputs(instance.id, inputs)
        return inputs

    def _record(
        self, values: _InstanceValues, path: str, *, whole: bool, loaded: bool = False
    ) -> dict[str, Any]:
        record = values.records.get(path)
        if record is not None and (loaded or path not in values.volatile):
            return record
        row = values.rows.get(path)
        if row is None:
            raise Missing(path)
        if not whole:
            return record_of(row, None)
        if row.output_ref is not None:
            raise Missing(path)
        record = values.records[path] = record_of(row, decode(row.output) if row.output else None)
        return record

    def _error(self, values: _InstanceValues, wanted: Wanted) -> Any:
        if wanted.error_of is None:
            return None
        try:
            return values.errors[wanted.error_key]
        except KeyError:
            raise Missing(wanted.error_of) from None

    def _loop(self, values: _InstanceValues, wanted: Wanted, address: str, whole: bool) -> dict[str, Any]:  # noqa: FBT001 - private
        loop, index = wanted.chain[address], number_of(wanted, address, "#")
        output = None
        if whole and index > 0:
            output = self._record(values, f"{loop}#{index - 1}", whole=True)["output"]
        return {"index": index, "output": output}

    def _trigger(self, values: _InstanceValues, wanted: Wanted) -> Any:
        if wanted.trigger is None:
            return None
        record = self._record(values, wanted.trigger, whole=True)
        return {"path": wanted.trigger, "output": record["output"]}

    def output_at(self, wanted: Wanted, path: str) -> Any:
        """The output of a row that `wanted.extra` names. Raises Missing."""
        values = self._instances.get(wanted.instance.id)
        if values is None:
            raise Missing(path)
        return self._record(values, path, whole=True)["output"]

    def parked(self, wanted: Wanted) -> list[SignalRow]:
        """Signals that a wait may take, as the last `load` found them."""
        return self._of(wanted.instance.id).signals.get(wanted.signal or "", [])

    def flow(self, wanted: Wanted) -> Any:
        """The definition that a flow starts, as the last `load` found it. Raises the EngineError that it met."""
        found = self._flows.get(wanted.flow or ("", None))
        if isinstance(found, EngineError):
            raise found
        return found

    def _vars(self, values: _InstanceValues, wanted: Wanted) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for owner, name in wanted.bindings.vars:
            key = (wanted.chain[owner], name)
            if key not in values.vars:
                raise Missing(name)
            if values.vars[key] is not _ABSENT:
                found[name] = values.vars[key]
        return found

    def _item(self, values: _InstanceValues, wanted: Wanted, address: str) -> Any:
        index = number_of(wanted, address)
        page = values.pages.get((wanted.chain[address], index // ITEMS_PER_PAGE))
        if page is None:
            raise Missing(address)
        return page[index % ITEMS_PER_PAGE]

    # --- reading

    def load(self, wanted: list[Wanted]) -> None:
        """Read everything that these tasks lack, in few bounded queries. Blocks; call it off the loop.

        Variables are always read anew: unlike rows they may be written again while the instance runs.
        """
        with self._lock:  # before reading: what this call reads must still be there when it is asked for
            for instance_id, gen in {(want.instance.id, want.instance.gen) for want in wanted}:
                values = self._of(instance_id, gen)
                for path in values.volatile:
                    values.records.pop(path, None)
                values.volatile.clear()
                for kept in (values.records, values.vars, values.totals):
                    drop_oldest(kept, _PER_INSTANCE)
        with self._database.read() as connection:
            self._load_inputs(connection, wanted)
            self._load_rows(connection, wanted)
            self._load_vars(connection, wanted)
            self._load_pages(connection, wanted)
            self._load_signals(connection, wanted)
            if isinstance(self._secret, StoredSecrets):
                self._secret.load(connection, {name for w in wanted for name in w.bindings.secrets})
        self._load_flows(wanted)

    def _load_signals(self, connection: Any, wanted: list[Wanted]) -> None:
        for key in {(want.instance.id, want.signal) for want in wanted if want.signal is not None}:
            signals = read_signals(connection, *key)
            blobs = read_blobs(
                connection, {(key[0], s.value_ref) for s in signals if s.value_ref is not None}
            )
            self._of(key[0]).signals[key[1]] = [
                replace(s, value=blobs[key[0], s.value_ref]) if s.value_ref is not None else s
                for s in signals
            ]

    def _load_flows(self, wanted: list[Wanted]) -> None:
        """Look definitions up anew: which version is active may change at any time."""
        for key in {want.flow for want in wanted if want.flow is not None}:
            name, version = key
            try:
                self._flows[key] = given(self._find_flow, "catalog")(name, version)
            except EngineError as exc:
                self._flows[key] = exc

    def _load_inputs(self, connection: Any, wanted: list[Wanted]) -> None:
        todo = {w.instance.id: w.instance for w in wanted if w.bindings.inputs}
        refs = {(i.id, i.inputs_ref) for i in todo.values() if i.inputs_ref is not None}
        blobs = read_blobs(connection, refs)
        for instance in todo.values():
            text = instance.inputs if instance.inputs_ref is None else blobs[instance.id, instance.inputs_ref]
            self.keep_inputs(instance.id, decode(text) if text else {})

    def _load_rows(self, connection: Any, wanted: list[Wanted]) -> None:
        keys: dict[tuple[str, str], tuple[Plan, bool]] = {}
        maps: dict[tuple[str, str], None] = {}
        for want in wanted:
            known = self._of(want.instance.id)
            needed = [(path_in(want.chain[at], name), whole) for at, name, whole in want.bindings.nodes]
            needed += [(path, True) for path in extra_paths(want)]
            for path, whole in needed:
                if path not in known.records:
                    key = (want.instance.id, path)
                    keys[key] = (want.plan, whole or (key in keys and keys[key][1]))
            self._load_error(connection, want, known)
            maps |= {(want.instance.id, want.chain[address]): None for address in want.bindings.totals}
        for key, row in read_tasks(connection, maps).items():
            self._of(key[0]).totals[key[1]] = row.total or 0
        found = read_tasks(connection, keys)
        for key, (plan, whole) in keys.items():
            values, row = self._of(key[0]), found.get(key)
            if row is None:
                values.records[key[1]] = dict(NEVER_REACHED)
                values.volatile.add(key[1])
            elif row.state not in TERMINAL_TASK_STATES:
                values.records[key[1]] = record_of(row, None)  # an output is one when its node has ended
                values.volatile.add(key[1])
            elif whole:
                values.records[key[1]] = record_of(row, self._outputs.read(connection, plan, row))
            else:
                self.keep(key[0], values.gen, (row,))

    def _load_error(self, connection: Any, want: Wanted, known: _InstanceValues) -> None:
        if not want.bindings.error or want.error_of is None:
            return
        key = (want.instance.id, want.error_of)
        if want.error_key not in known.errors:
            row = read_tasks(connection, [key]).get(key)
            error = decode(row.error) if row is not None and row.error else None
            known.errors[want.error_key] = error

    def _load_vars(self, connection: Any, wanted: list[Wanted]) -> None:
        keys = {(w.instance.id, w.chain[o], name) for w in wanted for o, name in w.bindings.vars}
        found = read_vars(connection, keys)
        blobs = read_blobs(connection, {(k[0], ref) for k, (_, ref) in found.items() if ref is not None})
        for key in keys:
            text, ref = found.get(key, (None, None))
            body = blobs[key[0], ref] if ref is not None else text
            value = decode(body) if body else None
            self._of(key[0]).vars[key[1], key[2]] = value if key in found else _ABSENT

    def _load_pages(self, connection: Any, wanted: list[Wanted]) -> None:
        keys: dict[tuple[str, str], tuple[str, int]] = {}
        for want in wanted:
            for _, address in want.bindings.items:
                path, page = want.chain[address], number_of(want, address) // ITEMS_PER_PAGE
                if (path, page) not in self._of(want.instance.id).pages:
                    gen = self._gen_of(connection, want, path)
                    keys[want.instance.id, items_key(path, gen, page)] = (path, page)
        for key, body in read_blobs(connection, keys).items():
            self.keep_page(key[0], *keys[key], decode(body))

    def _gen_of(self, connection: Any, want: Wanted, path: str) -> int:
        """Generation under which a map's list is kept: one that was opened again in place has an older one."""
        if not want.instance.gen:
            return 0
        gens = self._of(want.instance.id).gens
        if path not in gens:
            key = (want.instance.id, path)
            gens[path] = read_tasks(connection, [key])[key].gen
        return gens[path]

    def result(self, wanted: Wanted, row: TaskRow) -> Any:
        """The raw result that the row's own `output` reshapes. Blocks."""
        with self._database.read() as connection:
            return self._outputs.result(connection, wanted.plan, row)

    def keep_page(self, instance_id: str, path: str, page: int, items: list[Any]) -> None:
        """Remember one page of a map's items; only the newest few pages of a map are kept."""
        with self._lock:
            pages = self._of(instance_id).pages
            pages[path, page] = items
            while len(pages) > PAGES_PER_INSTANCE:
                del pages[next(iter(pages))]


_ABSENT: Final = object()
#: Pages of items that are kept of one instance.
PAGES_PER_INSTANCE: Final = 64


def _size(values: _InstanceValues) -> int:
    return len(values.rows) + (1 if values.has_inputs else 0)
