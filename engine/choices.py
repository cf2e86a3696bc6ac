"""Switches: the case whose condition held runs, the others are skipped (DSL rule 19). Pure; called by `ripple`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..repositories.records import TaskRow
from .outcomes import Chose
from .plan import PlanNode
from .rows import memo_of, new_task, output_of, remember
from .states import TaskEvent

if TYPE_CHECKING:
    from .ripple import Ripple

__all__ = ["Choices"]


class Choices:
    """The switch's part of a ripple."""

    def __init__(self, ripple: Ripple) -> None:
        self._ripple = ripple
        self._draft = ripple.draft

    def chose(self, row: TaskRow, node: PlanNode, outcome: Chose) -> None:
        """The conditions were evaluated: begin the case, record the others as skipped."""
        row = self._draft.edit(row.path, counters=True)
        row.total = len(node.bodies)
        remember(row, branch=outcome.case)
        self._draft.move(row, TaskEvent.ENTER, f"case {outcome.case}" if outcome.case else "no case holds")
        for label, body in node.bodies.items():
            path = f"{row.path}.{label}"
            if label == outcome.case:
                self._ripple.spawn(row, body, path, "chosen")
            else:
                skipped = new_task(row.instance_id, path, row.path, gen=self._draft.instance.gen)
                self._ripple.ended(self._draft.born(skipped, TaskEvent.SKIP, "not chosen"), counted=False)
        if outcome.case is None:
            self._ripple.complete(row, node, None, "no case holds")

    def case_left(self, row: TaskRow, node: PlanNode) -> None:
        """The case is at rest and did not fail."""
        self._ripple.complete(row, node, output_of(f".{memo_of(row)['branch']}"), "case ended")
