"""The document's small objects: what a node or the definition says in one field, without nodes inside.

The leaf below `definition`, which adds the nodes. A model knows the shape of its own fields; errors carry our own
codes, so that the parser can report them without translation.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from .field_texts import (
    ErrorCode,
    ErrorPattern,
    KeyText,
    Message,
    PlainText,
)
from .fields import (
    Condition,
    Count,
    Delay,
    ItemSource,
    JoinNeed,
    Priority,
    QueueName,
    Share,
    Timeout,
    Times,
)

__all__ = [
    "TAG_MARK",
    "Defaults",
    "EndState",
    "Fail",
    "Join",
    "JoinField",
    "Loop",
    "Model",
    "Need",
    "NeedGroup",
    "NeedOn",
    "Needs",
    "Retry",
    "Start",
]

#: First character of every union tag: tells a tag from a member in an error's location.
TAG_MARK: Final = "\x1f"

EndState = Literal["completed", "failed", "skipped", "cancelled", "expired"]


def _text_tag(value: Any) -> str:
    return TAG_MARK + ("text" if isinstance(value, str) else "object")


def _needs_tag(value: Any) -> str:
    return TAG_MARK + ("group" if isinstance(value, (dict, NeedGroup)) else "list")


def _entry_tag(value: Any) -> str:
    if isinstance(value, str):
        return TAG_MARK + "text"
    grouped = isinstance(value, NeedGroup) or (
        isinstance(value, dict) and any(kind in value for kind in ("all", "any", "none"))
    )
    return TAG_MARK + ("group" if grouped else "object")


def _join_tag(value: Any) -> str:
    return TAG_MARK + ("object" if isinstance(value, (dict, Join)) else "text")


class Model(BaseModel):
    """A part of the document."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def has(self, field: str) -> bool:
        """Whether the document says this field; tells an output of null from no output."""
        return field in self.model_fields_set


class Retry(Model):
    """When and how often a failed attempt is repeated; missing keys come from `defaults.retry`."""

    max: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=0, description="Retries after the first attempt: 5 means up to 6 attempts."
    )
    delay: Delay = Field(default="1s", description="Pause before the first retry.")
    backoff: Literal["fixed", "linear", "exponential"] = Field(
        default="exponential", description="How the pause grows from retry to retry."
    )
    factor: Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)] = Field(
        default=2.0, description="With exponential backoff, each pause is this many times the one before."
    )
    max_delay: Delay = Field(default="1h", description="No pause is longer than this.")
    jitter: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        default=0.0, description="Share of the pause that may be added or taken, 0 to 1."
    )
    on: Annotated[tuple[ErrorPattern, ...], Field(strict=False)] = Field(
        default=(), description="Error patterns that are retried; absent = every retryable error."
    )
    never: Annotated[tuple[ErrorPattern, ...], Field(strict=False)] = Field(
        default=(), description="Error patterns that are never retried."
    )


class Defaults(Model):
    """What `run` nodes take where they say nothing themselves; `retry` is also for `flow`."""

    queue: QueueName = Field(default="default", description="Queue of the tasks.")
    priority: Priority = Field(default=0, description="Higher runs first.")
    timeout: Timeout = Field(default=None, description="Limit of one attempt; absent = no limit.")
    retry: Retry = Field(default_factory=Retry, description="Merged key by key with each node's own `retry`.")
    heartbeat: Timeout = Field(
        default=None, description="Longest silence of an attempt; absent = it need not report."
    )


class NeedOn(Model):
    """A dependency that is met by other ends than `completed`."""

    node: PlainText = Field(description="Name of a sibling node.")
    on: Annotated[tuple[EndState, ...], Field(strict=False, min_length=1)] = Field(
        default=("completed",), description="The ends of that node which meet the dependency."
    )


Need = Annotated[
    Annotated[PlainText, Tag(TAG_MARK + "text")] | Annotated[NeedOn, Tag(TAG_MARK + "object")],
    Discriminator(_text_tag),
]
_Members = Annotated[tuple[Need, ...] | None, Field(strict=False, min_length=1)]


class NeedGroup(Model):
    """Dependencies of which all, one or none must hold; exactly one of the three is said."""

    all: _Members = Field(default=None, description="Every one must hold, as if it stood by itself.")
    any: _Members = Field(default=None, description="The first that holds is enough; it is `trigger`.")
    none: _Members = Field(default=None, description="All must have ended, and none in its `on`.")


Needs = Annotated[
    Annotated[
        tuple[
            Annotated[
                Annotated[PlainText, Tag(TAG_MARK + "text")]
                | Annotated[NeedOn, Tag(TAG_MARK + "object")]
                | Annotated[NeedGroup, Tag(TAG_MARK + "group")],
                Discriminator(_entry_tag),
            ],
            ...,
        ],
        Field(strict=False),
        Tag(TAG_MARK + "list"),
    ]
    | Annotated[NeedGroup, Tag(TAG_MARK + "group")],
    Discriminator(_needs_tag),
]


class Join(Model):
    """When children that run side by side are met, how many failures it bears, and what becomes of the rest."""

    need: JoinNeed = Field(
        default="all",
        description="`all`, `any`, `first`, `majority`, `none`, a number of successes, or a percentage.",
    )
    tolerate: Share = Field(
        default=0, description="Children that may fail: a number, or a percentage rounded down."
    )
    rest: Literal["cancel", "keep"] = Field(
        default="cancel", description="What happens to unfinished children once the join is decided."
    )


#: A `join` is an object, or its `need` alone.
JoinField = Annotated[
    Annotated[JoinNeed, Tag(TAG_MARK + "text")] | Annotated[Join, Tag(TAG_MARK + "object")],
    Discriminator(_join_tag),
]


class Loop(Model):
    """How often a loop turns: exactly one of `while`, `until`, `times` and `for`."""

    while_: Condition = Field(
        default=None, alias="while", description="Asked before each turn; false ends the loop."
    )
    until: Condition = Field(default=None, description="Asked after each turn; true ends the loop.")
    times: Times = Field(default=None, description="Number of turns.")
    for_: ItemSource = Field(
        default=None, alias="for", description="The list, or object, whose items get a turn each."
    )
    max: Count = Field(default=1000, description="More turns fail the loop with `loop_limit`.")
    every: Delay = Field(default="0s", description="Pause from the end of a turn to the start of the next.")
    keep_last: Count = Field(default=100, description="Tasks of older turns are deleted.")


class Fail(Model):
    """The error that takes the place of the one that was handled."""

    code: ErrorCode = Field(description="Code of the error, e.g. `shop.NoStock`.")
    message: Message = Field(description="What went wrong, for people.")


class Start(Model):
    """How starts of the same workflow behave towards each other."""

    key: KeyText = Field(default=None, description="The same key again gives the run that has it.")
    mutex: KeyText = Field(default=None, description="At most one unfinished run has it.")
    on_duplicate: Literal["return_existing", "reject", "queue"] = Field(
        default="return_existing",
        description="A start whose key or mutex is taken gives that run, is refused, or waits for the mutex.",
    )
