"""What callers see of an instance: the shape that the command line, the API and `wait` share (DESIGN section 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..repositories.readmodels import InstanceView
from ..repositories.records import TERMINAL_INSTANCE_STATES, InstanceState, TaskRow, TaskState
from .errors import ExpressionError
from .outputs import OutputReader, iso
from .payload import decode
from .plan import Plan

__all__ = ["WorkflowStatus", "status_of"]


@dataclass(slots=True, frozen=True)
class WorkflowStatus:
    """One instance as it stands in the database."""

    id: str
    name: str
    version: int
    state: InstanceState
    inputs: Any
    #: The result; None until the instance completed.
    output: Any
    #: The error object of a failed instance.
    error: Any
    created_at: str | None
    started_at: str | None
    ended_at: str | None
    key: str | None = None
    reason: str | None = None

    @property
    def ended(self) -> bool:
        """Has it come to its end, however?"""
        return self.state in TERMINAL_INSTANCE_STATES

    def as_json(self) -> dict[str, Any]:
        """The object of `strataflow run --json`."""
        return {
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "state": self.state.value,
            "inputs": self.inputs,
            "output": self.output,
            "error": self.error,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
        }


def status_of(
    connection: Any, reader: OutputReader, view: InstanceView, plan: Plan, root: TaskRow | None
) -> WorkflowStatus:
    """Read an instance's payloads and put the status together."""
    output: Any = None
    error: Any = decode(view.error) if view.error else None
    if root is not None and root.state is TaskState.COMPLETED:
        try:
            output = reader.read(connection, plan, root)
        except ExpressionError as exc:
            error = {"code": exc.reason, "message": exc.message}
    return WorkflowStatus(
        id=view.id,
        name=view.name,
        version=view.version,
        state=view.state,
        inputs=reader.text(connection, view.id, view.inputs, view.inputs_ref),
        output=output,
        error=error,
        created_at=iso(view.created_at),
        started_at=iso(view.started_at),
        ended_at=iso(view.ended_at),
        key=view.key,
        reason=view.reason,
    )
