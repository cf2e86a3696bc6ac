"""The documents do not fall behind: links lead somewhere, every table and module is named, every word is said once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import strataflow
from strataflow.engine import errors
from strataflow.repositories.tables import metadata

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
    if path.is_file()
)
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
#: What looks like a file of this repository between backticks.
NAMED_FILE = re.compile(
    r"`((?:api|services|engine|executors|repositories|migrations|facade|tests)/[\w/.-]+\.\w+)`"
)
NAMED_FOLDER = re.compile(
    r"`((?:api|services|engine|executors|repositories|migrations|facade|tests)/(?:[\w-]+/)*)`"
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchor(heading: str) -> str:
    """Give the anchor that a heading has when Markdown is shown on the web."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", ""))
    return kept.replace(" ", "-")


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+)$", without_code(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {anchor(heading) for heading in headings}


def dead_links(page: Path) -> Iterator[str]:
    for target in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, fragment = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        if not found.exists():
            yield f"{name_of(page)}: {target} does not exist"
        elif fragment and found.suffix == ".md" and fragment not in anchors(found):
            yield f"{name_of(page)}: {target} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    assert not list(dead_links(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = {*NAMED_FILE.findall(text), *NAMED_FOLDER.findall(text)}
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_every_table_is_in_the_architecture() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", text.partition("## Tables")[2], re.MULTILINE)
    assert sorted(listed) == sorted(metadata.tables)


def test_every_module_of_the_engine_is_in_the_architecture() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    modules = {f"engine/{path.name}" for path in (ROOT / "engine").glob("*.py") if path.name != "__init__.py"}
    assert sorted(module for module in modules if f"`{module}`" not in text) == []


def test_functions_that_the_architecture_names_exist() -> None:
    """`file.py` followed by names: each is defined in that file."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    missing: list[str] = []
    for file, names in re.findall(r"`((?:\w+/)+\w+\.py)`((?: `\w+`,?)+)", text):
        source = (ROOT / file).read_text(encoding="utf-8")
        missing += [
            f"{file}: {name}"
            for name in re.findall(r"`(\w+)`", names)
            if not re.search(rf"^\s*(?:async def|def|class) {name}\b|^{name}\b", source, re.MULTILINE)
        ]
    assert missing == []


def test_the_glossary_says_every_word_once() -> None:
    words = re.findall(r"^\| ([^|]+?) \|", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    words.remove("word")
    assert [word for word, count in Counter(word.lower() for word in words).items() if count > 1] == []
    assert len(words) > 40


def test_adrs_are_numbered_and_complete() -> None:
    files = sorted((DOCS / "adr").glob("*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(file.name[:4])}. "), file.name
        wanted = ("Context", "Decision", "Consequences", "A change violates this when", "Evidence")
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(wanted), file.name


def families() -> list[type[errors.EngineError]]:
    found = [errors.EngineError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in found if kind.__module__ == errors.__name__]


@pytest.mark.row("M-35")
def test_every_error_is_public_documented_and_of_one_family() -> None:
    table = (DOCS / "python-api.md").read_text(encoding="utf-8").partition("## Errors")[2]
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", table, re.MULTILINE))
    assert rows == {kind.__name__: kind.code for kind in families()}
    for kind in families():
        assert getattr(strataflow, kind.__name__) is kind
        assert (kind.__doc__ or "").startswith(("Raised", "Base of"))
    public = {name for name in errors.__all__ if name not in {"Problem", "TaskFailure"}}
    assert public == {kind.__name__ for kind in families()}
