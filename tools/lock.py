"""The lock files: `python tools/lock.py` makes them anew, `--check` says whether they still fit pyproject.toml.

requirements.lock pins what a user of the library gets, requirements-dev.lock adds what its tests and checks need. Both
carry the hashes of every file that the public index offers, and no place to fetch them from. The check reads files
only; it needs no network.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
RUNTIME, DEVELOPMENT = "requirements.lock", "requirements-dev.lock"
EXTRAS = ("server", "otlp", "prometheus", "test", "dev")
#: Settings through which one machine's packages would come in.
LOCAL = frozenset({"PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"})
#: A lock that names a place ties everybody to the machine that made it.
PLACE = re.compile(r"^\s*(-i\b|-f\b|--(extra-)?index-url|--find-links|--trusted-host)|\w+://", re.MULTILINE)


@dataclass(frozen=True)
class Pin:
    """One line of a lock."""

    version: str
    n_hashes: int


def read(text: str) -> dict[str, Pin]:
    """Give the pins of a lock by canonical name."""
    pins: dict[str, Pin] = {}
    for entry in re.split(r"(?<!\\)\n", re.sub(r"(?m)^\s*#.*\n?", "", text)):
        found = re.match(r"\s*([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", entry)
        if found:
            pins[canonicalize_name(found[1])] = Pin(found[2], entry.count("--hash="))
    return pins


def problems(project: dict[str, object], runtime: str, development: str) -> list[str]:
    """Say what does not fit; an empty list means that the locks are good."""
    declared: list[str] = project["dependencies"]  # pyright: ignore[reportAssignmentType]
    optional: dict[str, list[str]] = project["optional-dependencies"]  # pyright: ignore[reportAssignmentType]
    extras = [line for extra in EXTRAS for line in optional[extra]]
    found: list[str] = []
    for name, text, lines in ((RUNTIME, runtime, declared), (DEVELOPMENT, development, declared + extras)):
        pins = read(text)
        for requirement in map(Requirement, lines):
            if requirement.marker is not None and not requirement.marker.evaluate():
                continue
            pin = pins.get(canonicalize_name(requirement.name))
            if pin is None:
                found.append(f"{name}: {requirement.name} is declared and not pinned")
            elif not requirement.specifier.contains(pin.version, prereleases=True):
                found.append(f"{name}: {requirement.name} {pin.version} is outside {requirement.specifier}")
        found += [f"{name}: {package} has no hash" for package, pin in pins.items() if not pin.n_hashes]
        if PLACE.search(text):
            found.append(f"{name}: names a place to fetch from")
    both = read(development)
    for package, pin in read(runtime).items():
        if both.get(package, pin).version != pin.version:
            found.append(f"{DEVELOPMENT}: {package} {both[package].version} is {pin.version} in {RUNTIME}")
        if package not in both:
            found.append(f"{DEVELOPMENT}: {package} is missing")
    return found


def compile_lock(output: str, *options: str) -> None:
    """Resolve against the public index, whatever this machine's pip is configured for."""
    environment = {name: value for name, value in os.environ.items() if name not in LOCAL}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "CUSTOM_COMPILE_COMMAND": "make lock"}
    command = [sys.executable, "-m", "piptools", "compile", "--quiet", "--generate-hashes", "--strip-extras"]
    places = ["--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--allow-unsafe"]
    command += [*places, *options, "--output-file", output, "pyproject.toml"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def main() -> int:
    """Make or check both locks."""
    parser = argparse.ArgumentParser(prog="lock", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if they do not fit")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    options = parser.parse_args()
    if not options.check:
        upgrade = ["--upgrade"] if options.upgrade else []
        compile_lock(RUNTIME, *upgrade)
        extras = [f"--extra={extra}" for extra in EXTRAS]
        compile_lock(DEVELOPMENT, *upgrade, *extras, "--constraint", RUNTIME)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = problems(project, (ROOT / RUNTIME).read_text(), (ROOT / DEVELOPMENT).read_text())
    for line in found:
        sys.stdout.write(f"{line}\n")
    if found:
        sys.stdout.write("The locks do not fit pyproject.toml: run `make lock` and commit the result.\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
