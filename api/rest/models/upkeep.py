"""Models of looking after a database."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..routing import Answer

__all__ = ["Diagnosis"]


class Check(Answer):
    """One thing that was looked at."""

    name: str = Field(description="What.", examples=["database"])
    status: Literal["ok", "warn", "fail"] = Field(description="How it stands.")
    message: str = Field(description="What was found.")
    hint: str | None = Field(description="What to do if it does not stand well.")


class Diagnosis(Answer):
    """How everything stands."""

    status: Literal["ok", "warn", "fail"] = Field(description="The worst of all.")
    checks: list[Check] = Field(description="In the order in which one would look.")
