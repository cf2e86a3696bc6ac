"""The engine's side of a `TaskContext`: log lines, progress and checkpoints of one attempt, fenced like its outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from ..executors.base import Json
from .errors import StaleLease
from .events import Applied, LogLineNote, Note
from .payload import decode, encode
from .rows import BEAT
from .transaction import Pending

__all__ = ["MAX_LOG_LINES", "AttemptPort"]

#: Lines kept back until the next write; beyond it the oldest are written at once.
_FLUSH_LINES: Final = 100
_FLUSH_S: Final = 0.5
_PROGRESS_S: Final = 0.1
_BEAT_S: Final = 1.0
#: Lines one attempt may store; what comes after is dropped, with one line that says so.
MAX_LOG_LINES: Final = 10_000
_MAX_LINE: Final = 16 * 1024


class AttemptPort:
    """Implements `executors.base.ContextPort` for one attempt. Safe to call from the executor's thread."""

    def __init__(
        self,
        *,
        instance_id: str,
        path: str,
        attempt: int,
        engine: str,
        submit: Callable[[Pending], None],
        load: Callable[[str, str], str | None],
    ) -> None:
        self._key = (instance_id, path, attempt, engine)
        self._submit = submit
        self._load = load
        self._lock = threading.Lock()
        self._lines: list[LogLineNote] = []
        self._count = 0
        self._last_flush = time.monotonic()
        self._last_progress = 0.0
        self._unsent: tuple[float, str | None] | None = None
        self._last_beat = 0.0
        #: When the attempt last gave a sign of life, by `time.monotonic()`.
        self.last_sign = time.monotonic()

    def log(self, level: str, message: str) -> None:
        """Keep a line; written with the next note, at the latest with the outcome."""
        self.last_sign = time.monotonic()
        line = LogLineNote(time.time_ns() // 1000, level[:8], _clean(message))
        with self._lock:
            self._count += 1
            if self._count > MAX_LOG_LINES:
                if self._count > MAX_LOG_LINES + 1:
                    return
                line = LogLineNote(
                    line.at, "warning", f"more than {MAX_LOG_LINES} lines: the rest is dropped"
                )
            self._lines.append(line)
            due = len(self._lines) >= _FLUSH_LINES or time.monotonic() - self._last_flush > _FLUSH_S
        if due:
            self._submit(Pending(Note(*self._key, logs=self.take_logs())))

    def take_logs(self) -> tuple[LogLineNote, ...]:
        """Lines not written yet; the caller writes them."""
        with self._lock:
            lines, self._lines = tuple(self._lines), []
            self._last_flush = time.monotonic()
        return lines

    def progress(self, fraction: float, message: str | None) -> None:
        """Publish progress, at most every tenth of a second; the newest always goes out, at the latest at the end."""
        now = self.last_sign = time.monotonic()
        with self._lock:
            self._unsent = (fraction, _clean(message) if message is not None else None)
            if fraction < 1.0 and now - self._last_progress < _PROGRESS_S:
                return
            self._last_progress = now
        self.flush_progress()

    def flush_progress(self) -> None:
        """Send the newest progress that was held back; called before the attempt's outcome."""
        with self._lock:
            unsent, self._unsent = self._unsent, None
        if unsent is not None:
            note = Note(*self._key, logs=self.take_logs(), fraction=unsent[0], message=unsent[1])
            self._submit(Pending(note))

    def save_checkpoint(self, value: Json) -> None:
        """Blocks until the commit. Raises StaleLease when this attempt no longer holds its task."""
        done = threading.Event()
        answers: list[Any] = []

        def answered(answer: Any) -> None:
            answers.append(answer)
            done.set()

        self._submit(Pending(Note(*self._key, checkpoint=encode(value)), answered))
        done.wait()
        self.last_sign = time.monotonic()
        answer = answers[0]
        if not isinstance(answer, Applied):
            raise answer
        if answer.status == "stale":
            raise StaleLease(
                f"attempt {self._key[2]} no longer holds task {self._key[1]!r}.",
                hint="Its checkpoint was dropped.",
            )

    def heartbeat(self, details: Json) -> None:
        """A sign of life; its details are written at most once a second."""
        now = self.last_sign = time.monotonic()
        text = encode(details)
        with self._lock:
            if now - self._last_beat < _BEAT_S and self._last_beat:
                return
            self._last_beat = now
        self._submit(Pending(Note(*self._key, beat=text)))

    def last_heartbeat(self) -> Json:
        """Details of the last heartbeat of any attempt, or None."""
        text = self._load(self._key[0], self._key[1] + BEAT)
        return decode(text) if text is not None else None

    def load_checkpoint(self) -> Json:
        """The last committed checkpoint of any attempt, or None."""
        text = self._load(self._key[0], self._key[1])
        return decode(text) if text is not None else None


def _clean(message: str) -> str:
    """Text that both databases store: no NUL, no lone surrogates, bounded."""
    text = str(message)[:_MAX_LINE].replace("\x00", "\\0")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
