"""Preparing a start: inputs checked, key and mutex evaluated, times and labels checked, everything encoded."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from .catalog import Registered
from .errors import Conflict, NotFound, RequestError
from .evaluate import as_payload
from .events import StartInstance
from .inputs import prepare_inputs
from .membership import new_id
from .plan import Plan

__all__ = ["DUPLICATES", "OnDuplicate", "StartOptions", "id_of", "prepare_start"]

OnDuplicate = Literal["return_existing", "reject", "queue"]
#: What a start may do when its key or mutex is taken.
DUPLICATES: Final[tuple[OnDuplicate, ...]] = ("return_existing", "reject", "queue")
_LONGEST: Final = 512
_LABELS: Final = 50
_HIGHEST: Final = 1_000_000
_QUEUE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,63}")


@dataclass(slots=True, frozen=True)
class StartOptions:
    """What a start may say beside its definition and inputs; what is absent comes from the definition's `start`."""

    #: The same key again is the same run, for ever within retention.
    key: str | None = None
    #: At most one live run per definition name and mutex.
    mutex: str | None = None
    on_duplicate: OnDuplicate | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    #: Not before this instant; a datetime without a zone is UTC. A number is seconds from now.
    start_at: datetime | float | None = None
    #: When it has not begun by then, it never does.
    expires_at: datetime | float | None = None
    #: Queue and priority of its tasks whose nodes say none; higher runs first.
    queue: str | None = None
    priority: int | None = None
    #: The instant of the schedule's firing that starts it, in microseconds.
    scheduled_for: int | None = None
    #: The run's id, a UUID that the caller has made; the same id again is the same run.
    id: str | None = None

    def beside(self, labels: Mapping[str, str]) -> StartOptions:
        """The same with these labels too, if there is room for them."""
        both = {**self.labels, **labels}
        return self if not labels or len(both) > _LABELS else replace(self, labels=both)


def prepare_start(registered: Registered, plan: Plan, inputs: Any, options: StartOptions) -> StartInstance:
    """The event of a start. Raises InputError, PayloadError, RequestError, and Conflict for an archived definition."""
    if registered.state == "archived":
        raise Conflict(
            f"{registered.name}@{registered.version} is archived: it starts no more.",
            hint="Start another version, or bring it back with `strataflow definitions --activate`.",
        )
    prepared = prepare_inputs(registered.inputs, {} if inputs is None else inputs)
    rule = plan.start
    key, mutex = options.key, options.mutex
    if rule is not None:
        roots = {"inputs": prepared}
        key = _text(rule.key.render(roots), "start.key") if key is None and rule.key is not None else key
        if mutex is None and rule.mutex is not None:
            mutex = _text(rule.mutex.render(roots), "start.mutex")
    otherwise: OnDuplicate = rule.on_duplicate if rule is not None else "return_existing"
    now = datetime.now(UTC)
    return StartInstance(
        id_of(options.id),
        registered.id,
        as_payload(prepared),
        _checked(key, "key"),
        _checked(mutex, "mutex"),
        options.on_duplicate or otherwise,
        _labels(options.labels),
        _instant(options.start_at, now),
        _instant(options.expires_at, now),
        _queue(options.queue),
        _priority(options.priority),
        options.scheduled_for,
    )


def id_of(text: str | None) -> str:
    """The id of a new run: the caller's own, or a fresh one. Raises RequestError for one that is no UUID."""
    if text is None:
        return new_id()
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise RequestError(f"{text!r} is no UUID.", hint="Leave it out, and a run gets its own.") from None


def _queue(name: str | None) -> str | None:
    if name is not None and not _QUEUE_NAME.fullmatch(name):
        raise RequestError(
            f"{name!r} is no queue name.", hint="Use letters, digits, '_', '.' and '-', at most 63."
        )
    return name


def _priority(value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not -_HIGHEST <= value <= _HIGHEST):
        raise RequestError(f"a priority is a whole number from {-_HIGHEST} to {_HIGHEST}, not {value!r}.")
    return value


def _text(value: Any, what: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RequestError(f"{what} must give text or a whole number, not {value!r}.")
    return str(value)


def _checked(text: str | None, what: str) -> str | None:
    if text is not None and (not text or len(text) > _LONGEST or "\x00" in text):
        raise RequestError(f"a start {what} is text of 1 to {_LONGEST} characters without NUL.")
    return text


def _labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if len(labels) > _LABELS:
        raise RequestError(f"a run has at most {_LABELS} labels, not {len(labels)}.")
    for name, value in labels.items():
        for text in (name, value):
            if not isinstance(text, str) or len(text) > _LONGEST or "\x00" in text:  # pyright: ignore[reportUnnecessaryIsInstance] - callers are not checked
                raise RequestError(f"label {name!r} and its value are text of at most {_LONGEST} characters.")
        if not name:
            raise RequestError("a label has a name.")
    return tuple(labels.items())


def _instant(at: datetime | float | None, now: datetime) -> int | None:
    if at is None:
        return None
    if not isinstance(at, datetime):
        at = now + timedelta(seconds=at)
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return int(at.timestamp() * 1_000_000)


def unknown_instance(instance_id: str) -> NotFound:
    """The error of an id that nothing has."""
    return NotFound(f"there is no instance {instance_id}.", hint="`strataflow list` shows what there is.")
