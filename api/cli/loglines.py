"""The engine's own log on stderr: lines for people, or one JSON object a line."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

from .output import debugging, note

__all__ = ["LogLines", "show_log"]

#: What every record has; whatever else one carries is its own.
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: Loggers whose records are shown: ours, and the web server's complaints.
_LOGGERS: Final = ("strataflow", "uvicorn")


class LogLines(logging.Handler):
    """Log records as single lines on stderr; a traceback only for those who asked for it, and in JSON."""

    def __init__(self, level: int, *, as_json: bool) -> None:
        super().__init__(level)
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        note(_json(record) if self._as_json else _line(record))


def _line(record: logging.LogRecord) -> str:
    text = f"{record.levelname.lower()}: {record.getMessage()}"
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        text += f": {type(error).__name__}: {error}"
        if debugging():
            text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text


def _json(record: logging.LogRecord) -> str:
    found: dict[str, Any] = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
        "pid": record.process,
        "thread": record.threadName,
    }
    found |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        found["error"] = f"{type(error).__name__}: {error}"
        found["traceback"] = logging.Formatter().formatException(record.exc_info)
    return json.dumps(found, ensure_ascii=False, default=str)


def show_log(form: str = "text", level: str = "warning") -> None:
    """Let the engine's own log reach stderr: `text` or `json`, from a level on."""
    least = min(logging.INFO, _number(level)) if debugging() else _number(level)
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        for handler in [each for each in logger.handlers if isinstance(each, LogLines)]:
            logger.removeHandler(handler)
        logger.addHandler(LogLines(least, as_json=form == "json"))
        logger.propagate = False
        logger.setLevel(min(least, logging.WARNING))


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
