"""Reads an Aura task file: `meta`, `inputs` as JSON Schema, and the steps as they stand; `aura` makes nodes of them.

Pure. Everything that is refused is noted with its place, and reading goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from .aura_text import slug
from .errors import Problem
from .field_texts import computed, kind_of
from .pointers import child, values_in
from .problems import listed, suggestion

__all__ = ["Head", "Inputs", "Notes", "Step", "Steps"]

_META: Final = ("title", "description")
_INPUT: Final = ("name", "type", "required", "default", "description", "enum", "min", "max")
_TYPES: Final = {
    "string": "string",
    "integer": "integer",
    "boolean": "boolean",
    "float": "number",
    "list": "array",
    "dict": "object",
}
_BOUNDS: Final = {"min": "minimum", "max": "maximum"}
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\Z")
_STEP: Final = (
    *("name", "action", "params", "when", "loop", "parallelism", "on_error"),
    *("retry", "retry_delay", "timeout"),
)
#: These say something even when they are blank.
_NEVER_BLANK: Final = frozenset({"when", "loop"})
_SET: Final = "core.set_context"
_ACTION: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\Z")
#: `on_error` inside `on_error`.
_MAX_DEPTH: Final = 8


class Notes:
    """The problems found so far, and the checks that every part needs."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def note(self, pointer: str, code: str, message: str, hint: str | None = None) -> None:
        """Add a problem."""
        self.problems.append(Problem(pointer, code, message, hint))

    def check(self, kind: type, value: Any, pointer: str, wanted: str) -> bool:
        """Whether the value is of this very type; true is no number."""
        if type(value) is not kind:
            self.note(pointer, "wrong_type", f"must be {wanted}, not {kind_of(value)}", f"write {wanted}")
        return type(value) is kind

    def members(self, value: Any, pointer: str, known: Sequence[str], what: str) -> dict[str, Any] | None:
        """The known members of an object; others are problems."""
        if not isinstance(value, dict):
            message = f"{what} is an object, not {kind_of(value)}"
            self.note(pointer, "wrong_type", message, f"it may have {listed(known)}")
            return None
        found = cast("dict[str, Any]", value)
        for key in found:
            if key not in known:
                hint = suggestion(key, known, otherwise="newer Aura tasks are not read; known are")
                self.note(child(pointer, key), "unknown_field", f"{what} has no {key!r}", hint)
        return {key: each for key, each in found.items() if key in known}

    def text(self, fields: Mapping[str, Any], key: str, pointer: str) -> str:
        """A text in which nothing is evaluated; empty when it is blank or refused."""
        value, where = fields.get(key), child(pointer, key)
        if value is None or not self.check(str, value, where, "text"):
            return ""
        return value if self.constant(value, where) else ""

    def constant(self, value: Any, pointer: str) -> bool:
        """Whether there is no expression in it."""
        places = [where for where, each in values_in(value, pointer) if computed(each)]
        for where in places:
            hint = "expressions stand in params, when and loop"
            self.note(where, "expression_not_allowed", "no expression is evaluated here", hint)
        return not places


