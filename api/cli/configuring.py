"""`config show`, `config check`: what this process is told, and by whom."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from ...services.configuration import shown
from .commands import Adder
from .errors import OK, USAGE, UsageProblem
from .options import Json
from .output import emit_json, note, print_table, say
from .settings import FILE, Settings, line_of, loaded, problems_of, said, with_settings

if TYPE_CHECKING:
    from ...services.settings import Resolved

__all__ = ["add_to"]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    group = add.group("config", "What strataflow is told, and by whom.")
    group(show, "config show --slots 20")
    group(check, "config check")


@with_settings("", "engine", "server", "streams", "graphql", "telemetry", "log", bare=True)
def show(*, json: Json = False, settings: Settings) -> int:
    """Show every setting, its value, and where that comes from.

    Takes every flag that a setting has, to see what it would do. Passwords are not shown. Exit code 2 if something is
    wrong, as `config check` says.
    """
    from ...services.settings import resolve

    found = loaded()
    if problems := problems_of(found, settings):
        raise UsageProblem(said(problems))
    resolved = list(resolve(settings, os.environ, found.file, found.db_file).values())
    if json:
        emit_json([_as_json(each) for each in resolved])
        return OK
    rows = [[each.setting.key, _text(each), each.source, each.setting.about] for each in resolved]
    print_table(["SETTING", "VALUE", "FROM", "WHAT"], rows)
    return OK


def check(*, json: Json = False) -> int:
    """Say what is wrong with the file of settings and the environment.

    Exit code 2 if something is. Opens no database; `doctor` does.
    """
    found = loaded()
    problems = problems_of(found)
    if json:
        items = [{"pointer": each.pointer, "message": each.message, "hint": each.hint} for each in problems]
        emit_json(
            {"file": found.file.label if found.file else None, "valid": not problems, "problems": items}
        )
        return USAGE if problems else OK
    for each in problems:
        note(line_of(each))
    if not problems:
        file = f"{found.file.label} sets {len(found.file.values)}" if found.file else f"there is no {FILE}"
        say(f"Settings are well; {file}.")
    return USAGE if problems else OK


def _as_json(each: Resolved) -> dict[str, Any]:
    setting = each.setting
    return {
        "name": setting.key,
        "value": shown(setting, each.value),
        "source": each.source,
        "default": shown(setting, setting.default),
        "flag": setting.flag,
        "environment": setting.env,
        "description": setting.about,
    }


def _text(each: Resolved) -> str:
    value = shown(each.setting, each.value)
    if isinstance(value, list):
        return " ".join(cast("list[str]", value))
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
