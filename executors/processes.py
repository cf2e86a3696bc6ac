"""Runs one command in its own process group, with bounded output.

A group, because a shell's children outlive the shell: ending an attempt ends all of them, SIGTERM first,
SIGKILL after `KILL_GRACE_S`. What still holds the outputs `DRAIN_S` after the command itself ended is ended
too; a background process that gave them up lives on, as after a shell. What leaves the group (`setsid`) is
beyond reach, and so is everything after a kill -9 of the engine. POSIX only.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

__all__ = ["DRAIN_S", "KILL_GRACE_S", "Finished", "OutputOverflow", "run_process"]

#: Seconds between SIGTERM and SIGKILL.
KILL_GRACE_S: Final = 5.0
#: Seconds for output to end after the command itself ended.
DRAIN_S: Final = 1.0


Spawn = asyncio.Task[tuple[asyncio.SubprocessTransport, asyncio.SubprocessProtocol]]


@dataclass(slots=True, frozen=True)
class Finished:
    """How a command ended: its exit code (negative: minus the signal's number) and all it wrote."""

    code: int
    stdout: bytes
    stderr: bytes


class OutputOverflow(Exception):
    """Raised when a command wrote more than the cap to one of its outputs; it was killed."""

    def __init__(self, stream: str, cap: int) -> None:
        super().__init__(f"the command wrote more than {cap // 1_000_000} MB to {stream}")


async def run_process(
    argv: Sequence[str], *, cwd: str | None, env: Mapping[str, str], stdin: bytes | None, cap: int
) -> Finished:
    """Run to the end; a cancellation ends the whole group first. Raises OSError, OutputOverflow."""
    loop = asyncio.get_running_loop()
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    output = _Output(cap)
    spawn = loop.create_task(
        loop.subprocess_exec(
            lambda: output,
            *argv,
            stdin=null if stdin is None else pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=cwd,
            env=dict(env),
            start_new_session=True,
        )
    )
    transport = await _spawned(spawn, output)
    try:
        if stdin is not None:
            _feed(transport, stdin)
        return await output.finished(transport)
    finally:
        await _close(transport, output)


async def _spawned(spawn: Spawn, output: _Output) -> asyncio.SubprocessTransport:
    """The process, once it began. Shielded: a loop that is cancelled here kills the first process, not its group."""
    try:
        return (await asyncio.shield(spawn))[0]
    except asyncio.CancelledError:
        await asyncio.wait((spawn,))
        if spawn.exception() is None:
            await _close(spawn.result()[0], output)
        raise


async def _close(transport: asyncio.SubprocessTransport, output: _Output) -> None:
    """End what still runs, and let the loop close the pipes before it may itself be closed."""
    if not (output.exited.done() and output.drained.done()):
        await _end_group(transport.get_pid(), output)
    transport.close()
    await asyncio.wait((output.lost,), timeout=DRAIN_S)


class _Output(asyncio.SubprocessProtocol):
    """Collects both outputs; its futures tell when the process, its outputs and the transport ended."""

    def __init__(self, cap: int) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.drained: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.overflow: OutputOverflow | None = None
        self._pid = 0
        self._cap = cap
        self._data = {1: bytearray(), 2: bytearray()}
        self._open = {1, 2}

    async def finished(self, transport: asyncio.SubprocessTransport) -> Finished:
        # Through `wait`, because a cancelled task cancels the future that it awaits itself.
        await asyncio.wait((self.exited,))
        await asyncio.wait((self.drained,), timeout=DRAIN_S)
        if self.overflow is not None:
            raise self.overflow
        code = transport.get_returncode()
        return Finished(-1 if code is None else code, bytes(self._data[1]), bytes(self._data[2]))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._pid = cast("asyncio.SubprocessTransport", transport).get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if len(self._data[fd]) + len(data) <= self._cap:
            self._data[fd] += data
        elif self.overflow is None:
            self.overflow = OutputOverflow("stdout" if fd == 1 else "stderr", self._cap)
            _signal_group(self._pid, signal.SIGKILL)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        if not self._open:
            _tell(self.drained)

    def process_exited(self) -> None:
        _tell(self.exited)

    def connection_lost(self, exc: Exception | None) -> None:
        _tell(self.lost)


def _tell(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _feed(transport: asyncio.SubprocessTransport, data: bytes) -> None:
    """A command that does not read is no error, nor one that has ended, and its pipe with it, before it is fed."""
    pipe = cast("asyncio.WriteTransport | None", transport.get_pipe_transport(0))
    if pipe is None:
        return
    with suppress(RuntimeError, OSError):  # uvloop raises RuntimeError for a pipe that is closed
        pipe.write(data)
    pipe.close()  # after what is written has been read


async def _end_group(pid: int, output: _Output) -> None:
    """SIGTERM, a grace, SIGKILL. The group's id is the pid of its first process, which began a session.

    The grace ends when the command ended and nobody holds its outputs: asking the group itself would also count
    what is dead and only waits for its parent to notice.
    """
    _signal_group(pid, signal.SIGTERM)
    try:
        await asyncio.wait((output.exited, output.drained), timeout=KILL_GRACE_S)
    finally:
        _signal_group(pid, signal.SIGKILL)
    await asyncio.wait((output.exited,), timeout=DRAIN_S)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
