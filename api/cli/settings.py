"""Settings on the command line: flags made from the one table, and what the file says to every command.

A command that takes `settings: Settings` under `with_settings` has a flag for each setting of the sections it names.
Every other command gets what the environment and the file say through `make_options`.
"""

from __future__ import annotations

import inspect
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol, cast

import typer

from ...services.configuration import SETTINGS, Setting
from .errors import UsageProblem

if TYPE_CHECKING:
    from ...engine.errors import Problem
    from ...services.settings import SettingsFile

__all__ = [
    "FILE",
    "Settings",
    "engine_settings",
    "line_of",
    "load",
    "loaded",
    "problems_of",
    "use",
    "with_settings",
]

#: The file of the current folder that is read when nobody names one.
FILE: Final = "strataflow.toml"
Settings = Mapping[str, Any]
_TYPES: Final[dict[str, Any]] = {"integer": int, "number": float, "boolean": bool}


@dataclass(slots=True, frozen=True)
class Loaded:
    """What this command line has read beside its arguments."""

    file: SettingsFile | None = None
    #: The content of the file that STRATAFLOW_DB_FILE names.
    db_file: str | None = None


_loaded: Final[ContextVar[Loaded]] = ContextVar("strataflow_settings", default=Loaded())  # noqa: B039 - it is frozen


def loaded() -> Loaded:
    """What `load` has read for this command line."""
    return _loaded.get()


# --- reading


def load(path: str | None) -> Loaded:
    """Read the file of settings, and the one that holds the database's URL. Raises UsageProblem."""
    from ...services.settings import FILE_VARIABLE, read_file

    file = None
    if path is not None or Path(FILE).is_file():
        file = read_file(_text(path or FILE, "--config"), path or FILE)
    named = os.environ.get(FILE_VARIABLE)
    db_file = _text(named, FILE_VARIABLE).strip() if named and not os.environ.get("STRATAFLOW_DB") else None
    found = Loaded(file, db_file)
    _loaded.set(found)
    return found


