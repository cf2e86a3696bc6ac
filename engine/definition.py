"""The document as typed, frozen models: what a definition may say, field by field (DESIGN section 7).

Step 1's result and step 2's input. A model knows the shape of its own fields and nothing about its
neighbours: names, references and order are the validator's. Every node is exactly one of nine models, told
apart by its verb; what holds no nodes stands in `definition_parts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, cast

from pydantic import Discriminator, Field, Tag

from .definition_pace import Limits, Schedule, TotalLimits
from .definition_parts import TAG_MARK, Defaults, Fail, JoinField, Loop, Model, Needs, Retry, Start
from .field_texts import (
    ErrorPattern,
    ExecutorName,
    FlowName,
    LabelName,
    PlainName,
    PlainText,
    SignalName,
    WorkflowName,
)
from .fields import (
    Concurrency,
    Condition,
    FlowInputs,
    Instant,
    ItemKey,
    ItemSource,
    Priority,
    QueueName,
    Timeout,
    WaitTime,
    Yes,
)

__all__ = [
    "VERBS",
    "AnyNode",
    "Body",
    "Case",
    "Definition",
    "DoNode",
    "FlowNode",
    "Handler",
    "LoopNode",
    "MapNode",
    "Node",
    "OnError",
    "ParallelNode",
    "RunNode",
    "Scope",
    "SetNode",
    "SwitchNode",
    "Verb",
    "Wait",
    "WaitNode",
    "verb_of",
]

Verb = Literal["run", "map", "parallel", "loop", "switch", "flow", "wait", "set", "do"]
#: The verbs; `do` is one only where `map` and `loop` are absent.
VERBS: Final[tuple[Verb, ...]] = (
    "run",
    "map",
    "parallel",
    "loop",
    "switch",
    "flow",
    "wait",
    "set",
    "do",
)


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


class Handler(Model):
    """What happens instead of a failure: at most one of `output`, `do`, `continue` and `fail`."""

    undo: bool = Field(default=False, description="First undo what is inside the failed container.")
    output: Any = Field(default=None, description="The node completes with this value; reads `error`.")
    do: Body | None = Field(default=None, description="Runs; the node completes with its output.")
    continue_: Yes = Field(
        default=None, alias="continue", description="`true`: the node stays failed but counts as met."
    )
    fail: Fail | None = Field(default=None, description="The node fails with this error instead.")


class OnError(Handler):
    """One entry of `on_error`: which errors it takes, and what happens then."""

    on: Annotated[tuple[ErrorPattern, ...], Field(strict=False, min_length=1)] = Field(
        default=(), description="Error patterns that it takes; absent = any error."
    )


_OnErrors = Annotated[tuple[OnError, ...], Field(strict=False)]


class Node(Model):
    """What every node may say, whatever its verb."""

    description: PlainText = Field(default="", description="For people; the engine does not read it.")
    needs: Needs = Field(
        default=(), description="Dependencies beyond those that references make by themselves."
    )
    when: Condition = Field(default=None, description="The node is skipped when this is false.")
    output: Any = Field(
        default=None, description="Reshapes the node's output; reads the raw one as `result`."
    )
    on_error: _OnErrors = Field(
        default=(), description="What happens when it fails for good; the first entry that matches counts."
    )
    undo: Body | None = Field(
        default=None, description="Takes back what the finished node did, when it is undone."
    )
    deadline: Timeout = Field(
        default=None, description="Limit from the moment its dependencies hold; passed, the node fails."
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
    heartbeat: Timeout = Field(
        default=None, description="Longest silence of an attempt; absent = it need not report."
    )
    queue: QueueName = Field(default="default", description="Queue of the task.")
    priority: Priority = Field(default=0, description="Higher runs first.")
    limits: Limits | None = Field(
        default=None, description="How many of its tasks run at once, in all runs together, and how fast."
    )

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
    join: JoinField = Field(
        default="all", description="When the map is met; a text or number is short for `need`."
    )
    key: ItemKey = Field(
        default=None, description="Text or number per item; of items with the same key only the first runs."
    )
    collect: Literal["list", "stats", "none"] = Field(
        default="list", description="What the map gives: the items' outputs, only their numbers, or null."
    )

    @property
    def verb(self) -> Verb:
        """Give `map`."""
        return "map"


class ParallelNode(Node):
    """Runs its branches side by side."""

    parallel: dict[str, Body] = Field(
        description="The branches by name: one node each, or `{nodes, output}`."
    )
    concurrency: Concurrency = Field(default=None, description="Branches at work at once; absent = no limit.")
    join: JoinField = Field(
        default="all", description="When it is met; a text or number is short for `need`."
    )

    @property
    def verb(self) -> Verb:
        """Give `parallel`."""
        return "parallel"


class LoopNode(Node):
    """Runs its body again and again, one turn after the other."""

    loop: Loop = Field(description="How often: exactly one of `while`, `until`, `times` and `for`.")
    do: Body = Field(description="One node, or `{nodes, output}`.")
    as_: PlainName = Field(
        default="item", alias="as", description="With `for`: name of the item inside the body."
    )
    index: PlainName = Field(default="index", description="With `for`: name of the item's position, from 0.")

    @property
    def verb(self) -> Verb:
        """Give `loop`."""
        return "loop"


class Case(Model):
    """One case of a `switch`."""

    when: Condition = Field(description="The case is taken when this is the first that is true.")
    do: Body = Field(description="One node, or `{nodes, output}`.")


class SwitchNode(Node):
    """Runs the first case whose condition is true."""

    switch: Annotated[tuple[Case, ...], Field(strict=False, min_length=1)] = Field(
        description="The cases; conditions are asked in this order."
    )
    else_: Body | None = Field(default=None, alias="else", description="Runs when no case is taken.")

    @property
    def verb(self) -> Verb:
        """Give `switch`."""
        return "switch"


class FlowNode(Node):
    """Runs another definition as a run of its own."""

    flow: FlowName = Field(description="Name of the definition, `name` or `name@version`.")
    with_: FlowInputs = Field(default=None, alias="with", description="The inputs of that run.")
    detach: bool = Field(default=False, description="Do not wait for its end.")
    retry: Retry = Field(
        default_factory=Retry, description="Merged key by key with `defaults.retry`; a retry is a new run."
    )

    @property
    def verb(self) -> Verb:
        """Give `flow`."""
        return "flow"


class SetNode(Node):
    """Writes variables, which are read as `vars.<name>`."""

    set: dict[str, Any] = Field(description="New values by variable name.")

    @property
    def verb(self) -> Verb:
        """Give `set`."""
        return "set"


class Wait(Model):
    """What a `wait` waits for: exactly one of `for`, `until`, `signal` and `condition`."""

    for_: WaitTime = Field(
        default=None, alias="for", description="A duration, or an expression that gives one."
    )
    until: Instant = Field(default=None, description="An instant, or an expression that gives one.")
    signal: SignalName = Field(default=None, description="Name of the signal.")
    match: Condition = Field(
        default=None, description="With `signal`: which one is taken; reads its payload as `signal`."
    )
    condition: Condition = Field(default=None, description="Over variables; looked at when one changes.")
    every: Timeout = Field(default=None, description="With `condition`: also look this often.")
    timeout: Timeout = Field(default=None, description="Longest wait; passed, the node fails with `timeout`.")
    on_timeout: Handler | None = Field(
        default=None, description="What happens instead of that failure; shaped like an entry of `on_error`."
    )


class WaitNode(Node):
    """Pauses durably; holds no slot while it waits."""

    wait: Wait = Field(description="What to wait for.")

    @property
    def verb(self) -> Verb:
        """Give `wait`."""
        return "wait"


class Scope(Model):
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
    | Annotated[ParallelNode, Tag(TAG_MARK + "parallel")]
    | Annotated[LoopNode, Tag(TAG_MARK + "loop")]
    | Annotated[SwitchNode, Tag(TAG_MARK + "switch")]
    | Annotated[FlowNode, Tag(TAG_MARK + "flow")]
    | Annotated[WaitNode, Tag(TAG_MARK + "wait")]
    | Annotated[SetNode, Tag(TAG_MARK + "set")]
    | Annotated[DoNode, Tag(TAG_MARK + "do")],
    Discriminator(_node_tag),
]
Body = Annotated[
    Annotated[Scope, Tag(TAG_MARK + "nodes")]
    | Annotated[RunNode, Tag(TAG_MARK + "run")]
    | Annotated[MapNode, Tag(TAG_MARK + "map")]
    | Annotated[ParallelNode, Tag(TAG_MARK + "parallel")]
    | Annotated[LoopNode, Tag(TAG_MARK + "loop")]
    | Annotated[SwitchNode, Tag(TAG_MARK + "switch")]
    | Annotated[FlowNode, Tag(TAG_MARK + "flow")]
    | Annotated[WaitNode, Tag(TAG_MARK + "wait")]
    | Annotated[SetNode, Tag(TAG_MARK + "set")],
    Discriminator(_body_tag),
]


class Definition(Model):
    """A whole workflow; its nodes and output are the outermost scope."""

    dsl: Literal["1"] = Field(description="Version of this language.")
    name: WorkflowName = Field(description="Name of the workflow: letters, digits, `_`, `.` and `-`.")
    description: PlainText = Field(default="", description="For people; the engine does not read it.")
    labels: dict[LabelName, PlainText] = Field(
        default_factory=dict, description="Short texts by name, to find the runs by."
    )
    inputs: dict[str, Any] | None = Field(
        default=None, description="JSON Schema (2020-12) of the inputs; absent = the workflow takes none."
    )
    start: Start | None = Field(
        default=None, description="How starts of the same workflow behave towards each other."
    )
    schedule: Schedule | None = Field(default=None, description="When it starts by itself.")
    limits: TotalLimits | None = Field(
        default=None, description="How many tasks of all its runs together run at once, and how fast."
    )
    defaults: Defaults = Field(
        default_factory=Defaults, description="For `run` nodes that say nothing themselves."
    )
    deadline: Timeout = Field(
        default=None,
        description="Limit of the whole run, from its start; passed, the run fails. Absent = no limit.",
    )
    on_failure: Literal["stop", "finish"] = Field(
        default="stop",
        description="After a failure nothing new begins, or what does not depend on it goes on.",
    )
    nodes: dict[str, AnyNode] = Field(description="The nodes by name.")
    on_error: _OnErrors = Field(
        default=(), description="What happens when the run fails; the first entry that matches counts."
    )
    finally_: Body | None = Field(
        default=None, alias="finally", description="Runs after every end, before the run is over."
    )
    output: Any = Field(
        default=None, description="The workflow's output; absent = the outputs of its last nodes by name."
    )


for _model in (Handler, OnError, Wait, Case, Scope, *Node.__subclasses__(), Definition):
    _model.model_rebuild()
