"""A definition written in Python: the same JSON, with names that an editor completes and references that are objects.

Pure: a `Workflow` collects nodes and gives the document; nothing is stored or checked beyond what would lose something
(a name used twice, a scope used after its block). Validation is the engine's, as for any document.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self, cast

__all__ = ["Node", "Ref", "Scope", "Workflow", "expr"]

_PYTHON_NAMES: Final = {
    "as_": "as",
    "with_": "with",
    "finally_": "finally",
    "else_": "else",
    "for_": "for",
    "while_": "while",
}


class Ref:
    """What stands between `{{` and `}}`: attributes and items make longer paths, `str()` gives the text."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Ref:
        if name.startswith("__"):
            raise AttributeError(name)
        return Ref(f"{self._path}.{name}")

    def __getitem__(self, key: str | int) -> Ref:
        return Ref(f"{self._path}[{json.dumps(key)}]")

    def __str__(self) -> str:
        return f"{{{{ {self._path} }}}}"

    def __repr__(self) -> str:
        return f"Ref({self._path!r})"


def expr(text: str) -> Ref:
    """Any expression, as it stands between the braces: `expr("nodes.a.output | length > 3")`."""
    return Ref(text)


class Node(Ref):
    """A node that was added; `output`, `state`, `stats` and the other fields are references."""

    def __init__(self, name: str) -> None:
        super().__init__(f"nodes.{name}")
        self.node_name = name


def _plain(value: Any) -> Any:
    """Plain JSON: references become their text, names of nodes stand for nodes in `needs`."""
    if isinstance(value, Ref):
        return str(value)
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
        return {_PYTHON_NAMES.get(key, key): _plain(each) for key, each in members.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in cast("list[Any]", value)]
    return value


def _needs(value: Any) -> Any:
    if isinstance(value, Node):
        return value.node_name
    if isinstance(value, Mapping):
        return {key: _needs(each) for key, each in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_needs(each) for each in cast("list[Any]", value)]
    return value


class Scope:
    """Nodes that run together. In a `with` block: everything added inside belongs to it."""

    def __init__(self) -> None:
        self._nodes: dict[str, Any] = {}
        self._output: list[Any] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True

    def output(self, value: Any) -> None:
        """Set what the scope gives; without it, the outputs of its last nodes by name."""
        self._output = [value]

    def body(self) -> dict[str, Any]:
        """The scope as a body: `{nodes, output}`."""
        found: dict[str, Any] = {"nodes": self._nodes}
        if self._output:
            found["output"] = _plain(self._output[0])
        return found

    def node(self, name: str, verb: Mapping[str, Any], fields: Mapping[str, Any]) -> Node:
        """Add a node as it would stand in JSON. Raises ValueError for a name that is taken, or a closed scope."""
        if self._closed:
            raise ValueError(f"the block that {name!r} would stand in has ended")
        if name in self._nodes:
            raise ValueError(f"there is a node {name!r} in this scope already")
        rest = {key: value for key, value in fields.items() if value is not None}
        if "needs" in rest:
            rest["needs"] = _needs(rest["needs"])
        self._nodes[name] = {**_plain(verb), **_plain(rest)}
        return Node(name)

    # --- verbs

    def run(self, name: str, executor: str, with_: Any = None, **fields: Any) -> Node:
        """Call an executor; `with_` is its configuration, fields are those of the language: `retry`, `when`."""
        verb = {"run": executor} if with_ is None else {"run": executor, "with": with_}
        return self.node(name, verb, fields)

    def set(self, name: str, values: Mapping[str, Any], **fields: Any) -> Node:
        """Write variables, read as `expr("vars.x")`."""
        return self.node(name, {"set": values}, fields)

    def flow(self, name: str, definition: str, with_: Any = None, **fields: Any) -> Node:
        """Run another definition: `name` or `name@3`."""
        verb = {"flow": definition} if with_ is None else {"flow": definition, "with": with_}
        return self.node(name, verb, fields)

    def wait(self, name: str, **rule: Any) -> Node:
        """Wait: `for_=`, `until=`, `signal=` (with `match=`) or `condition=`; the node's other fields beside them."""
        own = {"for_", "until", "signal", "match", "condition", "every", "timeout", "on_timeout"}
        wait = {key: value for key, value in rule.items() if key in own}
        return self.node(name, {"wait": wait}, {key: value for key, value in rule.items() if key not in own})

    def map(self, name: str, items: Any, do: Any, **fields: Any) -> Node:
        """Run a body per item: a Scope, or a node as a dict; fields are `as_`, `concurrency`, `join` and so on."""
        return self.node(name, {"map": items, "do": _body(do)}, fields)

    def loop(self, name: str, rule: Mapping[str, Any], do: Any, **fields: Any) -> Node:
        """Turn again and again: `{"until": …}`, `{"while": …}`, `{"times": …}` or `{"for": …}`."""
        return self.node(name, {"loop": rule, "do": _body(do)}, fields)

    def parallel(self, name: str, branches: Mapping[str, Any], **fields: Any) -> Node:
        """Run bodies side by side, by name."""
        return self.node(name, {"parallel": {key: _body(each) for key, each in branches.items()}}, fields)

    def switch(self, name: str, *cases: tuple[Any, Any], otherwise: Any = None, **fields: Any) -> Node:
        """Run the first body whose condition holds: `(condition, body)` pairs."""
        verb: dict[str, Any] = {"switch": [{"when": when, "do": _body(do)} for when, do in cases]}
        if otherwise is not None:
            verb["else"] = _body(otherwise)
        return self.node(name, verb, fields)

    def group(self, name: str, do: Scope, **fields: Any) -> Node:
        """A scope among its siblings."""
        return self.node(name, {"do": _body(do)}, fields)


def _body(value: Any) -> Any:
    return value.body() if isinstance(value, Scope) else value


class Workflow(Scope):
    """A whole definition."""

    def __init__(self, name: str, **fields: Any) -> None:
        super().__init__()
        self._name = name
        self._fields = fields
        self._inputs: dict[str, Any] = {}
        self._required: list[str] = []

    @property
    def inputs(self) -> Ref:
        """The inputs: `flow.inputs.day`."""
        return Ref("inputs")

    @property
    def vars(self) -> Ref:
        """The variables: `flow.vars.total`."""
        return Ref("vars")

    def input(self, name: str, *, required: bool = True, **schema: Any) -> Ref:
        """Declare an input by its JSON Schema; one with a `default` is not required."""
        if name in self._inputs:
            raise ValueError(f"there is an input {name!r} already")
        self._inputs[name] = schema
        if required and "default" not in schema:
            self._required.append(name)
        return Ref(f"inputs.{name}")

    def document(self) -> dict[str, Any]:
        """The definition as JSON has it; give it to `start_workflow`, or write it to a file."""
        found: dict[str, Any] = {"dsl": "1", "name": self._name}
        fields = _plain(self._fields)
        for name in ("description", "labels"):
            if name in fields:
                found[name] = fields.pop(name)
        if self._inputs:
            schema: dict[str, Any] = {"type": "object", "properties": self._inputs}
            found["inputs"] = schema | ({"required": self._required} if self._required else {})
        return {**found, **fields, **self.body()}

    def json(self) -> str:
        """The definition as text."""
        return json.dumps(self.document(), indent=2, ensure_ascii=False) + "\n"
