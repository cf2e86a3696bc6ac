"""The document as typed, frozen models: what a definition may say, field by field (DESIGN section 7).

Step 1's result and step 2's input. A model knows the shape of its own fields and nothing about its
neighbours: names, references and order are the validator's. Every node is exactly one of five models, told
apart by its verb. Errors of these models carry our own codes, so that the parser can report them without
translation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from .fields import (
    Concurrency,
    Condition,
    Delay,
    ErrorPattern,
    ExecutorName,
    ItemSource,
    JoinNeed,
    PlainName,
    PlainText,
    Priority,
    QueueName,
    Share,
    Timeout,
    WaitTime,
    WorkflowName,
)

__all__ = [
    "TAG_MARK",
    "VERBS",
    "AnyNode",
    "Body",
    "Defaults",
    "Definition",
    "DoNode",
    "EndState",
    "Join",
    "MapNode",
    "NeedOn",
    "Node",
    "Retry",
    "RunNode",
    "Scope",
    "SetNode",
    "Verb",
    "WaitNode",
    "verb_of",
]

Verb = Literal["run", "map", "set", "wait", "do"]
#: First character of every union tag: tells a tag from a member in an error's location.
TAG_MARK: Final = "\x1f"
#: The verbs of this version; `do` is one only where `map` is absent.
VERBS: Final[tuple[Verb, ...]] = ("run", "map", "set", "wait", "do")

EndState = Literal["completed", "failed", "skipped", "cancelled", "expired"]


def verb_of(node: Mapping[str, Any]) -> Verb | None:
    """The verb of a raw node; `do` beside another verb is that verb's body."""
    return next((verb for verb in VERBS if verb in node), None)


def _node_tag(value: Any) -> str:
    if isinstance(value, Node):
        return TAG_MARK + value.verb
    return TAG_MARK + ((verb_of(cast("dict[str, Any]", value)) if isinstance(value, dict) else None) or "run")


def _body_tag(value: Any) -> str:
    if isinstance(value, Scope) or (isinstance(value, dict) and "nodes" in value):
        return TAG_MARK + "nodes"
    return _node_tag(value)


def _text_tag(value: Any) -> str:
    return TAG_MARK + ("text" if isinstance(value, str) else "object")


def _join_tag(value: Any) -> str:
    return TAG_MARK + ("object" if isinstance(value, (dict, Join)) else "text")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def has(self, field: str) -> bool:
        """Whether the document says this field; tells an output of null from no output."""
        return field in self.model_fields_set


class Retry(_Model):
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


class Defaults(_Model):
    """What `run` nodes take where they say nothing themselves; other verbs do not look here."""

    queue: QueueName = Field(default="default", description="Queue of the tasks.")
    priority: Priority = Field(default=0, description="Higher runs first.")
    timeout: Timeout = Field(default=None, description="Limit of one attempt; absent = no limit.")
    retry: Retry = Field(default_factory=Retry, description="Merged key by key with each node's own `retry`.")


class NeedOn(_Model):
    """A dependency that is met by other ends than `completed`."""

    node: PlainText = Field(description="Name of a sibling node.")
    on: Annotated[tuple[EndState, ...], Field(strict=False, min_length=1)] = Field(
        default=("completed",), description="The ends of that node which meet the dependency."
    )


Need = Annotated[
    Annotated[PlainText, Tag(TAG_MARK + "text")] | Annotated[NeedOn, Tag(TAG_MARK + "object")],
    Discriminator(_text_tag),
]


class Join(_Model):
    """When a map is met, how many failures it bears, and what becomes of the rest."""

    need: JoinNeed = Field(default="all", description="`all`, `any`, a number of successes, or a percentage.")
    tolerate: Share = Field(
        default=0, description="Items that may fail: a number, or a percentage rounded down."
    )
    rest: Literal["cancel", "keep"] = Field(
        default="cancel", description="What happens to unfinished items once the join is decided."
    )


class Node(_Model):
    """What every node may say, whatever its verb."""

    description: PlainText = Field(default="", description="For people; the engine does not read it.")
    needs: Annotated[tuple[Need, ...], Field(strict=False)] = Field(
        default=(), description="Dependencies beyond those that references make by themselves."
    )
    when: Condition = Field(default=None, description="The node is skipped when this is false.")
    output: Any = Field(
        default=None, description="Reshapes the node's output; reads the raw one as `result`."
    )

    @property
    def verb(self) -> Verb:
        """Name of the verb, which is also the plan's node kind."""
        raise NotImplementedError


