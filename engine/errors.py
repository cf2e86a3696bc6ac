"""The engine's errors: one family, so that callers need one `except`.

    EngineError
    ├── DefinitionError        a definition is refused; carries every problem found
    ├── InputError             inputs break the definition's schema
    ├── RequestError           an argument of a call is not what it may be
    ├── PayloadError           a value cannot be stored as JSON
    ├── ExpressionError        an expression is malformed or cannot be evaluated
    ├── NotFound               no such instance, definition or task
    ├── Conflict               the request contradicts the stored state
    │   ├── IllegalTransition  this state does not allow this event; nothing was written
    │   └── QueueFull          a queue holds as many tasks as it may; nothing was started
    ├── SchemaError            the database has no schema, an older one, or a newer one
    ├── DatabaseUnavailable    the database cannot be reached or written
    ├── StaleLease             the caller no longer holds the task; its result was dropped
    ├── EngineStopped          this engine is not running
    ├── WaitTimeout            the instance did not end in time
    ├── WorkflowFailed         `run` ended in another state than completed
    └── TaskFailed             the result of a task is asked for that did not succeed

Every error has `code` (stable, for programs) and `hint` (what to do next, for people).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = [
    "Conflict",
    "DatabaseUnavailable",
    "DefinitionError",
    "EngineError",
    "EngineStopped",
    "ExpressionError",
    "IllegalTransition",
    "InputError",
    "NotFound",
    "PayloadError",
    "Problem",
    "QueueFull",
    "RequestError",
    "SchemaError",
    "StaleLease",
    "TaskFailed",
    "TaskFailure",
    "WaitTimeout",
    "WorkflowFailed",
]


class EngineError(Exception):
    """Base of every error that the engine raises to its callers."""

    code: ClassVar[str] = "engine"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


@dataclass(slots=True, frozen=True)
class Problem:
    """One thing wrong with a document: where (JSON pointer), what (stable code), in words, and what to do."""

    pointer: str
    code: str
    message: str
    hint: str | None = None
    #: `error` refuses the document; `warning` does not.
    severity: str = "error"

    def __str__(self) -> str:
        where = self.pointer or "/"
        tail = f" ({self.hint})" if self.hint else ""
        return f"{where}: {self.message}{tail} [{self.code}]"


class DefinitionError(EngineError):
    """Raised when a definition is refused; `problems` holds all of them, in document order."""

    code = "definition"

    def __init__(self, problems: Sequence[Problem], *, name: str | None = None) -> None:
        self.problems = tuple(problems)
        self.name = name
        label = f"definition {name!r}" if name else "the definition"
        count = len(self.problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{label} has {count} problem{'s' if count != 1 else ''}:\n{lines}")


class InputError(EngineError):
    """Raised when a start's inputs break the definition's `inputs` schema; nothing was started."""

    code = "inputs"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"the inputs do not fit the definition:\n{lines}")


class RequestError(EngineError):
    """Raised when an argument of a call is not what it may be; nothing was done. `pointer` names it."""

    code = "request"

    def __init__(self, message: str, *, pointer: str = "", hint: str | None = None) -> None:
        self.pointer = pointer
        super().__init__(message, hint=hint)


class PayloadError(EngineError):
    """Raised when a value is not JSON, or too large; names the member by JSON pointer."""

    code = "payload"

    def __init__(self, message: str, *, pointer: str = "", hint: str | None = None) -> None:
        self.pointer = pointer
        super().__init__(message, hint=hint)


class ExpressionError(EngineError):
    """Raised for a malformed expression, or one that cannot be evaluated; carries text and position."""

    code = "expression"

    def __init__(
        self,
        message: str,
        *,
        expression: str = "",
        position: int | None = None,
        pointer: str = "",
        reason: str = "expression",
    ) -> None:
        self.expression = expression
        #: Offset in the expression's text, from 0; None when it is not known.
        self.position = position
        self.pointer = pointer
        #: Finer code, e.g. `expression.too_large`.
        self.reason = reason
        super().__init__(message)


class NotFound(EngineError):
    """Raised when an instance, definition or task does not exist."""

    code = "not_found"


class Conflict(EngineError):
    """Raised when a request contradicts what is stored."""

    code = "conflict"


class IllegalTransition(Conflict):
    """Raised when a state does not allow an event; nothing was written."""

    code = "illegal_transition"

    def __init__(self, entity: str, state: str, event: str, *, id: str = "") -> None:  # noqa: A002 - the field's name
        self.entity, self.state, self.event, self.id = entity, state, event, id
        label = f"{entity} {id}" if id else entity
        super().__init__(f"{label} is {state}: it cannot take {event}.")


class QueueFull(Conflict):
    """Raised when a queue holds as many tasks as it may: nothing was started."""

    code = "queue_full"


class SchemaError(EngineError):
    """Raised when the database's schema is missing, older or newer than this engine needs."""

    code = "schema"


class DatabaseUnavailable(EngineError):
    """Raised when the database cannot be reached, or refuses writes."""

    code = "database"


class StaleLease(EngineError):
    """Raised when an outcome comes from an attempt that no longer holds its task; it was dropped."""

    code = "stale_lease"


class EngineStopped(EngineError):
    """Raised when a stopped engine is asked to work."""

    code = "stopped"


class WaitTimeout(EngineError):
    """Raised when an instance did not end within the time that the caller gave it."""

    code = "wait_timeout"


class WorkflowFailed(EngineError):
    """Raised by `run` when the instance ended failed or cancelled; carries its status."""

    code = "workflow_failed"

    def __init__(self, message: str, *, status: Any) -> None:
        self.status = status
        super().__init__(message)


@dataclass(slots=True, frozen=True)
class TaskFailure:
    """Why a task, or its last attempt, failed."""

    #: `task.<Class>` of what the handler raised, or the engine's own: `timeout`, `no_executor`, `output`, …
    code: str
    message: str
    #: Of what the handler raised; its end, if it is long.
    traceback: str | None = None
    #: Which attempt failed, from 1; 0 when none began.
    attempt: int = 0
    #: In a composition: which of its steps failed, such as `step2_transform`.
    step: str | None = None
    details: Any = None

    def __str__(self) -> str:
        where = f"{self.step}: " if self.step else ""
        return f"{where}{self.message} [{self.code}]"


class TaskFailed(EngineError):
    """Raised when the result of a task is asked for that failed, was cancelled, or expired."""

    code = "task_failed"

    def __init__(self, task_id: str, state: str, failure: TaskFailure | None) -> None:
        self.task_id = task_id
        #: How it ended: a value of `TaskState`.
        self.task_state = state
        self.failure = failure
        super().__init__(f"task {task_id} {state}" + (f": {failure}" if failure is not None else ""))
