"""Models of definitions."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..routing import Answer, Body
from .common import FieldProblem, Instant

__all__ = [
    "Changes",
    "Checked",
    "Comparison",
    "Conversion",
    "Converted",
    "Definition",
    "DefinitionVersion",
    "Document",
    "NewDefinition",
    "Registered",
    "StateChange",
]

_HELLO: dict[str, Any] = {"dsl": "1", "name": "hello", "nodes": {"a": {"run": "core.noop", "with": 1}}}


class NewDefinition(Body):
    """A definition to store."""

    definition: dict[str, Any] = Field(
        description="The definition, or an ordered list of steps.", examples=[_HELLO]
    )
    activate: bool = Field(default=False, description="Make it the version that a start by name takes.")


class Document(Body):
    """A definition to look at."""

    definition: dict[str, Any] = Field(
        description="The definition, or an ordered list of steps.", examples=[_HELLO]
    )


class Conversion(Body):
    """An ordered list of steps."""

    task: dict[str, Any] = Field(
        description="A task file of Aura: `meta`, `inputs`, `steps`.",
        examples=[{"steps": [{"name": "greet", "action": "core.noop", "params": {"text": "Hello"}}]}],
    )
    name: str | None = Field(
        default=None, max_length=200, description="The definition's name; null: its title."
    )


class Converted(Answer):
    """What a list of steps is as a definition."""

    definition: dict[str, Any] = Field(description="The definition; nothing is stored.")


class Comparison(Body):
    """Two definitions, each `name@version` or a document."""

    before: str | dict[str, Any] = Field(description="The older one.", examples=["hello@1"])
    after: str | dict[str, Any] = Field(description="The newer one.", examples=["hello@2"])


class StateChange(Body):
    """What a version becomes."""

    state: Literal["active", "deprecated", "archived"] = Field(
        description="The version that a start by name takes; started only by its number; started no more."
    )


class DefinitionVersion(Answer):
    """A stored version, without its document."""

    id: str = Field(description="Its id.")
    name: str = Field(description="The definition's name.", examples=["hello"])
    version: int = Field(description="The version's number, from 1.")
    state: str = Field(description="`draft`, `active`, `deprecated` or `archived`.")
    active: bool = Field(description="Is it what a start by name takes?")
    hash: str = Field(description="SHA-256 of its canonical text.")
    created_at: Instant


class Definition(DefinitionVersion):
    """A stored version with its document."""

    definition: dict[str, Any] = Field(description="The document.")


class Registered(DefinitionVersion):
    """A version that was stored."""

    warnings: list[str] = Field(description="What could be better in it.")


class CheckedProblem(FieldProblem):
    """One thing that is wrong with a definition, or could be better."""

    severity: str = Field(description="`error` refuses the definition; `warning` does not.")


class Checked(Answer):
    """What a check found."""

    valid: bool = Field(description="Would it be stored?")
    name: str | None = Field(description="The definition's name, as far as it tells.")
    problems: list[CheckedProblem] = Field(description="In the order of the document.")


class Changed(Answer):
    """One place at which two definitions differ. What a document does not have there is absent."""

    pointer: str = Field(description="Where: a JSON pointer.")
    before: Any = Field(default=None, description="What the older one has; absent: nothing.")
    after: Any = Field(default=None, description="What the newer one has; absent: nothing.")


class Changes(Answer):
    """What differs."""

    changes: list[Changed] = Field(description="In the order of the older one, what is new last.")
