"""Loops: one turn after the other (DSL rule 18). Pure; called by `ripple` and `attempts`.

`for` and `times` know their number of turns from the beginning. `while` is asked before each turn and `until` after
it, in claims of the loop's own row (phase `turn`). Between turns the row waits for its `every`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..repositories.records import BlobRow, TaskRow
from .outcomes import Expanded
from .plan import Body, LoopRule, PlanNode, ScopePlan, given
from .rows import TURNS, error_text, items_key, output_of
from .states import TaskEvent

if TYPE_CHECKING:
    from .ripple import Ripple

__all__ = ["Turns"]


class Turns:
    """The loop's part of a ripple."""

    def __init__(self, ripple: Ripple) -> None:
        self._ripple = ripple
        self._draft = ripple.draft

    def expanded(self, row: TaskRow, node: PlanNode, outcome: Expanded) -> None:
        """The list or the number is known: keep it, and begin the first turn."""
        row = self._draft.edit(row.path, counters=True)
        row.total = outcome.total
        for number, page in enumerate(outcome.pages):
            key = items_key(row.path, row.gen, number)
            self._draft.changes.blobs.append(BlobRow(row.instance_id, key, page))
        self._draft.move(row, TaskEvent.ENTER, f"{outcome.total} turns")
        rule = _rule(node)
        if rule.max is not None and outcome.total > rule.max:
            self._too_many(row, node, outcome.total)
        else:
            self._next(row, node)

    def turned(self, row: TaskRow, node: PlanNode, *, again: bool) -> None:
        """`while` or `until` was evaluated."""
        rule, ended = _rule(node), row.next
        row = self._draft.edit(row.path, counters=True)
        self._draft.move(row, TaskEvent.ENTER, "another turn" if again else "condition met")
        row.phase = None
        if not again:
            self._complete(row, node)
        elif rule.max is not None and ended >= rule.max:
            self._too_many(row, node, ended + 1)
        elif rule.until is not None and ended > 0 and rule.every:
            row.wake_at = self._draft.now + rule.every
        else:
            self._start(row, node)

    def turn_left(self, row: TaskRow, node: PlanNode) -> None:
        """A turn is at rest and did not fail: the next one, the question whether there is one, or the end."""
        rule = _rule(node)
        row = self._draft.edit(row.path, counters=True)
        if not node.has_undo:
            self._forget(row, node, rule)
        if rule.until is not None or (rule.while_ is not None and not rule.every):
            self._ripple.evaluate(row, "turn", "turn ended")
        elif rule.every and (rule.while_ is not None or row.next < (row.total or 0)):
            row.phase = "turn" if rule.while_ is not None else None
            row.wake_at = self._draft.now + rule.every
        else:
            self._next(row, node)

    def pause_over(self, row: TaskRow, node: PlanNode) -> None:
        """`every` has passed."""
        if row.phase == "turn":
            self._ripple.evaluate(row, "turn", "pause over")
        else:
            row = self._draft.edit(row.path, counters=True)
            row.wake_at = None
            self._start(row, node)

    def _next(self, row: TaskRow, node: PlanNode) -> None:
        if row.next >= (row.total or 0):
            self._complete(row, node)
        else:
            self._start(row, node)

    def _start(self, row: TaskRow, node: PlanNode) -> None:
        if row.closed is not None or self._ripple.is_stopped(row):
            self._ripple.ended(self._draft.move(row, TaskEvent.CANCEL, "scope closed"))
            return
        number = row.next
        row = self._draft.edit(row.path, counters=True)
        row.next = number + 1
        self._ripple.spawn(row, given(node.body, "body"), f"{row.path}#{number}", f"turn {number}")

    def _forget(self, row: TaskRow, node: PlanNode, rule: LoopRule) -> None:
        """Rows of turns beyond `keep_last` go, but for those that the list of the turns' outputs is read from."""
        if rule.keep_last is None or row.next <= rule.keep_last:
            return
        turn = f"{row.path}#{row.next - rule.keep_last - 1}"
        gone = [turn] if not _is_listed(rule) else _below(turn, given(node.body, "body"))
        self._draft.changes.prunes += [(row.instance_id, path) for path in gone]

    def _complete(self, row: TaskRow, node: PlanNode) -> None:
        listed = _is_listed(_rule(node))
        last = output_of(f"#{row.next - 1}") if row.next else None
        if not row.next:
            self._draft.edit(row.path, counters=True).total = 0  # it has begun all the same
        self._ripple.complete(
            row, node, TURNS if listed else last, "all turns ended" if listed else "condition met"
        )

    def _too_many(self, row: TaskRow, node: PlanNode, wanted: int) -> None:
        row = self._draft.edit(row.path, counters=True)
        most = _rule(node).max
        row.closed = "failed"
        row.error = error_text(
            "loop_limit",
            f"the loop {node.name or row.path!r} wants turn {wanted}, its `max` is {most}",
            node=node.name,
            path=row.path,
            attempt=0,
            details={"max": most, "turns": row.next},
        )
        self._ripple.failures.fail(row, json.loads(row.error)["code"])


def _is_listed(rule: LoopRule) -> bool:
    return rule.for_ is not None or rule.times is not None


def _below(turn: str, body: Body) -> list[str]:
    """What a listed turn need not keep: its own row holds its output if its body says one; else its nodes' rows do."""
    if isinstance(body, ScopePlan) and body.output is not None:
        return [f"{turn}.{name}" for name in body.nodes]
    return []


def _rule(node: PlanNode) -> LoopRule:
    return given(node.loop, "loop")
