"""What one setting is: its names, its kind, its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Kind", "Setting", "Value"]

Kind = Literal["text", "choice", "integer", "number", "boolean", "duration", "list", "url", "urls"]
Value = str | int | float | bool | tuple[str, ...] | None


@dataclass(slots=True, frozen=True, kw_only=True)
class Setting:
    """One thing that a process may be told."""

    #: `slots` in the section `engine` of the file: `engine.slots`.
    key: str
    kind: Kind
    default: Value
    about: str
    #: Without it: only in the environment and in the file.
    flag: str | None = None
    #: What `--flag` takes, for people.
    metavar: str | None = None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    #: A duration that may also be the word `never`.
    never: bool = False
    #: The variable's name where it is not made of the key.
    variable: str | None = None

    @property
    def section(self) -> str:
        """Its table in the file; empty at the top."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """Its name in its table."""
        return self.key.rpartition(".")[2]

    @property
    def env(self) -> str:
        """Its variable in the environment."""
        return self.variable or f"STRATAFLOW_{self.name.upper()}"

    @property
    def off_flag(self) -> str | None:
        """What switches a boolean off."""
        return f"--no-{self.flag[2:]}" if self.kind == "boolean" and self.flag else None
