"""A small Postgres of a test's own, which it may crash and start again."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.support import postgres

__all__ = ["PrivateServer"]


class PrivateServer:
    """Made from the system's binaries, else from those of the wheel. Raises Unavailable without either."""

    def __init__(self, folder: Path) -> None:
        account = postgres.server_account()
        account.own(folder)
        try:
            binaries = postgres.system_bin()
        except postgres.Unavailable:
            binaries = postgres.wheel_bin(folder)
        made = postgres.binary_server(binaries, folder)
        assert isinstance(made, postgres.BinaryServer)
        self.url = made.url
        self._account = account
        self._data = folder / "data"
        self._log = folder / "server.log"
        self._process = made.process
        #: The command line of the first start, for the ones after it.
        self._command = [str(part) for part in made.process.args]  # pyright: ignore[reportGeneralTypeIssues]

    def crash(self) -> None:
        """Stop immediately: every backend is dropped, nothing is written, the next start recovers."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(20)

    def start(self) -> None:
        """Start again on the same port with the same data."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._data,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=postgres._environment(),
                **self._account.kwargs,
            )
        assert postgres._ready(self._process, self._data), self._log.read_text(errors="replace")[-1000:]

    def stop(self) -> None:
        """Shut it down for good."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
