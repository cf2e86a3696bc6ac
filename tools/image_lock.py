"""The locks of the container image: `python tools/image_lock.py` cuts them out of requirements-dev.lock.

requirements-server.lock is what `strataflow[server,otlp,prometheus]` needs to run, requirements-build.lock what its
wheel is made with: the same pins and hashes, and nothing that only tests need. Reads files and the packages that are
installed here; needs no network.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SOURCE, SERVER, BUILD = "requirements-dev.lock", "requirements-server.lock", "requirements-build.lock"
EXTRAS = ("server", "otlp", "prometheus")
HEAD = "# Made by `python tools/image_lock.py` from requirements-dev.lock.\n"


def needed(extras: tuple[str, ...]) -> set[str]:
    """Give the canonical names of everything that strataflow needs with these extras, by what is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines: list[str] = [
        *project["dependencies"],
        *(each for extra in extras for each in project["optional-dependencies"][extra]),
    ]
    found: set[str] = set()
    waiting = [(line, "") for line in lines]
    seen: set[tuple[str, str]] = set()
    while waiting:
        line, extra = waiting.pop()
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        found.add(name)
        for inner in {"", *requirement.extras} - {each for other, each in seen if other == name}:
            seen.add((name, inner))
            waiting += [(each, inner) for each in requires(name) or ()]
    return found


def entries(text: str) -> dict[str, str]:
    """Give each pin of a lock with its hashes, by canonical name, without remarks."""
    bare = re.sub(r"(?m)^\s*#.*\n?", "", text)
    found: dict[str, str] = {}
    for entry in re.split(r"(?<!\\)\n", bare):
        if match := re.match(r"([A-Za-z0-9._-]+)==", entry):
            found[canonicalize_name(match[1])] = entry
    return found


def cut(text: str, names: set[str]) -> str:
    """Give the part of a lock that pins these names. Raises KeyError for one that it does not pin."""
    pins = entries(text)
    return HEAD + "".join(f"{pins[name]}\n" for name in sorted(names))


def locks() -> dict[str, str]:
    """Give both locks, by name."""
    text = (ROOT / SOURCE).read_text()
    return {SERVER: cut(text, needed(EXTRAS)), BUILD: cut(text, {"setuptools"})}


def main() -> int:
    """Write both, or say which is stale."""
    parser = argparse.ArgumentParser(prog="image_lock", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if one is stale")
    check: bool = parser.parse_args().check
    stale = [
        name
        for name, text in locks().items()
        if not (ROOT / name).is_file() or (ROOT / name).read_text() != text
    ]
    for name in stale:
        if check:
            sys.stdout.write(f"{name} is stale: run `python tools/image_lock.py`.\n")
        else:
            (ROOT / name).write_text(locks()[name])
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
