"""Outputs as values: inline text, a blob, or assembled from the rows of a map's items or a scope's last nodes.

A map's list and a scope's default output are references (`@items`, `@leaves`): they stay rows until somebody wants the
value, and are read in pages. A list larger than the caps is refused with `expression.too_large`; another map or the
command line can still go through it page by page.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from ..repositories.database import Database
from ..repositories.records import TaskRow, TaskState
from ..repositories.values import read_blobs, read_tasks
from .errors import ExpressionError
from .parallel import child_paths, stats_of
from .payload import decode
from .plan import Plan, address_of
from .rows import BRANCHES, ITEMS, LEAVES, TURNS, memo_of, node_of, output_of

__all__ = ["MAX_ITEMS", "OutputReader", "iso"]

#: A list of a map is materialised up to this many items and bytes of JSON text.
MAX_ITEMS: Final = 200_000
MAX_BYTES: Final = 64 * 1024 * 1024
_PAGE: Final = 1_000
_OTHER: Final = output_of("")


def iso(at: int | None) -> str | None:
    """An instant in microseconds as ISO 8601 in UTC."""
    if at is None:
        return None
    return (
        datetime.fromtimestamp(at / 1_000_000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    )


def _counts(row: TaskRow, scope: TaskRow) -> bool:
    """Does a child row's output belong to its scope's value?

    Not what ended after the verdict, nor what an earlier generation left.
    """
    if row.state is not TaskState.COMPLETED or row.closed == "late" or row.gen < scope.gen:
        return False
    return row.memo is None or not memo_of(row).get("late")


class _Budget:
    """Bytes that one assembled value may still take."""

    def __init__(self) -> None:
        self.left = MAX_BYTES

    def take(self, text: str | None) -> None:
        self.left -= len(text or "")
        if self.left < 0:
            raise ExpressionError(
                f"the list is larger than {MAX_BYTES} bytes; map over it, or keep only what is needed with `output`",
                reason="expression.too_large",
            )


class OutputReader:
    """Reads outputs through a connection the caller holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, connection: Any, plan: Plan, row: TaskRow) -> Any:
        """The output as a JSON value. Raises ExpressionError `expression.too_large` above the caps."""
        return self._value(connection, plan, row, _Budget())

    def _value(  # noqa: PLR0911 - one case a marker
        self, connection: Any, plan: Plan, row: TaskRow, budget: _Budget
    ) -> Any:
        if row.output_ref is None:
            budget.take(row.output)
            return decode(row.output) if row.output is not None else None
        if row.output_ref == ITEMS:
            return list(self._children(connection, plan, row, budget, row.total or 0))
        if row.output_ref == TURNS:
            return list(self._children(connection, plan, row, budget, row.next))
        if row.output_ref == BRANCHES:
            return self._branches(connection, plan, row, budget)
        if row.output_ref.startswith(_OTHER):
            return self._other(connection, plan, row, row.output_ref.removeprefix(_OTHER), budget)
        if row.output_ref == LEAVES:
            return self._leaves(connection, plan, row, budget)
        text = read_blobs(connection, [(row.instance_id, row.output_ref)])[row.instance_id, row.output_ref]
        budget.take(text)
        return decode(text)

    def _children(
        self, connection: Any, plan: Plan, row: TaskRow, budget: _Budget, total: int
    ) -> Iterator[Any]:
        """Outputs of items or turns in order, null where one did not complete."""
        node = node_of(plan, row)
        if node is None:
            raise LookupError(f"{row.path!r} has no children by number")
        if total > MAX_ITEMS:
            raise ExpressionError(
                f"the list of {row.path!r} has {total} members, more than {MAX_ITEMS} are not put into one value; "
                "map over it instead",
                reason="expression.too_large",
            )
        for start in range(0, total, _PAGE):
            paths = child_paths(row, node, range(start, min(start + _PAGE, total)))
            found = read_tasks(connection, [(row.instance_id, path) for path in paths])
            for path in paths:
                item = found.get((row.instance_id, path))
                counts = item is not None and _counts(item, row)
                yield self._value(connection, plan, item, budget) if item is not None and counts else None

    def _branches(self, connection: Any, plan: Plan, row: TaskRow, budget: _Budget) -> dict[str, Any]:
        node = node_of(plan, row)
        labels = list(node.bodies) if node is not None else []
        return {label: self._other(connection, plan, row, f".{label}", budget) for label in labels}

    def _other(self, connection: Any, plan: Plan, row: TaskRow, suffix: str, budget: _Budget) -> Any:
        """The output of the row at this row's path and `suffix`."""
        key = (row.instance_id, row.path + suffix)
        other = read_tasks(connection, [key]).get(key)
        done = other is not None and _counts(other, row)
        return self._value(connection, plan, other, budget) if other is not None and done else None

    def _leaves(self, connection: Any, plan: Plan, row: TaskRow, budget: _Budget) -> dict[str, Any]:
        scope = plan.scopes[address_of(row.path)]
        prefix = f"{row.path}." if row.path else ""
        keys = [(row.instance_id, prefix + name) for name in scope.leaves]
        found = read_tasks(connection, keys)
        values: dict[str, Any] = {}
        for name, key in zip(scope.leaves, keys, strict=True):
            leaf = found.get(key)
            done = leaf is not None and _counts(leaf, row)
            values[name] = self._value(connection, plan, leaf, budget) if leaf is not None and done else None
        return values

    def text(self, connection: Any, instance_id: str, text: str | None, ref: str | None) -> Any:
        """A stored payload, inline or by reference; null when there is none."""
        if ref is not None:
            text = read_blobs(connection, [(instance_id, ref)])[instance_id, ref]
        return decode(text) if text is not None else None

    def result(  # noqa: PLR0911 - one case a verb
        self, connection: Any, plan: Plan, row: TaskRow
    ) -> Any:
        """The raw result that a node's `output` reshapes, while the row itself is still being evaluated."""
        node, budget = node_of(plan, row), _Budget()
        match node.kind if node is not None else "do":
            case "map" | "parallel" if node is not None and node.collect != "list":
                return stats_of(row) if node.collect == "stats" else None
            case "map":
                return list(self._children(connection, plan, row, budget, row.total or 0))
            case "parallel":
                return self._branches(connection, plan, row, budget)
            case "loop":
                return self._turns(connection, plan, row, budget)
            case "switch":
                branch = memo_of(row).get("branch")
                return None if branch is None else self._other(connection, plan, row, f".{branch}", budget)
            case "flow":
                return self.text(connection, row.instance_id, row.output, row.output_ref)
            case "do":
                return self._leaves(connection, plan, row, budget)
            case _:
                return None

    def _turns(self, connection: Any, plan: Plan, row: TaskRow, budget: _Budget) -> Any:
        node = node_of(plan, row)
        if node is not None and node.loop is not None and (node.loop.for_ or node.loop.times):
            return list(self._children(connection, plan, row, budget, row.next))
        return self._other(connection, plan, row, f"#{row.next - 1}", budget) if row.next else None
