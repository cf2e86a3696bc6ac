"""Bodies and answers of alerts and their rules."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..routing import Answer, Body

__all__ = ["Alert", "Rule", "RuleWish"]

Severity = Literal["info", "warning", "critical"]


class Alert(Answer):
    """Something that somebody should look at."""

    id: str
    rule: str = Field(examples=["run_failed"])
    kind: str = Field(description="What the rule looks for.", examples=["run_failed"])
    subject: str = Field(description="A definition, run, queue, executor, engine, or `database`.")
    severity: Severity
    state: Literal["raised", "acknowledged", "resolved"]
    text: str = Field(description="What is the matter, and what to do next.")
    details: dict[str, Any] = Field(description="The same for programs.")
    count: int = Field(description="How often it happened, or was seen.")
    first_at: str | None
    last_at: str | None
    acknowledged_at: str | None
    acknowledged_by: str | None
    resolved_at: str | None
    resolved_by: str | None = Field(description="Who or what resolved it.")


class Rule(Answer):
    """What is looked for, and how bad it is."""

    name: str = Field(examples=["failure_rate"])
    kind: str = Field(examples=["failure_rate"])
    enabled: bool
    severity: Severity
    settings: dict[str, Any] = Field(examples=[{"window": "15m", "share": 0.5, "minimum": 10}])
    default: bool = Field(description="Nobody has changed it.")
    about: str
    updated_at: str | None
    updated_by: str | None


class RuleWish(Body):
    """All of a rule; what is left out is as its kind has it."""

    kind: str | None = Field(
        default=None,
        description="For a name that no shipped rule has.",
        max_length=100,
        examples=["run_failed"],
    )
    enabled: bool = True
    severity: Severity | None = None
    settings: dict[str, Any] = Field(
        default_factory=dict[str, Any], examples=[{"pattern": "billing.*", "window": "30m"}]
    )