def _text(path: str, what: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as exc:
        raise UsageProblem(f"{what}: {path} cannot be read: {exc.strerror or exc}.") from exc
    except UnicodeDecodeError as exc:
        raise UsageProblem(f"{what}: {path} is not UTF-8: {exc.reason} at byte {exc.start}.") from exc


def problems_of(found: Loaded, flags: Settings = {}) -> list[Problem]:  # noqa: B006 - a Mapping: nobody writes to it
    """Everything that is wrong with file and environment."""
    from ...engine.errors import Problem
    from ...repositories.url import DatabaseUrl
    from ...services.settings import FILE_VARIABLE, cross_problems, environment_problems, resolve

    problems = [
        *(found.file.problems if found.file is not None else ()),
        *(problem for _, problem in environment_problems(os.environ)),
    ]
    if found.db_file is not None:
        try:
            DatabaseUrl.parse(found.db_file)
        except ValueError:  # its text may hold a password
            problems.append(
                Problem("", "wrong_value", f"the file of {FILE_VARIABLE} holds no database URL", None)
            )
    if not problems:
        problems += cross_problems(resolve(flags, os.environ, found.file, found.db_file))
    return problems


def said(problems: Sequence[Problem]) -> str:
    """All of them, a line each."""
    return "the settings are wrong:" + "".join(f"\n  {line_of(each)}" for each in problems)


def line_of(problem: Problem) -> str:
    """What is wrong, and what was meant."""
    return f"{problem.message}: {problem.hint}" if problem.hint else problem.message


def use(context: typer.Context, found: Loaded, *, quietly: bool) -> None:
    """Give what was read to the command that follows. Unless `quietly`, raises UsageProblem for what is wrong."""
    from ...services.settings import environment_problems

    problems = list(found.file.problems) if found.file is not None else []
    # A command that opens no database does not mind a wrong URL, and one that does says so itself.
    problems += [problem for each, problem in environment_problems(os.environ) if each.key != "db"]
    if problems and not quietly:
        raise UsageProblem(said(problems))
    values: dict[str, Any] = dict(found.file.values) if found.file is not None else {}
    if found.db_file is not None:
        values["db"] = found.db_file
    by_variable = {each.env: values[each.key] for each in SETTINGS if each.key in values}
    if by_variable:
        context.default_map = _default_map(context.command, by_variable)


class _Parameter(Protocol):
    name: str | None
    envvar: Any


def _default_map(command: Any, by_variable: Mapping[str, Any]) -> dict[str, Any]:
    """Values for a tree of commands: an option that is a setting is known by its variable."""
    inner: Mapping[str, Any] | None = getattr(command, "commands", None)
    if inner is not None:
        return {name: _default_map(each, by_variable) for name, each in inner.items()}
    parameters = cast("list[_Parameter]", command.params)
    return {
        str(each.name): _for_click(by_variable[str(each.envvar)])
        for each in parameters
        if str(each.envvar) in by_variable
    }


def _for_click(value: Any) -> Any:
    return list(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value


def engine_settings(given: Settings | None = None) -> dict[str, Any]:
    """The container's options for an engine: from a command's own flags, else from environment and file."""
    from ...services.configuration import engine_fields
    from ...services.settings import resolve

    found = loaded()
    mine = [each for each in SETTINGS if each.section in {"engine", "log"}]
    values = resolve({}, os.environ, found.file, settings=mine)
    resolved = {key: each.value for key, each in values.items()}
    return engine_fields({**resolved, **(given or {})})


# --- flags


def with_settings(*sections: str, bare: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command a flag for each setting of these sections or keys, and their values as its argument `settings`.

    With `bare` these are the flags that stood on the command line, and nothing else.
    """
    mine = [each for each in SETTINGS if each.flag is not None and {each.section, each.key} & set(sections)]

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(**given: Any) -> Any:
            values = {each.key: _checked(each, given.pop(_parameter(each)), bare=bare) for each in mine}
            if bare:
                values = {key: value for key, value in values.items() if value is not None}
            return function(**given, settings=values)

        hints = typing.get_type_hints(function, include_extras=True)
        kept = [
            each.replace(annotation=hints[each.name])
            for each in inspect.signature(function).parameters.values()
            if each.name != "settings"
        ]
        flags = [_flag(each, bare=bare) for each in mine]
        # typer reads the signature, not the annotations of the function inside
        cast("Any", run).__signature__ = inspect.Signature([*kept, *flags])
        run.__annotations__ = {}
        del run.__wrapped__
        return run

    return wrap


def _parameter(setting: Setting) -> str:
    return "set_" + setting.key.replace(".", "_")


def _flag(setting: Setting, *, bare: bool) -> inspect.Parameter:
    kind: Any = _TYPES.get(setting.kind, str)
    default: Any = None if bare or setting.kind in {"list", "urls"} else setting.default
    if setting.kind in {"list", "urls"}:
        kind = list[str]
    if default is None:
        kind = kind | None
    bounds = {"min": setting.low, "max": setting.high} if setting.kind in {"integer", "number"} else {}
    option: Any = typer.Option(
        f"{setting.flag}/{setting.off_flag}" if setting.off_flag else str(setting.flag),
        envvar=None if bare else setting.env,
        metavar=setting.metavar,
        help=setting.about,
        rich_help_panel=f"Settings: {setting.section}" if setting.section else None,
        **cast("Any", bounds),
    )
    return inspect.Parameter(
        _parameter(setting),
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, option],
    )


def _checked(setting: Setting, value: Any, *, bare: bool) -> Any:
    """A flag's value as the table wants it. Raises UsageProblem."""
    from ...services.settings import checked

    if bare and (value is None or value == []):
        return None
    found = tuple(cast("list[str]", value or ())) if setting.kind in {"list", "urls"} else value
    try:
        return checked(setting, found)
    except ValueError as exc:
        raise UsageProblem(f"{setting.flag}: {exc}.") from exc
