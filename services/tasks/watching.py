"""Who is told when tasks have ended: one thread looks for all of them, callbacks run on threads of their own.

The thread asks the database once for all tasks that are watched. It looks at once when an attempt in this process is
over or another process says that something happened, and otherwise less and less often, at last every half second. It
never spends more than a fifth of its time on looking, however many are watched and however much is said.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["Listener", "Watcher"]

log: Final = logging.getLogger("strataflow.tasks")
_SHORTEST_S: Final = 0.01
_LONGEST_S: Final = 0.5
_GROWTH: Final = 1.5
_CALLBACK_THREADS: Final = 4
_CALLBACKS: Final = "strataflow-callbacks"
#: How long a stop waits for callbacks that have begun.
_GRACE_S: Final = 5.0
#: Pause after a look, as a multiple of the time that it took.
_RESPITE: Final = 4.0
#: How long other processes are listened to when nothing is watched any more: the next wish often comes soon.
_LINGER_S: Final = 5.0
Callback = Callable[[], None]


@dataclass(slots=True, frozen=True)
class _Wish:
    callback: Callback
    #: Called instead when the watcher stops first.
    dropped: Callback | None
    #: It takes no time and cannot fail: no thread of the pool is needed.
    quick: bool


class Listener(Protocol):
    """Hears what other processes say."""

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> None:
        """End."""
        ...


class Watcher:
    """Calls back once for every task that has ended; `ended` says of these ids which have.

    `listener` makes what calls its argument when another process has done something; hints may be lost.
    """

    def __init__(
        self,
        ended: Callable[[Iterable[str]], set[str]],
        listener: Callable[[Callable[[], None]], Listener] | None = None,
    ) -> None:
        self._ended = ended
        self._listener = listener
        self._ears: Listener | None = None
        self._lock = threading.Lock()
        self._watched: dict[str, dict[int, _Wish]] = {}
        self._next = 0
        self._calling: set[Future[None]] = set()
        self._news = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None

    def watch(
        self, task_id: str, callback: Callback, dropped: Callback | None = None, *, quick: bool = False
    ) -> Callable[[], None]:
        """Call back when the task has ended, also when it has already; the answer takes the wish back.

        A `quick` callback is called on the thread that looks: it must not wait, nor raise.
        """
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._watched.setdefault(task_id, {})[number] = _Wish(callback, dropped, quick)
            if self._thread is None:
                self._stopping = False
                self._pool = ThreadPoolExecutor(_CALLBACK_THREADS, thread_name_prefix=_CALLBACKS)
                self._thread = threading.Thread(
                    target=self._run, args=(self._pool,), name="strataflow-watcher", daemon=True
                )
                self._thread.start()
        self._news.set()

        def unwatch() -> None:
            with self._lock:
                wishes = self._watched.get(task_id, {})
                wishes.pop(number, None)
                if not wishes:
                    self._watched.pop(task_id, None)

        return unwatch

    def poke(self) -> None:
        """Something may have ended: look."""
        if self._watched:
            self._news.set()

    def stop(self) -> None:
        """Look a last time, let callbacks that have begun end, and call the rest never."""
        with self._lock:
            thread, self._thread = self._thread, None
            pool, self._pool = self._pool, None
            self._stopping = True
        self._news.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5.0)
        if pool is not None:
            pool.shutdown(wait=False)
            if not threading.current_thread().name.startswith(_CALLBACKS):
                wait(list(self._calling), timeout=_GRACE_S)
        with self._lock:
            left = list(self._watched.values()) if self._thread is None else []
            if left:
                self._watched.clear()
        for wish in (wish for wishes in left for wish in wishes.values()):
            if wish.dropped is not None:
                _call(wish.dropped)

    def _run(self, pool: ThreadPoolExecutor) -> None:
        pause = _SHORTEST_S
        while True:
            news = self._wait(pause)
            last, began = self._stopping, time.monotonic()
            if not last:
                self._listen()
            try:
                found = self._look(pool)
            except Exception:
                log.exception("looking for ended tasks failed", extra={"action": "watch_failed"})
                found = False
            if last:
                self._deafen()
                return
            # an attempt that is over is committed a moment later: look soon again, but not without a breath
            took = time.monotonic() - began
            pause = _SHORTEST_S if news or found else min(_LONGEST_S, pause * _GROWTH)
            time.sleep(min(_LONGEST_S, max(_SHORTEST_S - took, _RESPITE * took)))

    def _wait(self, pause: float) -> bool:
        """Until there is news, or it is time to look again."""
        if not self._watched and self._ears is not None and not self._news.wait(_LINGER_S):
            self._deafen()
        news = self._news.wait(pause if self._watched else None)
        self._news.clear()
        return news

    def _listen(self) -> None:
        if self._ears is None and self._watched and self._listener is not None:
            self._ears = self._listener(self.poke)
            self._ears.start()

    def _deafen(self) -> None:
        ears, self._ears = self._ears, None
        if ears is not None:
            ears.stop()

    def _look(self, pool: ThreadPoolExecutor) -> bool:
        with self._lock:
            ids = list(self._watched)
        over = self._ended(ids) if ids else set[str]()
        with self._lock:
            told = [self._watched.pop(task_id) for task_id in over if task_id in self._watched]
        for wish in (wish for wishes in told for wish in wishes.values()):
            if wish.quick:
                _call(wish.callback)
                continue
            try:
                call = pool.submit(_call, wish.callback)
            except RuntimeError:  # the interpreter ends and gives no more threads
                _call(wish.callback)
                continue
            self._calling.add(call)
            call.add_done_callback(self._calling.discard)
        return bool(told)


def _call(callback: Callback) -> None:
    try:
        callback()
    except Exception:
        log.exception("a callback of a task failed", extra={"action": "callback_failed"})
