"""The same commands on a database and at a server: two sites, and what each of them said with ids and times masked."""

from __future__ import annotations

import getpass
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.cli import Cli, Ran

_MASTER: Final = {"STRATAFLOW_MASTER_KEYS": "k1:" + "A" * 43 + "="}
_UUID: Final = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}(?:-[0-9a-f]{4}-[0-9a-f]{12})?\b")
#: What differs from run to run; the order matters.
_MASKS: Final = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+\d\d:\d\d)?"), "<instant>"),
    (re.compile(r"\b\d\d:\d\d:\d\d(?:\.\d+)?\b"), "<clock>"),
    (re.compile(r"\b\d+(?:\.\d+)? (?:ms|min|s|h)\b"), "<time>"),
    (re.compile(r"sf1\.[\w.-]+|whsec_\S+"), "<token>"),
    # who did something, at a server with the key's name
    (re.compile(rf" \((?:tests|{re.escape(getpass.getuser())})\)"), ""),
    (re.compile(rf"\b{re.escape(getpass.getuser())}\b|\btests\b"), "<who>"),
    (re.compile(r"--(?:db|server) \S+"), "<place>"),
    (re.compile(r"^ *\d+(?=  <clock>)", re.MULTILINE), "<seq>"),
    (re.compile(r'"above_since": ("<instant>"|null)'), '"above_since": 0'),
    (re.compile(r'"(seq|oldest_s|pid|mean_s|p95_s)": [\d.]+'), r'"\1": 0'),
    (re.compile(r"/\S*/site-\w+/"), "<folder>/"),
    (re.compile(r"[ \t]+"), " "),
)


def masked(text: str) -> str:
    """A text without what differs from run to run: ids become their number in the order of their appearance."""
    known: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return known.setdefault(found[0][:18], f"<id{len(known)}>")

    text = _UUID.sub(number, text)
    for pattern, instead in _MASKS:
        text = pattern.sub(instead, text)
    return "\n".join(line.strip() for line in text.splitlines())


@dataclass
class Site:
    """Where commands work, and a transcript of them."""

    cli: Cli
    env: Mapping[str, str]
    said: list[tuple[str, int, str]] = field(default_factory=list[tuple[str, int, str]])
    #: Names of the commands that were used.
    used: set[str] = field(default_factory=set[str])

    def __call__(
        self, *args: str | Path, code: int | None = 0, stdin: str | None = None, noted: bool = True
    ) -> Ran:
        """Run a command; what it said is compared with the other site's unless it is not to be `noted`."""
        ran = self.cli(*args, code=code, env=self.env, stdin=stdin)
        self.used.add(_name(args))
        if noted:
            told = ran.out or ran.err
            self.said.append((masked(" ".join(map(str, args))), ran.code, masked(told)))
        return ran

    def start(self, file: Path | str, *args: str, state: str | None = None) -> str:
        """Start a run and wait for a state, its end if none is said; gives its id."""
        one = self("start", file, *args, noted=False).out.strip()
        if state is None:
            self("wait", one, "--timeout", "40s", code=None, noted=False)
        else:
            self.until(one, state)
        return one

    def until(self, one: str, state: str) -> None:
        """Wait until a run is in a state, or one of its tasks is."""
        from tests.support.cli import until

        def there() -> bool:
            found = self("tasks", one, "--json", noted=False).json
            return any(each["state"] == state for each in found) or (
                self("status", one, "--json", noted=False).json["state"] == state
            )

        until(there)


def _name(args: tuple[str | Path, ...]) -> str:
    words = [str(arg) for arg in args]
    groups = {"queues", "limits", "schedules", "triggers", "keys", "secrets", "webhooks", "alerts"}
    return " ".join(words[:2]) if words[0] in groups else words[0]


@contextmanager
def worker(cli: Cli) -> Iterator[None]:
    """A worker on the database of a site, as a process of its own."""
    process = cli.spawn("worker")
    assert process.stderr is not None
    assert "works" in process.stderr.readline()
    said: list[str] = []
    reader = threading.Thread(target=said.extend, args=(process.stderr,))
    reader.start()
    try:
        yield
    finally:
        process.kill()
        process.wait(30)
        reader.join()


@contextmanager
def server(cli: Cli, *options: str) -> Iterator[str]:
    """`serve` on the database of a site, as a process of its own; gives its address."""
    process = cli.spawn("serve", "--port", "0", *options)
    said: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"Serving (https?://\S+)/api/v1", line):
            break
    else:
        pytest.fail(f"it did not start: {said}")
    reader = threading.Thread(target=said.extend, args=(process.stderr,))
    reader.start()
    try:
        yield found[1]
    finally:
        process.kill()
        process.wait(30)
        reader.join()


@contextmanager
def both(urls: tuple[str, str], folder: Path) -> Iterator[tuple[Site, Site]]:
    """A site with a database, and one with a server; a worker works for each."""
    with ExitStack() as stack:
        clis: list[Cli] = []
        for name, url in zip(("local", "remote"), urls, strict=True):
            (folder / f"site-{name}").mkdir()
            cli = Cli(url, folder / f"site-{name}")
            stack.callback(cli.close)
            clis.append(cli)
        here, there = clis
        token = there("keys", "create", "tests", "--scope", "*:*", env=_MASTER).out.strip()
        stack.enter_context(pytest.MonkeyPatch.context()).setenv(*next(iter(_MASTER.items())))
        stack.enter_context(worker(here))
        stack.enter_context(worker(there))
        address = stack.enter_context(server(there, "--no-engine"))
        yield Site(here, {}), Site(there, at(address, token))


def at(address: str, token: str) -> dict[str, str]:
    """The environment of a client of a server."""
    return {"STRATAFLOW_DB": "", "STRATAFLOW_SERVER": address, "STRATAFLOW_TOKEN": token}


def flow(site: Site, name: str, nodes: Any, **fields: Any) -> Path:
    """Write a definition into a site's folder."""
    return site.cli.flow(nodes, name=name, file=f"{name}.json", **fields)
