"""Where log records end: one line each on stderr, as JSON or as text, that nobody's data can forge or flood.

Control characters are escaped, so that a text from outside makes no line of its own and steers no terminal; a record
has a size, and a process a rate; secrets of the attempt that speaks, and what looks like credentials anywhere, are
stars (RELIABILITY R16). Every record of an attempt says which one, and its trace where it has one.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any, Final

from ..engine.surroundings import CURRENT, AttemptRef

__all__ = ["FIELDS", "RateLimit", "as_json", "as_text", "escaped", "redacted"]

#: Every field that a record may have, and what it says.
FIELDS: Final[dict[str, str]] = {
    "at": "when, ISO 8601, UTC, by this machine's clock",
    "level": "`debug`, `info`, `warning`, `error` or `critical`",
    "logger": "who says it: `strataflow.writer`, `strataflow.task` (what executors say by `ctx.log`), …",
    "message": "what is said",
    "pid": "the process",
    "thread": "the thread",
    "action": "what it is about, for programs: `batch_retry`, `loop_failed`, `task_log`, …",
    "instance_id": "the run that it is about",
    "definition": "the name of the run's definition",
    "path": "the task",
    "attempt": "the attempt",
    "executor": "the executor that runs",
    "engine_id": "the engine that runs it",
    "hook": "the hook or optional method that failed",
    "webhook": "the webhook that it is about",
    "tasks": "how many tasks it is about",
    "request_id": "the request to the API, as the answer's `X-Request-Id` has it",
    "trace_id": "the trace, where the engine traces",
    "span_id": "the span that is current where the record is made",
    "error": "the exception's class and text",
    "traceback": "where it came from",
    "dropped": "how many records before this one were dropped because there were too many",
}
#: What every record has; whatever else one carries is its own.
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: What a line for people says of an attempt.
_SHOWN: Final = ("instance_id", "path", "attempt", "executor", "trace_id", "dropped")
#: Characters of a message, and of a traceback.
_LONGEST: Final = 8 * 1024
_LONGEST_TRACE: Final = 16 * 1024
_SHORT: Final = 512
#: Records a second, and at once.
_RATE: Final = 200.0
_BURST: Final = 2_000
_STARS: Final = "***"
_CREDENTIALS: Final = re.compile(
    r"(?P<scheme>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}"
    r"|(?P<user>://[^\s:/@]{0,200}:)[^\s@]{1,200}(?=@)"
    r"|(?P<name>\b(?:password|passwd|secret|api[_-]?key|access[_-]?token|authorization)\b[\"']?\s*[=:]\s*[\"']?)"
    r"(?!(?:bearer|basic)\b)[^\s\"',;&]{1,500}"
    r"|\bsf1\.[\w.-]{16,}",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """A text without what looks like credentials: tokens, passwords of URLs, `password=…`."""
    return _CREDENTIALS.sub(_hidden, text)


def _hidden(found: re.Match[str]) -> str:
    return (found["scheme"] or found["user"] or found["name"] or "") + _STARS


def escaped(text: str) -> str:
    """A text on one line, whose control characters are shown, not obeyed."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text) - longest} more)"


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says, by name; texts are cut and have no secrets, and are not escaped yet."""
    ref = CURRENT.get()
    found: dict[str, Any] = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _safe(record.getMessage(), ref, _LONGEST),
        "pid": record.process,
        "thread": record.threadName,
    }
    if ref is not None:
        found |= _about(ref)
    for name, value in vars(record).items():
        if name not in _PLAIN and value is not None:
            found[name] = value if isinstance(value, int | float) else _safe(str(value), ref, _SHORT)
    found |= _trace()
    if record.exc_info is not None and record.exc_info[1] is not None:
        error = record.exc_info[1]
        found["error"] = _safe(f"{type(error).__name__}: {error}", ref, _LONGEST)
        found["traceback"] = _safe(logging.Formatter().formatException(record.exc_info), ref, _LONGEST_TRACE)
    return found


def _safe(text: str, ref: AttemptRef | None, longest: int) -> str:
    """Secrets first: half of one, at the cut, would not be recognised."""
    masked = ref.mask(text[: 4 * longest]) if ref is not None else text[: 4 * longest]
    return _cut(redacted(masked), longest)


def _about(ref: AttemptRef) -> dict[str, Any]:
    return {
        "instance_id": ref.instance_id,
        "definition": ref.definition,
        "path": ref.path,
        "attempt": ref.attempt,
        "executor": ref.executor,
        "engine_id": ref.engine,
    }


def _trace() -> dict[str, str]:
    """Ids of the current span; nothing is imported for it, so where nobody traces it is one look into a table."""
    tracing = sys.modules.get("strataflow.engine.tracing")
    return tracing.current_ids() if tracing is not None else {}


def as_json(record: logging.LogRecord) -> str:
    """A record as one JSON object on one line."""
    return json.dumps(fields_of(record), ensure_ascii=True, separators=(",", ":"), default=str)


def as_text(record: logging.LogRecord, *, traceback: bool) -> str:
    """A record as a line for people; its traceback on lines of their own, where it is wanted."""
    found = fields_of(record)
    line = f"{found['level']}: {escaped(found['message'])}"
    if "error" in found:
        line += f": {escaped(found['error'])}"
    more = [f"{name}={escaped(str(found[name]))}" for name in _SHOWN if name in found]
    line += f" [{' '.join(more)}]" if more else ""
    if not traceback or "traceback" not in found:
        return line
    return "\n".join([line, *(f"    {escaped(each)}" for each in found["traceback"].splitlines())])


class RateLimit(logging.Filter):
    """Lets so many records through; the first after a flood says how many were dropped. Errors pass always."""

    def __init__(self, rate: float = _RATE, burst: int = _BURST) -> None:
        super().__init__()
        self._rate, self._burst = rate, burst
        self._left = float(burst)
        self._at = time.monotonic()
        self._dropped = 0
        self._guard = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record is written."""
        now = time.monotonic()
        with self._guard:
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 1.0 and record.levelno < logging.ERROR:
                self._dropped += 1
                return False
            self._left = max(0.0, self._left - 1.0)
            if self._dropped:
                record.dropped, self._dropped = self._dropped, 0
        return True
