"""What a database's own facts mean for durability: the part of `doctor` that differs between the two databases."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..repositories.health import PostgresFacts, SqliteFacts
from .checks import Check

__all__ = ["check_postgres", "check_sqlite", "filesystem_of"]

_OLDEST_SQLITE: Final = (3, 40)
_OLDEST_POSTGRES: Final = 140000
_NETWORK: Final = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs", "vboxsf"}
)
_MEMORY: Final = frozenset({"ramfs", "tmpfs"})
_LITTLE_SPACE: Final = 1 << 30


def check_sqlite(path: Path, facts: SqliteFacts) -> Iterator[Check]:
    """Library, journal, file system, space."""
    if tuple(int(part) for part in facts.version.split(".")[:2]) < _OLDEST_SQLITE:
        yield Check(
            "sqlite", "fail", f"SQLite {facts.version} is too old", "Use a Python with SQLite 3.40 or newer."
        )
    elif facts.journal_mode != "wal":
        hint = "Open it once with `strataflow worker --drain`; if that does not help, its folder cannot hold WAL files."
        yield Check(
            "sqlite", "warn", f"SQLite {facts.version}, journal mode {facts.journal_mode}, not wal", hint
        )
    else:
        yield Check("sqlite", "ok", f"SQLite {facts.version}, write-ahead log")
    yield _file_system(path)
    free = shutil.disk_usage(path.parent).free
    message = f"{free / (1 << 30):.1f} GiB free beside {path.name}"
    hint = "Make room: without space nothing can be written."
    yield Check("space", "ok", message) if free >= _LITTLE_SPACE else Check("space", "warn", message, hint)


def _file_system(path: Path) -> Check:
    kind = filesystem_of(path)
    if kind in _NETWORK:
        hint = "Move the file to a local disk, or use Postgres: over a network file locks are not reliable."
        return Check("filesystem", "fail", f"{path.name} lies on {kind}, a network file system", hint)
    if kind in _MEMORY:
        hint = "Move the file to a disk if it shall outlive a restart of the machine."
        return Check("filesystem", "warn", f"{path.name} lies on {kind}, in memory", hint)
    return Check("filesystem", "ok", f"{path.name} lies on {kind or 'a file system of unknown kind'}")


def filesystem_of(path: Path) -> str | None:
    """Kind of the file system under a path; None where the system does not tell."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    best, kind = "", None
    target = path.resolve()
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = left.split()[4].replace("\\040", " ")
        if target.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, right.split()[0]
    return kind


def check_postgres(facts: PostgresFacts) -> Iterator[Check]:
    """Version, durability, connections."""
    settings = facts.settings
    version = settings.get("server_version", "?")
    if int(settings.get("server_version_num", "0")) < _OLDEST_POSTGRES:
        yield Check("postgres", "fail", f"Postgres {version} is too old", "Use Postgres 14 or newer.")
    elif facts.in_recovery:
        yield Check("postgres", "fail", f"Postgres {version} is a standby", "Connect to the primary.")
    else:
        yield Check("postgres", "ok", f"Postgres {version}")
    unsafe = [
        f"{name} = {settings[name]}"
        for name in ("fsync", "full_page_writes", "synchronous_commit")
        if settings.get(name) == "off"
    ]
    if unsafe:
        message = f"{', '.join(unsafe)}: a crash of the server may lose what was acknowledged"
        yield Check("durability", "warn", message, "Switch them on in postgresql.conf, but for tests.")
    else:
        yield Check("durability", "ok", "fsync, full_page_writes and synchronous_commit are on")
    limit = int(settings.get("max_connections", "0"))
    message = f"{facts.connections} of {limit} connections are in use"
    hint = "Raise max_connections, or put a transaction pooler between; an engine process uses about ten."
    full = limit and facts.connections > limit * 0.9
    yield Check("connections", "warn", message, hint) if full else Check("connections", "ok", message)
