"""Builds the tree of `symbols` from a definition: addresses, scopes, and every template parsed once."""

from __future__ import annotations

from typing import Any, Final

from .definition import (
    AnyNode,
    Body,
    Definition,
    DoNode,
    FlowNode,
    Handler,
    LoopNode,
    MapNode,
    OnError,
    ParallelNode,
    RunNode,
    Scope,
    SetNode,
    SwitchNode,
    WaitNode,
)
from .definition_pace import Limits
from .expressions import parse_template
from .plan import ScopeKind
from .pointers import child
from .symbols import EntrySymbol, NodeSymbol, ScopeSymbol, Symbols, Use, UseKind, add_writer

__all__ = ["build_symbols"]

#: Which field says how often a loop turns, and what a wait waits for: attribute → name in the document.
_LOOP: Final = {"while_": "while", "until": "until", "times": "times", "for_": "for"}
_WAIT: Final = {"for_": "for", "until": "until", "match": "match", "condition": "condition"}


def build_symbols(definition: Definition) -> Symbols:
    """The tree of a definition. References are not looked at yet."""
    root = ScopeSymbol("", "", "definition")
    symbols = Symbols(root)
    builder = _Builder(symbols)
    builder.definition(definition)
    return symbols


class _Builder:
    def __init__(self, symbols: Symbols) -> None:
        self._symbols = symbols

    def definition(self, model: Definition) -> None:
        root = self._symbols.root
        if model.start is not None:
            for name in ("key", "mutex"):
                value = getattr(model.start, name)
                use = None if value is None else self._use(name, f"/start/{name}", "start", value)
                if use is not None:
                    self._symbols.start[name] = use
        if model.schedule is not None and model.schedule.inputs is not None:
            inputs = model.schedule.inputs
            self._symbols.schedule = self._use("inputs", "/schedule/inputs", "schedule", inputs)
        self._fill(root, model)
        self._symbols.on_error = self._entries(model.on_error, "", None)
        if model.finally_ is not None:
            self._symbols.finally_ = self._body(model.finally_, "!finally", "/finally", "finally", None)

    # --- scopes

    def _fill(self, scope: ScopeSymbol, model: Scope | Definition) -> None:
        self._symbols.scopes.append(scope)
        prefix = f"{scope.address}." if scope.address else ""
        here = child(scope.pointer, "nodes")
        for index, (name, node) in enumerate(model.nodes.items()):
            self._add(NodeSymbol(name, prefix + name, child(here, name), node, scope, index))
        if model.has("output"):
            scope.output = self._use("output", child(scope.pointer, "output"), "scope", model.output)

    def _body(
        self, model: Body, address: str, pointer: str, kind: ScopeKind, owner: NodeSymbol | None
    ) -> ScopeSymbol:
        around = owner.scope if owner is not None else self._symbols.root
        scope = ScopeSymbol(address, pointer, kind, owner, around)
        if isinstance(model, Scope):
            self._fill(scope, model)
        else:
            scope.single = True
            self._symbols.scopes.append(scope)
            self._add(NodeSymbol("", address, pointer, model, scope, 0))
        return scope

    # --- nodes

    def _add(self, node: NodeSymbol) -> None:
        node.scope.nodes[node.name] = node
        self._symbols.nodes.append(node)
        model = node.model
        if model.when is not None:
            self._read(node, "when", model.when)
        self._verb(node, model)
        if model.has("output"):
            self._read(node, "output", model.output, "reshape")
        if model.on_error:
            node.on_error = self._entries(model.on_error, node.pointer, node)
        if model.undo is not None:
            pointer = child(node.pointer, "undo")
            node.undo = self._body(model.undo, f"{node.address}!undo", pointer, "undo", node)

    def _verb(self, node: NodeSymbol, model: AnyNode) -> None:
        match model:
            case RunNode() | FlowNode():
                if model.has("with_"):
                    self._read(node, "with", model.with_)
                if isinstance(model, RunNode) and model.limits is not None:
                    self._limits(node, model.limits)
            case MapNode():
                self._map(node, model)
            case SetNode():
                self._read(node, "set", model.set)
                add_writer(node, model)
            case WaitNode():
                self._wait(node, model)
            case _:
                self._container(node, model)

    def _container(self, node: NodeSymbol, model: AnyNode) -> None:
        match model:
            case ParallelNode():
                self._parallel(node, model)
            case LoopNode():
                self._loop(node, model)
            case SwitchNode():
                self._switch(node, model)
            case DoNode():
                node.inner = ScopeSymbol(node.address, child(node.pointer, "do"), "group", node, node.scope)
                self._fill(node.inner, model.do)
            case _:
                pass

    def _parallel(self, node: NodeSymbol, model: ParallelNode) -> None:
        self._concurrency(node, model)
        for name, body in model.parallel.items():
            pointer = child(f"{node.pointer}/parallel", name)
            node.bodies[name] = self._body(body, f"{node.address}.{name}", pointer, "branch", node)

    def _map(self, node: NodeSymbol, model: MapNode) -> None:
        self._read(node, "map", model.map)
        if model.key is not None:
            self._read(node, "key", model.key)
        self._concurrency(node, model)
        node.inner = self._body(model.do, f"{node.address}[]", child(node.pointer, "do"), "item", node)

    def _concurrency(self, node: NodeSymbol, model: MapNode | ParallelNode) -> None:
        if isinstance(model.concurrency, str):
            self._read(node, "concurrency", model.concurrency)

    def _limits(self, node: NodeSymbol, limits: Limits) -> None:
        if limits.key is not None:
            self._read(node, "limits/key", limits.key)
        if isinstance(limits.mutex, str):
            self._read(node, "limits/mutex", limits.mutex)
        else:
            for index, name in enumerate(limits.mutex or ()):
                self._read(node, f"limits/mutex/{index}", name)

    def _loop(self, node: NodeSymbol, model: LoopNode) -> None:
        for attribute, name in _LOOP.items():
            value = getattr(model.loop, attribute)
            if value is not None:
                self._read(node, f"loop/{name}", value)
        node.inner = self._body(model.do, f"{node.address}#", child(node.pointer, "do"), "turn", node)

    def _switch(self, node: NodeSymbol, model: SwitchNode) -> None:
        for index, case in enumerate(model.switch):
            field = f"switch/{index}"
            self._read(node, f"{field}/when", case.when)
            body = (f"{node.address}.{index}", f"{node.pointer}/{field}/do")
            node.bodies[str(index)] = self._body(case.do, *body, "case", node)
        if model.else_ is not None:
            pointer = child(node.pointer, "else")
            node.bodies["else"] = self._body(model.else_, f"{node.address}.else", pointer, "case", node)

    def _wait(self, node: NodeSymbol, model: WaitNode) -> None:
        for attribute, name in _WAIT.items():
            value = getattr(model.wait, attribute)
            if value is not None:
                self._read(node, f"wait/{name}", value)
        if model.wait.on_timeout is not None:
            pointer = f"{node.pointer}/wait/on_timeout"
            node.on_timeout = self._entry(model.wait.on_timeout, pointer, node, "!timeout")

    # --- handlers

    def _entries(
        self, models: tuple[OnError, ...], pointer: str, node: NodeSymbol | None
    ) -> list[EntrySymbol]:
        """The suffixes of those that run something are `!error`, `!error2`, `!error3` and so on."""
        entries: list[EntrySymbol] = []
        bodies = 0
        here = child(pointer, "on_error")
        for index, model in enumerate(models):
            bodies += model.do is not None
            suffix = f"!error{bodies if bodies > 1 else ''}"
            entries.append(self._entry(model, child(here, index), node, suffix))
        return entries

    def _entry(self, model: Handler, pointer: str, node: NodeSymbol | None, suffix: str) -> EntrySymbol:
        entry = EntrySymbol(model)
        kind: UseKind = "handler" if node is not None else "scope"
        if model.has("output"):
            entry.use = self._use("on_error", child(pointer, "output"), kind, model.output)
        elif model.fail is not None:
            value = model.fail.model_dump(exclude_unset=True)
            entry.use = self._use("on_error", child(pointer, "fail"), kind, value)
        elif model.do is not None:
            entry.suffix = suffix
            address = (node.address if node is not None else "") + suffix
            entry.body = self._body(model.do, address, child(pointer, "do"), "handler", node)
        return entry

    # --- templates

    def _read(self, node: NodeSymbol, name: str, value: Any, kind: UseKind = "forward") -> None:
        use = self._use(name, f"{node.pointer}/{name}", kind, value)
        if use is not None:
            node.uses.append(use)

    def _use(self, name: str, pointer: str, kind: UseKind, value: Any) -> Use | None:
        template, problems = parse_template(value, pointer=pointer)
        self._symbols.problems += problems
        return None if template is None else Use(name, pointer, kind, value, template)
