"""The log of a process on stderr: lines for people, or one JSON object a line, as services/log_sink.py makes them."""

from __future__ import annotations

import logging
from typing import Final

from ...services.log_sink import RateLimit, as_json, as_text
from .output import debugging, note

__all__ = ["LogLines", "show_log"]

#: Loggers whose records are shown: ours, and the web server's complaints.
_LOGGERS: Final = ("strataflow", "uvicorn")


class LogLines(logging.Handler):
    """Log records on stderr; as text a traceback only for those who asked for it."""

    def __init__(self, level: int, *, json: bool) -> None:
        super().__init__(level)
        self._json = json

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        note(as_json(record) if self._json else as_text(record, traceback=debugging()))


def show_log(form: str = "text", level: str = "warning") -> None:
    """Let the log reach stderr: `text` or `json`, from a level on."""
    least = logging.getLevelNamesMapping()[level.upper()]
    if debugging():
        least = min(logging.INFO, least)
    handler = LogLines(least, json=form == "json")
    handler.addFilter(RateLimit())
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        for before in [each for each in logger.handlers if isinstance(each, LogLines)]:
            logger.removeHandler(before)
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(min(least, logging.WARNING))
