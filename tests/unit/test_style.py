"""Gates over the text of the code that no linter has: sizes, silenced findings, and places nobody else can reach."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("facade", "api", "services", "engine", "executors", "repositories", "migrations")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

#: What is over a limit today, with its size. Entries may shrink and go; a new one needs a good reason in the review.
LONG_FILES: dict[str, int] = {}
LONG_FUNCTIONS: dict[str, int] = {}

#: A finding is silenced by its name and with a reason: `
SILENCED = re.compile(r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore|ruff:)", re.IGNORECASE)
REASONED = re.compile(
    r"#\s*(noqa:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*|pyright:\s*ignore\[\w+(,\s*\w+)*\])\s+[-#]\s*\S.{3,}",
    re.IGNORECASE,
)


def production() -> list[Path]:
    """Give the modules that are installed."""
    return sorted(
        path for layer in LAYERS for path in (ROOT / layer).rglob("*.py") if "__pycache__" not in path.parts
    )


def name_of(path: Path) -> str:
    """Name a file from the root on."""
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Give each function of a module with the number of its lines, its docstring aside."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            is_doc = ast.get_docstring(node, clean=False) is not None
            doc = (first.end_lineno or 0) - first.lineno + 1 if is_doc else 0
            yield f"{name_of(path)}:{node.name}", (node.end_lineno or 0) - node.lineno + 1 - doc


def judge(sizes: dict[str, int], limit: int, known: dict[str, int]) -> list[str]:
    """Say what is over its limit, and which exception can be lowered or dropped."""
    found = [
        f"{name} has {size} lines, {known.get(name, limit)} are allowed"
        for name, size in sizes.items()
        if size > known.get(name, limit)
    ]
    for name, size in known.items():
        if sizes.get(name, 0) < size:
            found.append(f"{name} has {sizes.get(name, 0)} lines now: lower or drop its exception of {size}")
    return found


def test_files_are_short() -> None:
    sizes = {name_of(path): len(path.read_text().splitlines()) for path in production()}
    found = judge(sizes, MAX_FILE_LINES, LONG_FILES)
    assert not found, "\n".join(found)


def test_functions_are_short() -> None:
    sizes = dict(entry for path in production() for entry in functions(path))
    found = judge(sizes, MAX_FUNCTION_LINES, LONG_FUNCTIONS)
    assert not found, "\n".join(found)


def test_the_ratchet_only_turns_one_way() -> None:
    assert judge({"a": 10, "b": 9}, 8, {"a": 10}) == ["b has 9 lines, 8 are allowed"]
    assert judge({"a": 9}, 8, {"a": 10}) == ["a has 9 lines now: lower or drop its exception of 10"]


def silenced(text: str) -> list[str]:
    """Give the comments that silence a finding without its name or without a reason."""
    comments = [
        t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT
    ]
    return [comment for comment in comments if SILENCED.search(comment) and not REASONED.search(comment)]


def test_findings_are_silenced_with_a_reason() -> None:
    found = [f"{name_of(path)}: {comment}" for path in production() for comment in silenced(path.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("comment", "bad"),
    [
        ("# noqa", True),
        ("# noqa: S608", True),
        ("# type: ignore[arg-type] - because of it", True),
        ("# pyright: ignore", True),
        ("# ruff: noqa", True),
        ("# noqa: S608 - the names are constants", False),
        ("# noqa: S608, PLC0415 - the names are constants", False),
        ("# pyright: ignore[reportPrivateUsage] - the driver has no other way", False),
        ("# an ordinary remark", False),
    ],
)
def test_what_counts_as_a_reason(comment: str, *, bad: bool) -> None:
    assert bool(silenced(f"x = 1  {comment}\n")) is bad


#: Places that exist on one machine only, or that tie a clone to one package index.
PLACES = re.compile(
    r"file://|extra-index-url\s*=|find-links\s*=|https?://[\w.-]+/(simple|pypi)\b|(?<![\w.])/(root|home/\w+)/"
    "|" + re.escape(str(ROOT)) + r"\b"
)


def tracked() -> list[Path]:
    """Give the files under version control; none outside of a clone."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and path != Path(__file__)]


def test_no_file_names_a_place_that_others_do_not_have() -> None:
    found: list[str] = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{name_of(path)}: {match[0]}" for match in PLACES.finditer(text)]
    assert not found, "\n".join(found)
