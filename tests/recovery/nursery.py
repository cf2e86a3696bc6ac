"""Forks engine processes fast: one process that has imported everything already, and forks a child per request.

Importing the engine takes a second, a fork ten milliseconds: that is the difference between twenty kills and thousands.
Children are ended by their process descriptor, never by name; when the test process goes away, so do they.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["Child", "Nursery", "until"]

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")


def until(
    what: Callable[[], T],
    timeout_s: float = 20.0,
    *,
    pause_s: float = 0.01,
    why: str | Callable[[], str] = "the condition",
) -> T:
    """Poll until `what()` is true and give it. Raises AssertionError after `timeout_s`, saying what was waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s for {why() if callable(why) else why}")
        time.sleep(pause_s)


class Child:
    """One forked engine process; what it reports stands in its notes, a file of JSON lines."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.pid = pid
        self.folder = folder
        try:
            self._fd: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._fd = None

    def notes(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What the child has said so far."""
        path = self.folder / "notes"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [note for note in found if kind is None or note["note"] == kind]

    def await_note(self, kind: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """Wait for a note; a child that died without it fails at once."""

        def look() -> dict[str, Any] | None:
            dead = not self.alive
            found = self.notes(kind)
            assert found or not dead, f"the child ended without {kind!r}:\n{self.errors()}"
            return found[0] if found else None

        return until(look, timeout_s, why=f"note {kind!r}") or {}

    def errors(self) -> str:
        """The tail of what it wrote to stderr."""
        path = self.folder / "stderr"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    @property
    def alive(self) -> bool:
        return self._fd is not None and not select.select([self._fd], [], [], 0)[0]

    def send(self, number: signal.Signals) -> None:
        """Signal exactly this process."""
        if self._fd is not None:
            try:
                signal.pidfd_send_signal(self._fd, number)
            except ProcessLookupError:
                return

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.send(signal.SIGKILL)
        self.join(10.0)

    def join(self, timeout_s: float = 60.0) -> None:
        """Wait for its end."""
        until(
            lambda: not self.alive,
            timeout_s,
            pause_s=0.002,
            why=f"the end of child {self.pid}:\n{self.errors()}",
        )

    def close(self) -> None:
        """End it if it still runs."""
        self.kill()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Nursery:
    """The process that forks, and every child it made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._children: list[Child] = []
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.recovery.nursery"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def spawn(self, spec: dict[str, Any]) -> Child:
        """Fork a child that runs `tests.recovery.child.run(spec)`."""
        self._count += 1
        folder = self._folder / f"child-{self._count}"
        folder.mkdir()
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps({"folder": str(folder), "spec": spec}) + "\n")
        self._server.stdin.flush()
        child = Child(int(self._server.stdout.readline()), folder)
        self._children.append(child)
        return child

    def end_children(self) -> None:
        """Kill whatever still runs."""
        for child in self._children:
            child.close()
        self._children.clear()

    def close(self) -> None:
        """End everything."""
        self.end_children()
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(20)


def _serve() -> None:
    from tests.recovery import child

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children: the kernel buries them
    pids: list[int] = []
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(child.run, request)
        pids.append(pid)
        print(pid, flush=True)
    for pid in pids:
        _end(pid)


def _become(run: Callable[[dict[str, Any], Path], None], request: dict[str, Any]) -> None:
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        folder = Path(request["folder"])
        quiet = os.open(os.devnull, os.O_RDWR)
        errors = os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for target, source in ((0, quiet), (1, quiet), (2, errors)):
            os.dup2(source, target)
        run(request["spec"], folder)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the test wants to read it
        import traceback

        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _end(pid: int) -> None:
    """Kill a child of ours that outlived the test; the number may be somebody else's by now, so look first."""
    try:
        parent = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[1]
        if int(parent) == os.getpid():
            os.kill(pid, signal.SIGKILL)
    except (OSError, IndexError, ValueError):
        return


if __name__ == "__main__":
    _serve()
