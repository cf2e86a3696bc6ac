"""`TaskRecord`: one task with everything that is known of it, as a value that survives a round trip through JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Final, cast

from ...engine.errors import PayloadError, TaskFailure
from .config import TaskConfig
from .states import TaskState
from .values import Progress

__all__ = ["TaskRecord"]

#: First member of the JSON, and the form of the rest.
_FORM: Final = "strataflow_task"
_VERSION: Final = 1
_KINDS: Final[Mapping[str, Any]] = {
    "id": str,
    "name": str,
    "kind": str,
    "config": dict,
    "state": str,
    "attempts": int,
    "created_at": str | None,
    "started_at": str | None,
    "ended_at": str | None,
    "progress": dict,
    "error": (dict, type(None)),
    "parent_id": str | None,
}


@dataclass(slots=True, frozen=True)
class TaskRecord:
    """A task as it stood when it was read; instants are ISO 8601 in UTC."""

    id: str
    #: Name of the handler; of a composition what it is made of.
    name: str
    #: `task`, `chain`, `chord` or `group`.
    kind: str
    payload: Any
    config: TaskConfig
    state: TaskState
    #: Attempts that began; of a composition 0, its tasks count for themselves.
    attempts: int
    created_at: str | None
    started_at: str | None
    ended_at: str | None
    progress: Progress
    #: None until it has succeeded.
    result: Any = None
    error: TaskFailure | None = None
    #: The task, or run, that started it.
    parent_id: str | None = None

    @property
    def is_terminal(self) -> bool:
        """Has it ended?"""
        return self.state.is_terminal

    @property
    def tags(self) -> tuple[str, ...]:
        """The words it can be found by."""
        return self.config.tags

    @property
    def traceback(self) -> str | None:
        """Of what its handler raised."""
        return self.error.traceback if self.error is not None else None

    def to_json(self) -> str:
        """Everything as JSON text; `from_json` reads it back equal."""
        plain = asdict(self)
        plain["config"] = _config_out(self.config)
        return json.dumps({_FORM: _VERSION, **plain}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> TaskRecord:
        """Read what `to_json` wrote. Raises PayloadError, which names the member that is wrong."""
        try:
            found = json.loads(text)
        except ValueError as exc:
            raise PayloadError(f"this is no JSON: {exc}.") from exc
        if not isinstance(found, dict) or _FORM not in found:
            raise PayloadError(f"this is no task: an object with the member {_FORM!r} is.")
        values = cast("dict[str, Any]", found)
        if values.pop(_FORM) != _VERSION:
            raise PayloadError(
                f"the form of this task is not {_VERSION}, the only one that is known.", pointer=f"/{_FORM}"
            )
        return _read(values)


def _read(values: dict[str, Any]) -> TaskRecord:
    wanted = {each.name for each in fields(TaskRecord)}
    for name in sorted(wanted ^ set(values)):
        what = "is missing" if name in wanted else "is unknown"
        raise PayloadError(f"the member {name!r} {what}.", pointer=f"/{name}")
    for name, kind in _KINDS.items():
        if not isinstance(values[name], kind) or isinstance(values[name], bool):
            raise PayloadError(f"{name!r} cannot be {values[name]!r}.", pointer=f"/{name}")
    for name in ("created_at", "started_at", "ended_at"):
        if values[name] is not None:
            _instant(values[name], name)
    name = "config"
    try:
        values["config"] = _config_in(values["config"])
        name = "state"
        values["state"] = TaskState(values["state"])
        name = "progress"
        values["progress"] = Progress(**values["progress"])
        name = "error"
        values["error"] = TaskFailure(**values["error"]) if values["error"] is not None else None
    except (TypeError, ValueError) as exc:
        raise PayloadError(f"{name!r} is not what a task has: {exc}.", pointer=f"/{name}") from exc
    return TaskRecord(**values)


def _config_out(config: TaskConfig) -> dict[str, Any]:
    plain = asdict(config)
    for name in ("eta", "expires"):
        if isinstance(plain[name], datetime):
            plain[name] = plain[name].isoformat()
    return plain


def _config_in(plain: dict[str, Any]) -> TaskConfig:
    values = dict(plain)
    unknown = set(values) ^ {each.name for each in fields(TaskConfig)}
    if unknown:
        raise ValueError(f"{min(unknown)!r} is missing or unknown")
    for name in ("eta", "expires"):
        if isinstance(values[name], str):
            values[name] = _instant(values[name], name)
    for name in ("never", "tags"):
        if not isinstance(values[name], list):
            raise ValueError(f"{name} is a list")  # noqa: TRY004 - one error for bad data
    return TaskConfig(**values)


def _instant(text: str, name: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as exc:
        raise PayloadError(f"{name!r} is no instant: {exc}.", pointer=f"/{name}") from exc
