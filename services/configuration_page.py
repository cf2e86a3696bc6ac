"""The table of docs/configuration.md: `python -m strataflow.services.configuration_page` prints it."""

from __future__ import annotations

import sys
from typing import Any

from .configuration import SETTINGS, Setting

__all__ = ["markdown"]


def markdown() -> str:
    """The table, as docs/configuration.md shows it."""
    lines = ["| in the file | flag | variable | default | what |", "|---|---|---|---|---|"]
    for each in SETTINGS:
        flag = f"`{each.flag}{f' {each.metavar}' if each.metavar else ''}`" if each.flag else ""
        if each.off_flag:
            flag = f"`{each.flag}`, `{each.off_flag}`"
        cells = (f"`{each.key}`", flag, f"`{each.env}`", _default_text(each), f"{each.about}{_bounds(each)}")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _default_text(setting: Setting) -> str:
    if setting.default in (None, "", ()):
        return ""
    value: Any = setting.default
    return f"`{str(value).lower() if isinstance(value, bool) else f'{value:g}' if isinstance(value, float) else value}`"


def _bounds(setting: Setting) -> str:
    if setting.low is None or setting.high is None:
        return ""
    unit = " s" if setting.kind == "duration" else ""
    return f" {setting.low:.12g} to {setting.high:.12g}{unit}."


if __name__ == "__main__":
    sys.stdout.write(markdown())
