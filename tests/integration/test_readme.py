"""What README and docs/python-api.md show is done here: files written, commands run, outputs compared, Python run."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import subprocess
import sys
import types
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import strataflow
from strataflow.engine.compiler import compile_definition
from strataflow.repositories.url import DatabaseUrl

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PYTHON_API = ROOT / "docs" / "python-api.md"
BIN = Path(sys.executable).parent
SHOWN_URL = "postgresql://localhost/workflows"
#: Stands where the README has an id: the id of the instance that was started last.
NEWEST = """$(strataflow list --json --limit 1 | python -c 'import json, sys; print(json.load(sys.stdin)[0]["id"])')"""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the file that the sentence before it wants it in."""

    kind: str
    text: str
    file: str | None


def blocks(page: Path, *kinds: str) -> list[Block]:
    """Give the blocks of a page in order."""
    found: list[Block] = []
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        before = text[: match.start()].rstrip().rpartition("\n\n")[2]
        named = re.search(r"this into `([\w.]+)`", before)
        found.append(Block(match[1], match[2], named[1] if named else None))
    return [block for block in found if block.kind in kinds]


def files_of(page: Path) -> dict[str, str]:
    return {block.file: block.text for block in blocks(page, "json", "python") if block.file}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give an empty folder with the files that the README tells its reader to write."""
    folder = tmp_path / "tour"
    folder.mkdir()
    for name, text in files_of(README).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def environment() -> dict[str, str]:
    """Give what a shell with the activated environment has."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("STRATAFLOW_", "PYTHON"))
    }
    return {**clean, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}


def in_shell(script: str, folder: Path, timeout_s: float = 120) -> str:
    """Run lines of a shell and give everything that they print, in order."""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return done.stdout


def normal(line: str) -> str:
    """Drop what differs from run to run: ids, numbers with their units, the width of columns."""
    line = re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}(-[0-9a-f]{4}(-[0-9a-f]{4}-[0-9a-f]{12})?)?\b", "ID", line)
    line = re.sub(r"\d[\d.:-]*( (ms|s|min)\b)?", "N", line)
    return " ".join(line.split())


def not_printed(expected: Iterator[str], printed: str) -> list[str]:
    """Give the expected lines that were not printed. Their order is free: two streams and two processes write."""
    actual = Counter(normal(line) for line in printed.splitlines())
    missing: list[str] = []
    for line in expected:
        actual[normal(line)] -= 1
        if actual[normal(line)] < 0:
            missing.append(line)
    return missing


def commands_of(block: Block) -> list[str]:
    return [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]


