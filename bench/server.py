"""A private Postgres with default durability (fsync and synchronous_commit on) on loopback, ended by its pid."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg

__all__ = ["durable_postgres", "fresh_database"]

_DEADLINE_S = 30.0


def _binaries() -> Path:
    found = shutil.which("initdb")
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    if places:
        return places[-1]
    if found:
        return Path(found).resolve().parent
    raise SystemExit("bench needs Postgres server binaries, or --pg URL of a server with an empty database")


def _as_server() -> list[str]:
    """Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("postgres")
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def durable_postgres() -> Generator[str]:
    """Yield the URL of an empty database; the server's data lies on the same disk as the temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="strataflow-bench-"))
    folder.chmod(0o777)
    bin_dir, become, port = _binaries(), _as_server(), _free_port()
    subprocess.run(
        [*become, bin_dir / "initdb", "-D", folder / "data", "-A", "trust", "-U", "bench", "--no-sync"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    options = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    log = (folder / "log").open("wb")
    server = subprocess.Popen(
        [*become, bin_dir / "postgres", "-D", folder / "data", *options], stdout=log, stderr=log
    )
    try:
        url = f"postgresql://bench@127.0.0.1:{port}/postgres"
        _wait(url)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=_DEADLINE_S)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url: str) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=1).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def fresh_database(base: str, name: str) -> str:
    """Make an empty database of this name on the server of `base`, dropping one that is there, and give its URL."""
    with psycopg.connect(base, autocommit=True) as db:
        db.execute(f'DROP DATABASE IF EXISTS "{name}"'.encode())
        db.execute(f'CREATE DATABASE "{name}"'.encode())
    return f"{base.rsplit('/', 1)[0]}/{name}"
