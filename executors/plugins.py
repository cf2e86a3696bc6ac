"""Finds executor domains outside this package: installed entry points, and modules named on the command line.

User code runs here at import; whatever it raises becomes a problem with its name, `SystemExit` included.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, cast
from zlib import crc32

from .domain import ExecutorDomain, RegistryProblem
from .errors import InvalidExecutor, RegistryError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["ENTRY_POINT_GROUP", "domains_in", "import_domains", "installed_domains", "load_module"]

ENTRY_POINT_GROUP: Final = "strataflow.executors"


def installed_domains(problems: list[RegistryProblem]) -> Iterator[tuple[ExecutorDomain, str]]:
    """Every domain of the group with where it came from, in a fixed order; failures go to `problems`."""
    from importlib.metadata import entry_points  # 20 ms that a process without plugins need not spend

    points = sorted(
        entry_points(group=ENTRY_POINT_GROUP), key=lambda point: (point.name, _distribution(point))
    )
    for point in points:
        source = f"entry point {point.name} = {point.value} ({_distribution(point)})"
        try:
            yield _domain_of(point), source
        except RegistryError as exc:
            problems.append(RegistryProblem(point.name, source, exc.message))
        except (Exception, SystemExit) as exc:  # noqa: BLE001  # a broken plugin must not take us down
            message = f"cannot be loaded: {type(exc).__name__}: {exc}"
            problems.append(RegistryProblem(point.name, source, message))


def import_domains(text: str) -> list[ExecutorDomain]:
    """The domains of a dotted module or a .py file, imported here. Raises InvalidExecutor if it has none."""
    module = load_module(text)
    domains = domains_in(module)
    if not domains:
        raise InvalidExecutor(
            f"{text} was imported but has no ExecutorDomain; write `mine = ExecutorDomain('mine')` at its top level"
        )
    return domains


def load_module(text: str) -> ModuleType:
    """Import a dotted module or a .py file; the current folder, or the file's, is searched last.

    Raises InvalidExecutor with the reason.
    """
    is_path = text.endswith(".py") or os.sep in text
    try:
        return _load_file(Path(text)) if is_path else _load_dotted(text)
    except RegistryError:
        raise
    except ModuleNotFoundError as exc:
        raise InvalidExecutor(
            f"cannot import {text}: no module named {exc.name!r}; install it or put it into {Path.cwd()}"
        ) from exc
    except (Exception, SystemExit) as exc:
        raise InvalidExecutor(f"cannot import {text}: {type(exc).__name__}: {exc}") from exc


def domains_in(module: ModuleType) -> list[ExecutorDomain]:
    """The domains among a module's globals, each once."""
    found = (value for value in list(vars(module).values()) if isinstance(value, ExecutorDomain))
    return list({id(domain): domain for domain in found}.values())


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown distribution"


def _domain_of(point: EntryPoint) -> ExecutorDomain:
    loaded: object = point.load()
    if isinstance(loaded, ModuleType):
        named = [domain for domain in domains_in(loaded) if domain.name == point.name]
        loaded = named[0] if named else loaded
    if isinstance(loaded, Mapping):
        domain = ExecutorDomain(point.name)
        for name, executor in cast("Mapping[str, object]", loaded).items():
            domain.add(name, executor)
        return domain
    if not isinstance(loaded, ExecutorDomain):
        raise InvalidExecutor(f"must name an ExecutorDomain, a mapping or a module with one, not {loaded!r}")
    if loaded.name != point.name:
        raise InvalidExecutor(f"the entry point's name must be the domain's name, {loaded.name!r}")
    return loaded


def _load_dotted(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise InvalidExecutor(f"{name!r} is neither a module's dotted name nor the path of a .py file")
    _search_last(Path.cwd())
    return importlib.import_module(name)


def _load_file(path: Path) -> ModuleType:
    file = path.resolve()
    if not file.is_file():
        raise InvalidExecutor(f"there is no file {path}")
    _search_last(file.parent)
    name = file.stem
    if not _owns_name(file):
        # The plain name belongs to another module, or the stem is no name: never stand in its place.
        name = f"strataflow_import_{crc32(str(file).encode()):08x}"
    return sys.modules.get(name) or _execute(name, file)


def _owns_name(file: Path) -> bool:
    """True if `import <stem>` means, or would mean, this file."""
    name = file.stem
    if not name.isidentifier():
        return False
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", None) == str(file)
    importlib.invalidate_caches()
    found = importlib.util.find_spec(name)
    return found is not None and found.origin == str(file)


def _execute(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InvalidExecutor(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Known before it runs, as with an import statement: models resolve their annotations through sys.modules.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _search_last(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