class Head:
    """`meta`: the definition's name and description."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def read(self, meta: Any, name: str | None) -> dict[str, str]:
        """The fields of the definition; a title that its name does not show goes to the description."""
        fields = self._notes.members(meta, "/meta", _META, "'meta'") or {}
        title = self._notes.text(fields, "title", "/meta")
        about = self._notes.text(fields, "description", "/meta")
        own = slug(title).lower()[:200]
        if name is None and not fields.get("title"):
            self._notes.note("/meta/title", "missing_field", "'title' is missing", "write one")
        self._check(name, title, own)
        said = [title, about] if name not in (None, own) else [about or title]
        description = "\n".join(text for text in said if text)
        return {"name": name or own, **({"description": description} if description else {})}

    def _check(self, name: str | None, title: str, own: str) -> None:
        if name is not None and not _NAME.match(name):
            hint = "use letters, digits, '_', '.' and '-', at most 200"
            self._notes.note("", "bad_name", f"{name!r} is no workflow name", hint)
        if name is None and title and not own:
            message = f"{title!r} has no letter or digit that the name of a workflow can have"
            self._notes.note("/meta/title", "bad_name", message, "give a name when you import it")


class Inputs:
    """`inputs`: what a start must give."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        #: Aura's types by name, also of inputs that are refused: what reads them is not to blame. Empty for one that
        #: may be null.
        self.kinds: dict[str, str] = {}
        self.properties: dict[str, Any] = {}
        self.required: list[str] = []

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the inputs; what is not declared is refused."""
        found: dict[str, Any] = {"type": "object"}
        if self.required:
            found["required"] = self.required
        return {**found, "properties": self.properties, "additionalProperties": False}

    def read(self, rows: Any) -> None:
        """Read the list."""
        if self._notes.check(list, rows, "/inputs", "a list"):
            for at, row in enumerate(rows):
                pointer = child("/inputs", at)
                fields = self._notes.members(row, pointer, _INPUT, "an input")
                if fields is not None:
                    self._row(fields, pointer)

    def _row(self, fields: Mapping[str, Any], pointer: str) -> None:
        name, kind = self._notes.text(fields, "name", pointer), fields.get("type")
        if not fields.get("name"):
            self._notes.note(child(pointer, "name"), "missing_field", "'name' is missing", "write one")
        elif name in self.kinds:
            message = f"there is an input {name!r} already"
            self._notes.note(child(pointer, "name"), "duplicate_key", message, "rename or remove one")
        self.kinds[name] = kind if isinstance(kind, str) else ""
        if self.kinds[name] not in _TYPES:
            hint = suggestion(self.kinds[name], _TYPES, otherwise="types are")
            self._notes.note(child(pointer, "type"), "bad_value", f"{kind!r} is no type of an input", hint)
            return
        self.properties[name] = self._property(fields, pointer)
        if "default" in fields and fields["default"] is None:
            self.kinds[name] = ""
        required = fields.get("required")
        if required is None or not self._notes.check(bool, required, child(pointer, "required"), "a boolean"):
            return
        # A default is filled in first, so that an input which has one is never missing.
        if required and "default" not in fields:
            self.required.append(name)
        elif required and fields["default"] is None:
            message = "a required input cannot be null where it is missing"
            self._notes.note(child(pointer, "default"), "bad_value", message, "remove the default")

    def _property(self, fields: Mapping[str, Any], pointer: str) -> dict[str, Any]:
        kind = _TYPES[fields["type"]]
        blank = "default" in fields and fields["default"] is None
        found: dict[str, Any] = {"type": [kind, "null"] if blank else kind}
        if about := self._notes.text(fields, "description", pointer):
            found["description"] = about
        for key in ("default", "enum"):
            self._notes.constant(fields.get(key), child(pointer, key))
        if "default" in fields:
            found["default"] = fields["default"]
        if fields.get("enum") is not None:
            found["enum"] = fields["enum"]
            if blank and isinstance(fields["enum"], list):
                found["enum"] = [*cast("list[Any]", fields["enum"]), None]
        for key, ours in _BOUNDS.items():
            if fields.get(key) is None:
                continue
            found[ours] = fields[key]
            if kind not in ("integer", "number"):
                message = f"{key!r} is for inputs of type integer and float"
                self._notes.note(child(pointer, key), "misplaced_field", message, "remove it")
        self._check(found, pointer)
        least, most = found.get("minimum"), found.get("maximum")
        if isinstance(least, (int, float)) and isinstance(most, (int, float)) and least > most:
            message = f"no number is at least {least} and at most {most}"
            self._notes.note(child(pointer, "max"), "bad_value", message, "swap them")
        return found

    def _check(self, found: dict[str, Any], pointer: str) -> None:
        # Imported where it is needed: most of the time of a cold start would go into jsonschema.
        from .input_schema import check_input_schema

        for problem in check_input_schema({"type": "object", "properties": {"x": found}}, ""):
            where = problem.pointer.removeprefix("/properties/x")
            for key, ours in _BOUNDS.items():
                where = f"/{key}" if where == f"/{ours}" else where
            self._notes.note(
                pointer + where, problem.code, problem.message, problem.hint or "correct the input"
            )


@dataclass(slots=True, eq=False)
class Step:
    """One step, as far as it could be read."""

    fields: dict[str, Any]
    pointer: str
    #: What its node is called when it has no name of its own.
    otherwise: str
    node: str = ""
    handlers: list[Step] = field(default_factory=list["Step"])
    #: Nodes and context variables that it or its handlers read, and those that they set.
    nodes: set[str] = field(default_factory=set[str])
    reads: set[str] = field(default_factory=set[str])
    sets: set[str] = field(default_factory=set[str])

    @property
    def label(self) -> str:
        """Its name in Aura, or nothing."""
        return self.fields.get("name", "")

    @property
    def params(self) -> dict[str, Any]:
        """What the action is given."""
        return self.fields.get("params", {})

    @property
    def writes(self) -> bool:
        """Whether it sets variables of the context."""
        return self.fields.get("action") == _SET

    def place(self, key: str) -> str:
        """Pointer of a field."""
        return child(self.pointer, key)

    def all(self) -> Iterator[Step]:
        """Itself and its handlers, in document order."""
        yield self
        for handler in self.handlers:
            yield from handler.all()


class Steps:
    """Reads the lists of steps, and checks what one field or one step says by itself."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def read(self, value: Any, pointer: str, stem: str, depth: int) -> list[Step]:
        """The steps of a list that can be read."""
        if isinstance(value, dict):
            hint = "the graphs of newer Aura tasks are not read: list the steps in their order"
            self._notes.note(pointer, "wrong_type", "must be a list, not an object", hint)
        elif depth > _MAX_DEPTH:
            message = f"'on_error' stands in itself more than {_MAX_DEPTH} times"
            self._notes.note(pointer, "too_deep", message, "fewer levels will do")
        elif self._notes.check(list, value, pointer, "a list"):
            rows = enumerate(cast("list[Any]", value))
            found = [self._step(row, child(pointer, at), f"{stem}_{at + 1}", depth) for at, row in rows]
            return [step for step in found if step is not None]
        return []

    def _step(self, row: Any, pointer: str, otherwise: str, depth: int) -> Step | None:
        given = self._notes.members(row, pointer, _STEP, "a step")
        if given is None:
            return None
        fields = {key: each for key, each in given.items() if each is not None or key in _NEVER_BLANK}
        step = Step(fields, pointer, otherwise)
        fields["name"] = self._notes.text(fields, "name", pointer)
        fields["action"] = self._action(step)
        if not self._notes.check(dict, step.params, step.place("params"), "an object"):
            del fields["params"]
        self._check_set(step) if step.writes else self._check_run(step)
        if "on_error" in fields:
            where = step.place("on_error")
            step.handlers = self.read(fields["on_error"], where, f"{otherwise}_error", depth + 1)
        return step

    def _action(self, step: Step) -> str:
        action = self._notes.text(step.fields, "action", step.pointer)
        where, hint = step.place("action"), "write 'plan.action', e.g. 'core.log'"
        if not step.fields.get("action"):
            self._notes.note(where, "missing_field", "'action' is missing", hint)
        elif action and not _ACTION.match(action):
            self._notes.note(where, "bad_name", f"{action!r} is no name of an executor", hint)
        return action

    def _check_run(self, step: Step) -> None:
        for key, other in (("retry_delay", "retry"), ("parallelism", "loop")):
            if key in step.fields and other not in step.fields:
                message = f"there is no {other!r} that it could belong to"
                hint = f"write {other!r}, or remove it"
                self._notes.note(step.place(key), "misplaced_field", message, hint)

    def _check_set(self, step: Step) -> None:
        step.sets.update(step.params)
        if not step.sets:
            hint = 'write {"name": "{{ … }}"}'
            self._notes.note(step.place("params"), "missing_field", "there is no variable to set", hint)
        for key in ("loop", "parallelism", "retry", "retry_delay", "timeout"):
            if key in step.fields:
                hint = "set it after the loop, from the output of a step" if key == "loop" else "leave it out"
                self._notes.note(step.place(key), "not_supported", f"{_SET} cannot have {key!r}", hint)
