"""This process as an engine in the database: its id, its lease, its file lock, its batch number.

The id is new at every process start, so an owner can never be confused with an earlier one. The lease is trusted only
until *request start* + TTL - margin, by the monotonic clock. The file lock lets another engine on the same machine see
at once that this process is gone; a process number alone never does (PROTOCOL-NOTES H15).
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from uuid_utils.compat import uuid7

from ..repositories.url import DatabaseUrl

try:
    import fcntl
except ImportError:  # no such locks on this system: leases alone decide
    fcntl = None

__all__ = ["FileLock", "Membership", "boot_id", "lock_folder", "new_id"]

log: Final = logging.getLogger("strataflow.membership")


def new_id() -> str:
    """A UUIDv7 as text: ordered by time, so that new rows lie side by side."""
    return str(uuid7())


def boot_id() -> str | None:
    """Names this boot of this machine; None where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def lock_folder(url: DatabaseUrl) -> Path:
    """Where the lock files of this database's engines lie: beside the SQLite file, else in the runtime folder."""
    if url.path is not None:
        return url.path.with_name(url.path.name + "-engines")
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"strataflow-{os.getuid() if os.name == 'posix' else 'user'}"


class FileLock:
    """An exclusive lock on a file, held as long as this object or the process lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def take(self) -> bool:
        """Take the lock; True when it is ours now.

        The file is opened for this alone: closing any other handle to it would drop the lock.
        """
        if fcntl is None:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = self.path.open("ab")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            return False
        self._file = handle
        return True

    def free(self, *, remove: bool) -> None:
        """Give the lock up; `remove` the file while it is still held."""
        if self._file is not None:
            if remove:
                self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


@dataclass(slots=True, frozen=True)
class Lease:
    """How long an engine may be silent before others take its tasks."""

    ttl_s: float = 30.0
    #: Safety margin by which this engine stops trusting its own lease earlier.
    margin_s: float = 3.0

    @property
    def ttl(self) -> int:
        """The same in microseconds."""
        return round(self.ttl_s * 1_000_000)


class Membership:
    """One life of this engine in the database. After a loss a new one is made."""

    def __init__(self, url: DatabaseUrl, *, executes: bool, lease: Lease) -> None:
        self.id = new_id()
        self.executes = executes
        self.lease = lease
        self.host = socket.gethostname()
        self.pid = os.getpid()
        self.boot_id = boot_id()
        self._file_lock = FileLock(lock_folder(url) / f"{self.id}.lock")
        self._locked = self._file_lock.take()
        self._batch = 0
        self._trusted_until = 0.0
        self._guard = threading.Lock()
        #: Set when the database says that this engine is not alive, or the lease ran out unrenewed.
        self.lost = threading.Event()

    @property
    def lock_file(self) -> str | None:
        """Path of the file lock, None where there is none."""
        return str(self._file_lock.path) if self._locked else None

    def next_batch(self) -> int:
        """Number of the next transaction: its receipt in the engine's row."""
        self._batch += 1
        return self._batch

    @property
    def batch(self) -> int:
        """Number of the last batch."""
        return self._batch

    def renewed(self, request_started: float) -> None:
        """A renewal that began at `request_started` (monotonic) succeeded."""
        with self._guard:
            until = request_started + self.lease.ttl_s - self.lease.margin_s
            self._trusted_until = max(self._trusted_until, until)

    @property
    def trusted(self) -> bool:
        """May this engine still believe that it owns its tasks?"""
        return not self.lost.is_set() and time.monotonic() < self._trusted_until

    def close(self) -> None:
        """Give up the file lock; the row must say `stopped` or `dead` by now."""
        self._file_lock.free(remove=True)
