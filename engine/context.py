"""The engine's side of a `TaskContext`: log lines, progress and checkpoints of one attempt, fenced like its outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from ..executors.base import Json, TaskTransaction
from ..repositories.records import MessageRow
from .course import PROGRESS_LEVEL, Course
from .errors import PayloadError, StaleLease
from .events import Applied, LogLineNote, Note, TaskEnded
from .outcomes import Outcome, Succeeded
from .payload import decode, encode
from .rows import BEAT
from .surroundings import Surrounding
from .transaction import Pending

__all__ = ["MAX_LOG_BYTES", "MAX_LOG_LINES", "AttemptPort"]

#: Lines kept back until the next write; beyond it the oldest are written at once.
_FLUSH_LINES: Final = 100
_FLUSH_S: Final = 0.5
_PROGRESS_S: Final = 0.1
_BEAT_S: Final = 1.0
#: What one attempt may store; what comes after is dropped, with one line that says so. Attempt n has an nth of it, so
#: that a task that is tried again and again does not fill the database either.
MAX_LOG_LINES: Final = 10_000
MAX_LOG_BYTES: Final = 4 * 1024 * 1024
#: … but so many lines, of so many bytes, in any case.
_LEAST_LINES: Final = 20
_LEAST_BYTES: Final = 32 * 1024
#: Errors for which there is room even then.
_ERRORS: Final = 4
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
        spawn: Callable[[str | Mapping[str, Any], Json, str], MessageRow],
        joint: Callable[[Callable[[Any], TaskEnded]], AbstractContextManager[TaskTransaction]],
    ) -> None:
        self._key = (instance_id, path, attempt, engine)
        self._prepare_child = spawn
        self._joint = joint
        self._spawned = 0
        #: Makes the outcome of a result.
        self.outcome_of: Callable[[Any], Outcome] = lambda _: Succeeded()
        #: True once a transaction of the executor's own has recorded the attempt's success.
        self.recorded = False
        #: Takes secrets out of what the executor says.
        self.mask: Callable[[str], str] = str
        self._around: Surrounding | None = None
        self._submit = submit
        self._load = load
        self._lock = threading.Lock()
        self._lines: list[LogLineNote] = []
        self._lines_left = max(_LEAST_LINES, MAX_LOG_LINES // max(1, attempt))
        self._bytes_left = max(_LEAST_BYTES, MAX_LOG_BYTES // max(1, attempt))
        self._errors_left = _ERRORS
        self._last_flush = time.monotonic()
        self._last_progress = 0.0
        self._course = Course(attempt)
        self._unsent: tuple[float, str | None] | None = None
        self._last_beat = 0.0
        #: When the attempt last gave a sign of life, by `time.monotonic()`.
        self.last_sign = time.monotonic()

    def begin(
        self,
        outcome_of: Callable[[Any], Outcome],
        mask: Callable[[str], str],
        around: Surrounding | None = None,
    ) -> None:
        """Called before the executor begins: what makes the outcome of its result, and what hides its secrets."""
        self.outcome_of, self.mask, self._around = outcome_of, mask, around

    def log(self, level: str, message: str) -> None:
        """Keep a line; written with the next note, at the latest with the outcome."""
        self.last_sign = time.monotonic()
        line = LogLineNote(time.time_ns() // 1000, level[:8], _clean(self.mask(str(message))))
        if self._around is not None:
            self._around.log(line.level, line.message)
        with self._lock:
            if self._lines_left < 0 and (level != "error" or not self._errors_left):
                return
            if self._lines_left < 0:  # why it failed is told however much it has talked before
                self._errors_left -= 1
                self._lines.append(line)
                return
            self._lines_left -= 1
            self._bytes_left -= len(line.message.encode())
            if self._lines_left < 0 or self._bytes_left < 0:
                self._lines_left = -1
                line = LogLineNote(line.at, "warning", "the attempt has logged too much: the rest is dropped")
            self._lines.append(line)
            due = len(self._lines) >= _FLUSH_LINES or time.monotonic() - self._last_flush > _FLUSH_S
        if due:
            self._submit(Pending(Note(*self._key, logs=self.take_logs())))

    def trace_headers(self) -> Mapping[str, str]:
        """What carries the trace to another service; empty where nobody traces."""
        return self._around.headers() if self._around is not None else {}

    def take_logs(self) -> tuple[LogLineNote, ...]:
        """Lines not written yet; the caller writes them."""
        with self._lock:
            lines, self._lines = tuple(self._lines), []
            self._last_flush = time.monotonic()
        return lines

    def progress(self, fraction: float, message: str | None) -> None:
        """Publish progress, at most every tenth of a second; the newest always goes out, at the latest at the end."""
        now = self.last_sign = time.monotonic()
        text = _clean(self.mask(str(message))) if message is not None else None
        with self._lock:
            self._unsent = (fraction, text)
            line = self._course.line(fraction, text)
            if line is not None:
                self._lines.append(LogLineNote(time.time_ns() // 1000, PROGRESS_LEVEL, line))
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
        self._told(Note(*self._key, checkpoint=encode(value)), "Its checkpoint was dropped.")

    def spawn(self, target: str | Mapping[str, Any], inputs: Json, key: str | None) -> str:
        """Blocks until the commit. Raises what a start raises, and StaleLease."""
        if key is None:
            with self._lock:
                self._spawned += 1
                key = f"#{self._spawned}"
        message = self._prepare_child(target, inputs, key)
        self._told(Note(*self._key, spawned=message), "Its child was not started.")
        return message.instance_id

    @contextmanager
    def transaction(self) -> Generator[TaskTransaction]:
        """The block's commit is the attempt's success. Raises StaleLease, with everything rolled back."""
        with self._joint(self._success) as transaction:
            yield transaction
        self.recorded = True

    def _success(self, value: Any) -> TaskEnded:
        outcome = self.outcome_of(value)
        if not isinstance(outcome, Succeeded):
            raise PayloadError(f"the transaction's result cannot be stored: {outcome}")
        return TaskEnded(*self._key, outcome, self.take_logs())

    def _told(self, note: Note, lost: str) -> None:
        """Submit a note and wait for its commit."""
        done = threading.Event()
        answers: list[Any] = []

        def answered(answer: Any) -> None:
            answers.append(answer)
            done.set()

        self._submit(Pending(note, answered))
        done.wait()
        self.last_sign = time.monotonic()
        answer = answers[0]
        if not isinstance(answer, Applied):
            raise answer
        if answer.status == "stale":
            raise StaleLease(
                f"attempt {self._key[2]} no longer holds task {self._key[1]!r}.",
                hint=lost,
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