def shown(block: Block) -> Iterator[str]:
    return (
        line for line in block.text.splitlines() if line.strip() and line != "…" and not line.startswith("$ ")
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_tour(folder: Path, pg_url: str) -> None:
    label = DatabaseUrl.parse(pg_url).label
    for block in blocks(README, "console"):
        script = "\n".join(commands_of(block))
        script = re.sub(r"\b01[0-9a-f]{6}(-[0-9a-f]+)+", lambda _: NEWEST, script)
        script = script.replace(SHOWN_URL, pg_url).replace("seconds=1 ", "seconds=0.4 ")
        script = script.replace(
            "sleep 5;", "timeout 60 bash -c 'until [ -s effects.log ]; do sleep 0.05; done';"
        )
        script = script.replace("sleep 3", f"until strataflow explain {NEWEST} | grep -q signal; do :; done")
        printed = in_shell(script, folder).replace(label, SHOWN_URL)
        assert not_printed(shown(block), printed) == [], printed
    counted = (folder / "effects.log").read_text().splitlines()
    assert len(set(counted)) > 20
    assert "__init__.py" in counted


def test_a_tour_that_prints_something_else_is_noticed() -> None:
    printed = "ID STATE TOOK\n01a1fba8-aaec-75ed completed 52 ms\n"
    assert not_printed(iter(["01a1fba5-de38-7793  completed  1.2 s"]), printed) == []
    assert not_printed(iter(["01a1fba5-de38-7793  failed  1.2 s"]), printed) != []


def test_the_definitions_are_valid() -> None:
    """Without executors: whether those exist is the tour's matter."""
    found = [block for block in blocks(README, "json") if block.file]
    assert [block.file for block in found] == ["hello.json", "words.json", "review.json"]
    for block in found:
        definition, _, problems = compile_definition(block.text)
        assert definition.name == str(block.file).removesuffix(".json")
        assert problems == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("page", [README, PYTHON_API], ids=lambda page: page.name)
def test_the_python_runs(page: Path, folder: Path) -> None:
    """All blocks of a page in one process; what a comment behind `print` says is what is printed."""
    code = "\n".join(block.text for block in blocks(page, "python") if block.file is None)
    (folder / "page.py").write_text(code, encoding="utf-8")
    printed = in_shell("python -W error page.py", folder)
    expected = re.findall(r"^ *print\(.*\)  # (.+)$", code, re.MULTILINE)
    if page == README:
        assert printed.splitlines() == expected
    else:
        assert printed == "it never was\n"


def test_it_runs_where_an_event_loop_runs_already(tmp_path: Path) -> None:
    """A notebook's cell is such a place."""

    async def cell() -> Any:
        document = {"dsl": "1", "name": "cell", "nodes": {"a": {"set": {"x": 1}}}}
        return strataflow.run(document, db=f"sqlite:///{tmp_path / 'notebook.db'}")

    assert asyncio.run(cell()) == {"a": {"x": 1}}


class _App:
    """As much of FastAPI as the README's file uses, for machines without it."""

    def __init__(self, *, lifespan: Callable[[Any], AbstractAsyncContextManager[None]]) -> None:
        self.lifespan = lifespan
        self.routes: dict[str, Callable[..., Any]] = {}

    def _route(self, path: str, **_options: Any) -> Callable[[Any], Any]:
        return lambda handler: self.routes.setdefault(path, handler)

    get = post = _route


class _HTTPException(Exception):
    def __init__(self, status_code: int, detail: Any) -> None:
        super().__init__(status_code, detail)
        self.status_code = status_code


@asynccontextmanager
async def application(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[_App]:
    """Load the README's web.py with a stand-in for FastAPI, and live through its lifespan."""
    stand_in = types.ModuleType("fastapi")
    vars(stand_in).update(FastAPI=_App, HTTPException=_HTTPException)
    monkeypatch.setitem(sys.modules, "fastapi", stand_in)
    monkeypatch.chdir(folder)
    spec = importlib.util.spec_from_file_location("readme_web", folder / "web.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    async with module.app.lifespan(module.app):
        yield module.app


def test_the_web_application(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def visit() -> None:
        async with application(folder, monkeypatch) as app:
            start, show = app.routes["/workflows/{name}"], app.routes["/instances/{instance_id}"]
            begun = await start("hello", {"names": ["web"]}, key="k")
            assert await start("hello", {"names": ["web"]}, key="k") == begun
            found = await show(begun["id"])
            while not found["ended_at"]:
                await asyncio.sleep(0.02)
                found = await show(begun["id"])
            assert found["output"] == {"said": ["Hello, web!"], "lines": 1}
            for wrong, code in (
                (start("nope", {}), 404),
                (start("hello", {"names": 1}), 422),
                (show("x"), 404),
            ):
                with pytest.raises(_HTTPException) as caught:
                    await wrong
                assert caught.value.status_code == code

    asyncio.run(visit())


def test_a_fresh_machine_needs_two_commands() -> None:
    start = README.read_text(encoding="utf-8").partition("## Start")[2].partition("## Ten minutes")[0]
    assert re.findall(r"^```\n(.*?)^```$", start, re.MULTILINE | re.DOTALL) == ["make demo\nmake test\n"]
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
