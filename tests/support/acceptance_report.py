"""Says which acceptance rows are proven, from the file that `pytest --acceptance FILE` writes.

A row is proven when at least one test carries it, every test that carries it passed, and those that use a database
passed on both: a row with a test on SQLite needs one on Postgres, and the other way round.

    python -m tests.support.acceptance_report RESULT [--owner NAME] [--write docs/acceptance.md]

exits with 1 while a row of the owner (of anybody, without `--owner`) is open. The written page depends on the result
only: no times, no durations, no machine.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.acceptance import DATABASES, Row, load_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HEAD = """\
# Acceptance

What Strataflow has to show, and the tests that show it. This page is written by `make acceptance`.

A row is proven when every test that carries it passes, on SQLite and on Postgres where a database takes part.
"""


@dataclass
class Evidence:
    """What the run says about one row."""

    row: Row
    tests: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def why_open(self) -> str | None:
        """Give the reason why the row is open, None when it is proven."""
        if not self.tests:
            return "no test carries it"
        if self.failures:
            return "; ".join(f"{test} {outcome}" for test, outcome in sorted(self.failures.items()))
        if self.seen and not self.seen.issuperset(DATABASES):
            return f"not shown on {', '.join(sorted(set(DATABASES) - self.seen))}"
        return None


def weigh(rows: Mapping[str, Row], records: Iterable[Mapping[str, Any]]) -> list[Evidence]:
    """Put the records of a run beside the rows, in order of the rows."""
    evidence = {name: Evidence(row) for name, row in rows.items()}
    for record in records:
        for name in record["rows"]:
            entry = evidence[name]
            entry.tests.add(re.sub(r"\[.*\]$", "", record["test"]))
            entry.seen.update(record["databases"])
            if record["outcome"] != "passed":
                entry.failures[record["test"]] = record["outcome"]
    return list(evidence.values())


def by_owner(evidence: Iterable[Evidence]) -> dict[str, list[Evidence]]:
    """Group by owner, owners in alphabetical order."""
    groups: defaultdict[str, list[Evidence]] = defaultdict(list)
    for entry in evidence:
        groups[entry.row.owner].append(entry)
    return dict(sorted(groups.items()))


def page(evidence: Sequence[Evidence]) -> str:
    """Write docs/acceptance.md."""
    lines = [HEAD, "| part | proven | open |", "|---|---:|---:|"]
    groups = by_owner(evidence)
    for owner, entries in groups.items():
        proven = sum(entry.why_open is None for entry in entries)
        lines.append(f"| {owner} | {proven} | {len(entries) - proven} |")
    for owner, entries in groups.items():
        lines += ["", f"## {owner}", "", "| row | what it shows | state | tests |", "|---|---|---|---|"]
        for entry in entries:
            state = "proven" if entry.why_open is None else "open"
            tests = "<br>".join(f"`{test}`" for test in sorted(entry.tests))
            lines.append(
                f"| {entry.row.id} | {entry.row.title.replace('|', chr(92) + '|')} | {state} | {tests} |"
            )
    return "\n".join(lines) + "\n"


def summary(evidence: Sequence[Evidence], owner: str | None) -> tuple[str, bool]:
    """Give the text for the terminal, and whether a row of `owner` is open."""
    lines: list[str] = []
    any_open = False
    for name, entries in by_owner(evidence).items():
        if owner not in {None, name}:
            continue
        proven = [entry.row.id for entry in entries if entry.why_open is None]
        lines.append(f"{name}: {len(proven)} of {len(entries)} rows proven")
        if proven:
            lines.append(f"  proven  {' '.join(proven)}")
        for entry in entries:
            if entry.why_open is not None:
                any_open = True
                lines.append(f"  open    {entry.row.id}  {entry.row.title} ({entry.why_open})")
    return "\n".join(lines), any_open


def main(arguments: Sequence[str] | None = None) -> int:
    """Print, write, and answer with the exit code."""
    parser = argparse.ArgumentParser(prog="acceptance_report", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--owner")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args(arguments)
    rows = load_rows()
    owners = sorted({row.owner for row in rows.values()})
    owner = options.owner or None
    if owner is not None and owner not in owners:
        parser.error(f"no part is called {owner}: choose from {', '.join(owners)}")
    try:
        records = json.loads(options.result.read_text())
    except FileNotFoundError:
        parser.error(f"{options.result} is missing: the run of the tests wrote no result")
    evidence = weigh(rows, records)
    if options.write:
        options.write.write_text(page(evidence))
    text, any_open = summary(evidence, owner)
    print(text)
    return int(any_open)


if __name__ == "__main__":
    sys.exit(main())
