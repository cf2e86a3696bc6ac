"""The command line in tests: in this process for what it prints, as a real process for signals."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from strataflow.api.cli import app

WAIT_S = 40.0


@contextlib.contextmanager
def _loggers_kept() -> Iterator[None]:
    """A command takes the log of its process; here that is the tests' own."""
    loggers = [logging.getLogger(name) for name in ("strataflow", "uvicorn")]
    before = [(logger, list(logger.handlers), logger.propagate, logger.level) for logger in loggers]
    try:
        yield
    finally:
        for logger, handlers, propagate, level in before:
            logger.handlers[:] = handlers
            logger.propagate = propagate
            logger.setLevel(level)


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout; anything else there is an error."""
        return json.loads(self.out)


class Cli:
    """Runs commands in a folder of its own, on one database."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def __call__(
        self,
        *args: str | Path,
        code: int | None = 0,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> Ran:
        """Run a command in this process and expect an exit code (None: any)."""
        settings = {"STRATAFLOW_DB": self.url, "STRATAFLOW_DEBUG": "", "STRATAFLOW_IMPORT": "", **(env or {})}
        with _loggers_kept():
            result = CliRunner().invoke(app, [str(arg) for arg in args], env=settings, input=stdin)
        ran = Ran(result.exit_code, result.stdout, result.stderr)
        if code is not None:
            assert ran.code == code, (
                f"{args}: exit code {ran.code}\n{ran.out}\n{ran.err}\n{result.exception!r}"
            )
        assert "Traceback" not in ran.err + ran.out
        return ran

    def file(self, name: str, content: Any) -> Path:
        """Write a text as it is, anything else as JSON."""
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    def flow(self, nodes: Any, *, name: str = "t.flow", file: str = "flow.json", **fields: Any) -> Path:
        """Write a definition."""
        return self.file(file, {"dsl": "1", "name": name, "nodes": nodes, **fields})

    def spawn(self, *args: str | Path) -> subprocess.Popen[str]:
        """Start a command as a process of its own, in a process group of its own.

        Like the installed script it does not find modules of the current folder by itself (`-P`).
        """
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "strataflow", *map(str, args)],
            cwd=self.folder,
            env={**os.environ, "STRATAFLOW_DB": self.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End every process that is still there, with what it started: each leads a group of its own."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def states(self, instance_id: str) -> dict[str, str]:
        """States of an instance's tasks by path."""
        return {task["path"]: task["state"] for task in self("tasks", instance_id, "--json").json}

    def newest(self) -> Any:
        """The instance that was started last, or None."""
        listed = self("list", "--json", code=None)
        return (listed.json or [None])[0] if listed.code == 0 else None


def until(condition: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
    """Give what a condition gives once it holds."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found
