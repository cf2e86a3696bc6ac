"""Executors of the census: list modules, measure one, rank all, write the report.

`strataflow run workflow.json --import census.py` loads this file; the domain below is all it has to offer.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import platform
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from strataflow import ExecutorDomain, NonRetryable, TaskContext

census = ExecutorDomain("census")

BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.BoolOp,
    ast.comprehension,
    ast.match_case,
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class DoesNotParse(NonRetryable):
    """Raised for a file that is no Python, or too new a one; a second attempt would read the same text."""


class NothingFound(NonRetryable):
    """Raised when no module fits."""


# --- list


class ListConfig(BaseModel):
    """Where to look, and for what."""

    folder: Path | None = None
    only: list[str] = ["*"]


@census.executor("list", config=ListConfig)
def list_modules(ctx: TaskContext, config: ListConfig) -> dict[str, Any]:
    """List modules as {name, file}; the file of a compiled module is null."""
    root = config.folder or Path(sysconfig.get_path("stdlib"))
    found = dict(_sources(root))
    if config.folder is None:
        found |= {name: None for name in _compiled() if name not in found}
    wanted = sorted(name for name in found if any(fnmatchcase(name, pattern) for pattern in config.only))
    if not wanted:
        raise NothingFound(f"no module below {root} fits {', '.join(config.only)}")
    ctx.log(f"{len(wanted)} modules below {root}")
    return {
        "python": platform.python_version(),
        "folder": str(root),
        "found": [{"name": name, "file": found[name]} for name in wanted],
    }


def _sources(root: Path) -> Iterator[tuple[str, str | None]]:
    """Test suites are left out, except for the files in them that are broken on purpose."""
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        is_test = any(part in {"test", "tests", "idle_test"} for part in parts)
        if all(map(str.isidentifier, parts)) and (not is_test or path.name.startswith("bad")):
            yield ".".join(parts).removesuffix(".__init__"), str(path)


def _compiled() -> Iterator[str]:
    for name in sys.stdlib_module_names:
        spec = importlib.util.find_spec(name) if name != "__main__" else None
        if spec is not None and not (spec.origin or "").endswith(".py"):
            yield name


# --- analyse


class AnalyseConfig(BaseModel):
    """One module, and the Python 3 in whose grammar it is read; None is the interpreter's own."""

    name: str
    file: Path
    minor: int | None = None


@census.executor("analyse", config=AnalyseConfig)
def analyse(_ctx: TaskContext, config: AnalyseConfig) -> dict[str, Any]:
    """Parse one file and count what is in it."""
    source = config.file.read_bytes()
    version = None if config.minor is None else (3, config.minor)
    try:
        tree = ast.parse(source, config.file.name, feature_version=version)
    except (SyntaxError, ValueError) as exc:
        raise DoesNotParse(f"{config.name}: {exc}") from exc
    counts: Counter[str] = Counter()
    imports: set[str] = set()
    longest: dict[str, Any] = {"name": None, "lines": 0}
    for name, node in _named(tree, config.name):
        counts["classes"] += isinstance(node, ast.ClassDef)
        counts["branches"] += isinstance(node, BRANCHES)
        if isinstance(node, FUNCTIONS):
            counts["functions"] += 1
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > longest["lines"]:
                longest = {"name": name, "lines": lines}
        elif isinstance(node, ast.Import):
            imports.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports.add(node.module.partition(".")[0])
    return {
        "name": config.name,
        "lines": len(source.splitlines()),
        "functions": counts["functions"],
        "classes": counts["classes"],
        "branches": counts["branches"],
        "longest": longest,
        "imports": sorted(imports),
    }


def _named(tree: ast.AST, name: str) -> Iterator[tuple[str, ast.AST]]:
    """Give every node with the name of the innermost class or function it stands in or is."""
    todo = [(name, tree)]
    while todo:
        name, node = todo.pop()
        yield name, node
        for child in ast.iter_child_nodes(node):
            own = f"{name}.{child.name}" if isinstance(child, (*FUNCTIONS, ast.ClassDef)) else name
            todo.append((own, child))


# --- rank


class RankConfig(BaseModel):
    """The measured modules, and how many lines a ranking has."""

    modules: list[dict[str, Any]]
    top: int


@census.executor("rank", config=RankConfig)
def rank(_ctx: TaskContext, config: RankConfig) -> dict[str, Any]:
    """Rank what an expression could only say with difficulty."""
    imported = Counter(name for module in config.modules for name in module["imports"])
    functions = [module["longest"] for module in config.modules if module["longest"]["name"]]
    functions.sort(key=lambda function: (-function["lines"], function["name"]))
    ranked = sorted(imported.items(), key=lambda entry: (-entry[1], entry[0]))
    return {
        "longest_functions": functions[: config.top],
        "most_imported": [{"name": name, "by": by} for name, by in ranked[: config.top]],
    }


# --- report


class ReportConfig(BaseModel):
    """Everything that the report says."""

    file: Path
    python: str
    minor: int | None
    stats: dict[str, int]
    totals: dict[str, int]
    most_branches: list[dict[str, Any]]
    longest_functions: list[dict[str, Any]]
    most_imported: list[dict[str, Any]]
    found: list[dict[str, Any]]
    measured: list[str]


@census.executor("report", config=ReportConfig)
def report(ctx: TaskContext, config: ReportConfig) -> dict[str, Any]:
    """Write the report; a repeated attempt writes the same file again, readers never see half of it."""
    measured = set(config.measured)
    not_parsed = [m["name"] for m in config.found if m["file"] is not None and m["name"] not in measured]
    target = config.file.absolute()
    draft = target.with_name(f"{target.name}.{ctx.attempt}.tmp")
    draft.write_text("\n".join(_lines(config, not_parsed)) + "\n", encoding="utf-8")
    draft.replace(target)
    ctx.log(f"wrote {target}")
    return {"file": os.fspath(config.file), "not_parsed": not_parsed}


def _lines(config: ReportConfig, not_parsed: list[str]) -> Iterator[str]:
    stats, totals = config.stats, config.totals
    reader = "" if config.minor is None else f", read as Python 3.{config.minor}"
    yield f"# Census of {stats['total']} modules, Python {config.python}{reader}"
    yield ""
    yield (
        f"{stats['completed']} were measured, {stats['skipped']} are compiled and have no source, "
        f"{stats['failed']} do not parse."
    )
    yield (
        f"{totals['lines']:,} lines, {totals['classes']:,} classes, {totals['functions']:,} functions, "
        f"{totals['branches']:,} branches."
    )
    branches = ((m["name"], m["branches"], m["lines"]) for m in config.most_branches)
    yield from _table("Most branches", ("module", "branches", "lines"), branches)
    functions = ((f["name"], f["lines"]) for f in config.longest_functions)
    yield from _table("Longest functions", ("function", "lines"), functions)
    imported = ((m["name"], m["by"]) for m in config.most_imported)
    yield from _table("Most imported", ("module", "imported by"), imported)
    if not_parsed:
        yield ""
        yield "## Do not parse"
        yield ""
        yield from (f"- {name}" for name in not_parsed)


def _table(title: str, heads: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    yield from (f"| {' | '.join(map(str, row))} |" for row in rows)
