"""Several worker processes under one parent, which starts them, replaces what dies, and stops them together.

Processes are spawned, not forked: a fork would copy threads' locks and open connections. A child ignores Ctrl-C (the
parent passes the wish on as SIGTERM) and stops by itself when its parent is gone.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import connection
from typing import TYPE_CHECKING, Final

from .errors import CommandFailed
from .loglines import show_log
from .output import note
from .stopping import Stop, stop_signals

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from ...services.container import Options

__all__ = ["run_fleet"]

_LOOK_S: Final = 0.2
#: Given to children beyond the grace of their tasks.
_PATIENCE_S: Final = 20.0
#: A process that dies is replaced after this pause: one that cannot live must not be started all the time.
_PAUSE_S: Final = 1.0


def run_fleet(options: Options, count: int, *, drain: bool, log: tuple[str, str]) -> bool:
    """Run `count` engines until asked to stop, or until nothing is left; True in the second case."""
    fleet = _Fleet(options, drain=drain, log=log)
    with stop_signals(at_once=fleet.kill) as stop:
        for _ in range(count):
            fleet.start()
        note(f"{count} workers work{' until nothing is left' if drain else ''}; Ctrl-C stops them.")
        try:
            while fleet.running and not stop.is_set():
                fleet.look(stop)
        finally:
            if stop.is_set():
                note(f"Stopping {len(fleet.running)} workers; running tasks have {options.grace_s:g} s.")
            fleet.stop(options.grace_s + _PATIENCE_S)
    return drain and not stop.is_set()


class _Fleet:
    def __init__(self, options: Options, *, drain: bool, log: tuple[str, str]) -> None:
        self._options = options
        self._log = log
        self._drain = drain
        self._context = multiprocessing.get_context("spawn")
        self.running: list[SpawnProcess] = []

    def start(self) -> None:
        """Add a process."""
        process = self._context.Process(
            target=_work, args=(self._options, self._drain, self._log), name="strataflow-worker"
        )
        with _ignoring_interrupts():
            process.start()
        self.running.append(process)

    def look(self, stop: Stop) -> None:
        """Wait a little for one to end; replace it if it was killed, give up if it failed."""
        connection.wait([process.sentinel for process in self.running], timeout=_LOOK_S)
        for process in [each for each in self.running if not each.is_alive()]:
            self.running.remove(process)
            code = process.exitcode or 0
            if code > 0:
                raise CommandFailed("a worker process could not go on; its message stands above.")
            if code < 0 and not stop.wait(_PAUSE_S):
                note(f"A worker was ended by signal {-code}; another takes its place.")
                self.start()

    def stop(self, patience_s: float) -> None:
        """Ask all to stop, and end those that do not."""
        for process in self.running:
            process.terminate()
        deadline = time.monotonic() + patience_s
        for process in self.running:
            process.join(max(0.1, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """End all at once."""
        for process in self.running:
            process.kill()


@contextmanager
def _ignoring_interrupts() -> Generator[None]:
    """A process started inside ignores SIGINT from its first instruction on."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(options: Options, drain: bool, log: tuple[str, str]) -> None:  # noqa: FBT001 - by position in a process
    """What a child does."""
    from .errors import code_of, message_of
    from .worker import serve

    show_log(*log)
    with stop_signals(interrupt=False) as stop:
        _stop_with_parent(stop)
        try:
            serve(options, stop, drain=drain, say=_silent)
        except Exception as exc:  # noqa: BLE001 - the border of this process
            note(f"error: {message_of(exc)}")
            raise SystemExit(code_of(exc)) from None


def _silent(_text: str) -> None:
    return


def _stop_with_parent(stop: Stop) -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        stop.set()

    threading.Thread(target=watch, name="strataflow-parent", daemon=True).start()
