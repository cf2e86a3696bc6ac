"""One expression, from its text to a function of the data: Jinja's grammar, our own meaning.

Jinja parses; its compiler and runtime are never used. Every kind of node that may occur has a handler here and
everything else is refused, so there is no attribute, call, method, statement or global to escape through. Compiling
collects the static references, which the planner turns into edges, and all problems. A compiled expression is
immutable, hence safe in threads, and holds no data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from jinja2 import nodes

from .grammar import (
    KEYWORDS,
    Fault,
    Reference,
    SyntaxFault,
    is_name,
    is_slice,
    literal_part,
    literal_parts,
    options,
    parse,
)
from .jsonlang import closures
from .jsonlang.arguments import FUNCTIONS, Form, fault_in_call, naming_of
from .jsonlang.closures import Run, Step
from .jsonlang.operators import ARITHMETIC, COMPARISONS, negative, positive, sliced, truth
from .jsonlang.predicates import LENIENT_TESTS
from .jsonlang.values import label
from .templates import Expression

__all__ = ["MAX_DEPTH", "compile_expression"]

#: Levels of the syntax tree.
MAX_DEPTH: Final = 64

_DEEP_HINT: Final = "Compute in steps with `set`."


def compile_expression(text: str) -> Expression:
    """The expression of a text.

    Raises:
        SyntaxFault: with everything that is wrong with it.
    """
    compiler = _Compiler(text)
    try:
        tree = parse(text)
        run = compiler.value(tree)
    except RecursionError:
        raise SyntaxFault(Fault(0, "the expression is nested too deeply", _DEEP_HINT)) from None
    if compiler.faults:
        raise SyntaxFault(*compiler.faults)
    refs = tuple(sorted(compiler.refs, key=lambda reference: reference.position))
    return Expression(text, refs, refs[0] if compiler.is_literal_path(tree) else None, run)


class _Compiler:
    """Turns one syntax tree into nested functions; collects references and faults on the way."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.refs: list[Reference] = []
        self.faults: list[Fault] = []
        self._depth = 0
        self._literal: nodes.Node | None = None

    def is_literal_path(self, node: nodes.Node) -> bool:
        """Whether the node, already compiled, is a literal path as a whole."""
        return self._literal is node

    def value(self, node: nodes.Node) -> Run:
        """A function that gives the node's value and raises when it is undefined."""
        run = self.lenient(node)
        return closures.defined(run, node.lineno) if isinstance(node, _MAYBE_UNDEFINED) else run

    def values(self, many: Iterable[nodes.Node]) -> list[Run]:
        """One such function per node."""
        return [self.value(node) for node in many]

    def lenient(self, node: nodes.Node) -> Run:
        """A function that gives the node's value, which may be Undefined."""
        handler = _HANDLERS.get(type(node))
        if handler is None:
            return self.refuse(node, f"`{type(node).__name__.lower()}` is not available here")
        if self._depth >= MAX_DEPTH:
            return self.refuse(
                node, f"the expression is nested too deeply (over {MAX_DEPTH} levels)", _DEEP_HINT
            )
        self._depth += 1
        try:
            return handler(self, node)
        finally:
            self._depth -= 1

    def refuse(self, node: nodes.Node, message: str, hint: str | None = None) -> Run:
        """Note a fault at the node; what it gives is never run."""
        self.faults.append(Fault(node.lineno, message, hint) if hint else Fault(node.lineno, message))
        return closures.constant(None)

    def on_path(self, node: nodes.Expr) -> Run:
        """A value and its members; after a root, what is literal is a reference."""
        chain: list[nodes.Getattr | nodes.Getitem] = []
        base = node
        while isinstance(base, (nodes.Getattr, nodes.Getitem)) and not is_slice(base):
            chain.append(base)
            base = base.node
        chain.reverse()
        if not isinstance(base, nodes.Name):
            return self._members(self.lenient(base), chain, "the value")
        if base.name == "null":
            return self._members(closures.constant(None), chain, "null")
        if base.name in KEYWORDS:
            return self.refuse(base, f"unexpected `{base.name}`", "Put brackets around the part before it.")
        parts = literal_parts(chain)
        self.refs.append(Reference(base.name, parts, base.lineno, self.text))
        if len(parts) == len(chain):
            self._literal = node
        return self._members(closures.reader(base.name, parts), chain[len(parts) :], label(base.name, parts))

    def _members(self, base: Run, chain: Sequence[nodes.Getattr | nodes.Getitem], where: str) -> Run:
        steps: list[Step] = []
        for node in chain:
            part = literal_part(node)
            if part is not None:
                steps.append(closures.fixed_step(part, where))
                where = label(where, (part,))
            elif isinstance(node, nodes.Getitem):
                steps.append(closures.computed_step(self.value(node.arg), where, node.lineno))
                where = f"{where}[…]"
        return closures.stepped(base, steps) if steps else base

    def on_item(self, node: nodes.Getitem) -> Run:
        """`value[key]` or `value[start:stop:step]`."""
        if not isinstance(node.arg, nodes.Slice):
            return self.on_path(node)
        bounds = [
            closures.constant(None) if bound is None else self.value(bound)
            for bound in (node.arg.start, node.arg.stop, node.arg.step)
        ]
        return closures.operation(sliced, [self.value(node.node), *bounds], node.lineno)

    def on_literal(self, node: nodes.Const) -> Run:
        """A number, text, true, false or null."""
        return closures.constant(node.value)

    def on_list(self, node: nodes.List | nodes.Tuple) -> Run:
        """`[a, b]`; `(a, b)` is the same."""
        items = self.values(node.items)
        return lambda frame: [item(frame) for item in items]

    def on_object(self, node: nodes.Dict) -> Run:
        """`{'a': 1}`."""
        for pair in node.items:
            if isinstance(pair.key, nodes.Const) and not isinstance(pair.key.value, str):
                self.refuse(pair.key, "the keys of an object are text", "Put the key in quotes.")
        pairs = [(self.value(pair.key), self.value(pair.value)) for pair in node.items]
        position = node.lineno
        return lambda frame: {closures.object_key(key(frame), position): item(frame) for key, item in pairs}

    def on_choice(self, node: nodes.CondExpr) -> Run:
        """`a if condition else b`."""
        if node.expr2 is None:
            return self.refuse(node, "`if` has no `else`", "Write `a if condition else null`.")
        return closures.choice(self.value(node.test), self.lenient(node.expr1), self.lenient(node.expr2))

    def on_logic(self, node: nodes.And | nodes.Or) -> Run:
        """`a and b`, `a or b`."""
        function = closures.both if isinstance(node, nodes.And) else closures.either
        return function(self.value(node.left), self.lenient(node.right))

    def on_not(self, node: nodes.Not) -> Run:
        """`not a`."""
        inner = self.value(node.node)
        return lambda frame: not truth(inner(frame))

    def on_sign(self, node: nodes.Neg | nodes.Pos) -> Run:
        """`-a`, `+a`."""
        function = negative if isinstance(node, nodes.Neg) else positive
        return closures.operation(function, [self.value(node.node)], node.lineno)

    def on_arithmetic(self, node: nodes.BinExpr) -> Run:
        """`a + b` and its like."""
        left = node.left
        if isinstance(node, nodes.Sub) and isinstance(left, nodes.Getattr) and is_name(left.node, "nodes"):
            hint = "Names hold letters, digits and `_`; a `-` subtracts."
            return self.refuse(node, f"`nodes.{left.attr}` is followed by `-`", hint)
        return closures.operation(ARITHMETIC[node.operator], self.values((left, node.right)), node.lineno)

    def on_power(self, node: nodes.Pow) -> Run:
        """`a ** b` is refused: it makes huge numbers of short texts."""
        return self.refuse(node, "`**` is not available", "Multiply, or compute it in an executor.")

    def on_concatenation(self, node: nodes.Concat) -> Run:
        """`a ~ b`."""
        return closures.operation(closures.concatenated, self.values(node.nodes), node.lineno)

    def on_comparison(self, node: nodes.Compare) -> Run:
        """`a < b`, also as a chain `a < b <= c`."""
        first = self.value(node.expr)
        links = [(COMPARISONS[link.op], self.value(link.expr)) for link in node.ops]
        if len(links) == 1:
            return closures.operation(links[0][0], [first, links[0][1]], node.lineno)
        return closures.chain(first, links, node.lineno)

    def on_call(self, node: nodes.Call) -> Run:
        """`f(x)` is refused."""
        hint = "There are no functions; a filter changes a value: `value | name`."
        if isinstance(node.node, nodes.Getattr) and node.node.attr in FUNCTIONS["filter"]:
            hint = f"There are no methods; write `value | {node.node.attr}`."
        return self.refuse(node, "calls are not available", hint)

    def on_filter(self, node: nodes.Filter) -> Run:
        """`value | name(arguments)`."""
        if node.node is None:
            return self.refuse(node, "a filter needs a value before it")
        if node.name != "default":
            return self._named(node, "filter", self.value(node.node))
        # Unlike every other filter it looks at its argument only when it needs it.
        self._check(node, "filter")
        given = dict(zip(("fallback", "boolean"), node.args, strict=False)) | options(node)
        other = self.lenient(given["fallback"]) if "fallback" in given else closures.constant(None)
        boolean = self.value(given["boolean"]) if "boolean" in given else None
        return closures.fallback(self.lenient(node.node), other, boolean)

    def on_test(self, node: nodes.Test) -> Run:
        """`value is name(arguments)`."""
        lenient = node.name in LENIENT_TESTS
        return self._named(node, "test", self.lenient(node.node) if lenient else self.value(node.node))

    def _named(self, node: nodes.Filter | nodes.Test, form: Form, value: Run) -> Run:
        self._check(node, form)
        operands = [value, *self.values(node.args)]
        named = {key: self.value(option) for key, option in options(node).items()}
        function = FUNCTIONS[form].get(node.name)
        if function is None:
            return closures.constant(None)
        if named:
            return closures.with_options(function, operands, named, node.lineno, node.name)
        return closures.operation(function, operands, node.lineno, node.name)

    def _check(self, node: nodes.Filter | nodes.Test, form: Form) -> None:
        """Note a fault when the filter or test is unknown or does not take its arguments."""
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            self.refuse(node, "`*` before an argument is not available", "Write the arguments one by one.")
            return
        names = list(options(node))
        fault = fault_in_call(form, node.name, len(node.args), names)
        if fault:
            self.refuse(node, *fault)
            return
        naming = naming_of(node.name) if form == "filter" else None
        if naming and len(node.args) > naming[0]:
            at, inner = naming
            name = node.args[at]
            if isinstance(name, nodes.Const):
                # `attribute` is for the filter itself; it hands on the rest.
                rest = [option for option in names if option != "attribute"]
                fault = fault_in_call(inner, name.value, len(node.args) - at - 1, rest)
                if fault:
                    self.refuse(name, *fault)


