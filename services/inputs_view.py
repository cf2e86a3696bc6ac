"""What an attempt got: a node's `with`, evaluated again from committed values.

Nothing of it is stored, because nothing of it can change: every value that an expression may read is committed and
ordered before the attempt (DSL rules 13 and 30). Variables are the one thing that may be written again later; they are
taken from the last `set` that had ended when the attempt began. References to secrets stay references.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ..engine.bindings import bind, chain_of
from ..engine.errors import ExpressionError
from ..engine.lookups import Missing, Wanted
from ..engine.outputs import OutputReader
from ..engine.plan import Plan, PlanNode, address_of
from ..engine.values import Values
from ..repositories import views
from ..repositories.database import Database
from ..repositories.readmodels import InstanceView
from ..repositories.records import InstanceRow, TaskRow, TaskState

if TYPE_CHECKING:
    from ..engine.expressions import Template

__all__ = ["InputsView"]

#: In these states a `run` node's `with` was never evaluated, whatever its attempt number says.
_NOT_EVALUATED: Final = frozenset({TaskState.SKIPPED})


class InputsView:
    """The inputs of one instance's attempts; keep it for as long as its pages are read."""

    def __init__(self, database: Database, plan: Plan, instance: InstanceView) -> None:
        self._database = database
        self._plan = plan
        self._instance = _row_of(instance)
        self._values = Values(database)
        self._outputs = OutputReader(database)
        self._writers = _Writers(plan)

    def of(self, rows: Iterable[TaskRow]) -> dict[str, Any]:
        """The inputs of these rows' last attempts by path; rows that have none are absent."""
        asked = [(row, node) for row in rows if (node := self._executed(row)) is not None]
        if not asked:
            return {}
        wanted = [(row, node, self._wanted(row, node)) for row, node in asked]
        self._load([want for _, _, want in wanted])
        found: dict[str, Any] = {}
        for row, node, want in wanted:
            try:
                found[row.path] = self._render(row, node, want)
            except (ExpressionError, Missing):
                # The attempt failed on the same expression, or on a value that is too large for one: it got nothing,
                # and its error says why.
                continue
        return found

    def _executed(self, row: TaskRow) -> PlanNode | None:
        node = self._plan.nodes.get(address_of(row.path))
        if node is None or node.kind != "run" or node.with_ is None:
            return None
        return node if row.attempt > 0 and row.state not in _NOT_EVALUATED else None

    def _wanted(self, row: TaskRow, node: PlanNode) -> Wanted:
        template = _template(node)
        bindings = bind(self._plan, row.path, [template] if template is not None else [], inside=False)
        return Wanted(self._plan, self._instance, bindings, chain_of(row.path))

    def _load(self, wanted: list[Wanted]) -> None:
        without = [replace(want, bindings=replace(want.bindings, vars=())) for want in wanted]
        try:
            self._values.load(without)
        except ExpressionError:
            for want in without:
                self._load_one(want)

    def _load_one(self, want: Wanted) -> None:
        try:
            self._values.load([want])
        except ExpressionError:
            return  # a value too large for an expression: rendering will fail as the attempt did

    def _render(self, row: TaskRow, node: PlanNode, want: Wanted) -> Any:
        template = _template(node)
        if template is None or template.constant:
            return template.source if template is not None else None
        roots = self._roots(replace(want, bindings=replace(want.bindings, vars=())))
        if want.bindings.vars:
            roots["vars"] = self._vars(row, want)
        roots["task"] = {
            "path": row.path,
            "attempt": row.attempt,
            "idempotency_key": f"{row.instance_id}/{row.path}",
        }
        return template.render(roots)

    def _roots(self, want: Wanted) -> dict[str, Any]:
        try:
            return self._values.roots(want, loaded=True)
        except Missing:
            # A page of tasks may need more than the cache keeps: what was read first has made room for the rest.
            self._load_one(want)
            return self._values.roots(want, loaded=True)

    # --- variables as they were

    def _vars(self, row: TaskRow, want: Wanted) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for owner, name in want.bindings.vars:
            writer = self._last_writer(row, want.chain[owner], owner, name)
            if writer is not None:
                found[name] = self._written(writer)[name]
        return found

    def _last_writer(self, reader: TaskRow, scope: str, owner: str, name: str) -> TaskRow | None:
        paths = [scope + address[len(owner) :] for address in self._writers.of(owner, name)]
        with self._database.read() as connection:
            rows = views.task_values(connection, reader.instance_id, paths).values()
        before = [row for row in rows if row.state is TaskState.COMPLETED and _ended_before(row, reader)]
        return max(before, key=lambda row: row.ended_at or 0, default=None)

    def _written(self, writer: TaskRow) -> dict[str, Any]:
        """What a `set` wrote: its output, unless that was reshaped."""
        node = self._plan.nodes[address_of(writer.path)]
        if node.output is None:
            with self._database.read() as connection:
                written: dict[str, Any] = self._outputs.read(connection, self._plan, writer)
            return written
        want = self._wanted(writer, node)
        self._load([want])
        values: dict[str, Any] = self._render(writer, node, want)
        return values


class _Writers:
    """Which `set` nodes write a variable, found once."""

    def __init__(self, plan: Plan) -> None:
        self._found: dict[tuple[str, str], list[str]] = {}
        for node in plan.nodes.values():
            if node.kind == "set" and node.set_ is not None:
                for name in node.set_.source:
                    owner = plan.vars[node.scope, name]
                    self._found.setdefault((owner, name), []).append(node.address)

    def of(self, owner: str, name: str) -> list[str]:
        """Addresses of the nodes that write this variable of this scope."""
        return self._found.get((owner, name), [])


def _template(node: PlanNode) -> Template | None:
    return node.with_ if node.kind == "run" else node.set_


def _ended_before(writer: TaskRow, reader: TaskRow) -> bool:
    return reader.started_at is None or (writer.ended_at is not None and writer.ended_at <= reader.started_at)


def _row_of(instance: InstanceView) -> InstanceRow:
    return InstanceRow(
        id=instance.id,
        definition_id=instance.definition_id,
        name=instance.name,
        version=instance.version,
        state=instance.state,
        key=instance.key,
        gen=instance.gen,
        sweeps=instance.sweeps,
        inputs=instance.inputs,
        inputs_ref=instance.inputs_ref,
        reason=instance.reason,
        created_at=instance.created_at,
        started_at=instance.started_at,
        ended_at=instance.ended_at,
    )