class RunNode(Node):
    """Calls an executor."""

    run: ExecutorName = Field(description="Name of the executor, `domain.name`.")
    with_: Any = Field(default=None, alias="with", description="The executor's configuration.")
    retry: Retry = Field(default_factory=Retry, description="Merged key by key with `defaults.retry`.")
    timeout: Timeout = Field(default=None, description="Limit of one attempt; absent = no limit.")
    queue: QueueName = Field(default="default", description="Queue of the task.")
    priority: Priority = Field(default=0, description="Higher runs first.")

    @property
    def verb(self) -> Verb:
        """Give `run`."""
        return "run"


class MapNode(Node):
    """Runs its body once per item of a list, or per entry of an object."""

    map: ItemSource = Field(description="The list, or the object whose entries become `{key, value}`.")
    do: Body = Field(description="One node, or `{nodes, output}`.")
    as_: PlainName = Field(default="item", alias="as", description="Name of the item inside the body.")
    index: PlainName = Field(default="index", description="Name of the item's position, from 0.")
    concurrency: Concurrency = Field(default=None, description="Items at work at once; absent = no limit.")
    join: Annotated[
        Annotated[JoinNeed, Tag(TAG_MARK + "text")] | Annotated[Join, Tag(TAG_MARK + "object")],
        Discriminator(_join_tag),
    ] = Field(default="all", description="When the map is met; a text or number is short for `need`.")

    @property
    def verb(self) -> Verb:
        """Give `map`."""
        return "map"


class SetNode(Node):
    """Writes variables, which are read as `vars.<name>`."""

    set: dict[str, Any] = Field(description="New values by variable name.")

    @property
    def verb(self) -> Verb:
        """Give `set`."""
        return "set"


class Wait(_Model):
    """What a `wait` waits for."""

    for_: WaitTime = Field(alias="for", description="A duration, or an expression that gives one.")


class WaitNode(Node):
    """Pauses durably; holds no slot while it waits."""

    wait: Wait = Field(description="What to wait for.")

    @property
    def verb(self) -> Verb:
        """Give `wait`."""
        return "wait"


class Scope(_Model):
    """Nodes that run together, and what they give."""

    nodes: dict[str, AnyNode] = Field(description="The nodes by name.")
    output: Any = Field(
        default=None, description="The scope's output; absent = the outputs of its last nodes by name."
    )


class DoNode(Node):
    """A group: a scope of its own among its siblings."""

    do: Scope = Field(description="The group's nodes and output.")

    @property
    def verb(self) -> Verb:
        """Give `do`."""
        return "do"


AnyNode = Annotated[
    Annotated[RunNode, Tag(TAG_MARK + "run")]
    | Annotated[MapNode, Tag(TAG_MARK + "map")]
    | Annotated[SetNode, Tag(TAG_MARK + "set")]
    | Annotated[WaitNode, Tag(TAG_MARK + "wait")]
    | Annotated[DoNode, Tag(TAG_MARK + "do")],
    Discriminator(_node_tag),
]
Body = Annotated[
    Annotated[Scope, Tag(TAG_MARK + "nodes")]
    | Annotated[RunNode, Tag(TAG_MARK + "run")]
    | Annotated[MapNode, Tag(TAG_MARK + "map")]
    | Annotated[SetNode, Tag(TAG_MARK + "set")]
    | Annotated[WaitNode, Tag(TAG_MARK + "wait")],
    Discriminator(_body_tag),
]


class Definition(_Model):
    """A whole workflow; its nodes and output are the outermost scope."""

    dsl: Literal["1"] = Field(description="Version of this language.")
    name: WorkflowName = Field(description="Name of the workflow: letters, digits, `_`, `.` and `-`.")
    description: PlainText = Field(default="", description="For people; the engine does not read it.")
    inputs: dict[str, Any] | None = Field(
        default=None, description="JSON Schema (2020-12) of the inputs; absent = the workflow takes none."
    )
    defaults: Defaults = Field(
        default_factory=Defaults, description="For `run` nodes that say nothing themselves."
    )
    deadline: Timeout = Field(
        default=None,
        description="Limit of the whole run, from its start; passed, the run fails. Absent = no limit.",
    )
    nodes: dict[str, AnyNode] = Field(description="The nodes by name.")
    output: Any = Field(
        default=None, description="The workflow's output; absent = the outputs of its last nodes by name."
    )


MapNode.model_rebuild()
Scope.model_rebuild()
DoNode.model_rebuild()
Definition.model_rebuild()