#: Everything an expression may be made of; what is missing here does not exist.
_HANDLERS: Final[Mapping[type[nodes.Node], Callable[[_Compiler, Any], Run]]] = {
    nodes.Add: _Compiler.on_arithmetic,
    nodes.And: _Compiler.on_logic,
    nodes.Call: _Compiler.on_call,
    nodes.Compare: _Compiler.on_comparison,
    nodes.Concat: _Compiler.on_concatenation,
    nodes.CondExpr: _Compiler.on_choice,
    nodes.Const: _Compiler.on_literal,
    nodes.Dict: _Compiler.on_object,
    nodes.Div: _Compiler.on_arithmetic,
    nodes.Filter: _Compiler.on_filter,
    nodes.FloorDiv: _Compiler.on_arithmetic,
    nodes.Getattr: _Compiler.on_path,
    nodes.Getitem: _Compiler.on_item,
    nodes.List: _Compiler.on_list,
    nodes.Mod: _Compiler.on_arithmetic,
    nodes.Mul: _Compiler.on_arithmetic,
    nodes.Name: _Compiler.on_path,
    nodes.Neg: _Compiler.on_sign,
    nodes.Not: _Compiler.on_not,
    nodes.Or: _Compiler.on_logic,
    nodes.Pos: _Compiler.on_sign,
    nodes.Pow: _Compiler.on_power,
    nodes.Sub: _Compiler.on_arithmetic,
    nodes.Test: _Compiler.on_test,
    nodes.Tuple: _Compiler.on_list,
}
_MAYBE_UNDEFINED: Final = (
    nodes.And,
    nodes.CondExpr,
    nodes.Filter,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Name,
    nodes.Or,
)
