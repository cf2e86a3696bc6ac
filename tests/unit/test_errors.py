"""One family of errors: every public one has a code, a message, and a place in the documented tree."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

import strataflow
from strataflow import EngineError, ExecutorError
from strataflow.engine import errors
from strataflow.engine.errors import Problem

PUBLIC = [
    value
    for name in strataflow.__all__
    if inspect.isclass(value := getattr(strataflow, name)) and issubclass(value, Exception)
]
OURS = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, Exception)]
EXAMPLES: dict[str, Any] = {
    "DefinitionError": lambda: errors.DefinitionError(
        [Problem("/a", "bad", "is bad", "do this")], name="flow"
    ),
    "InputError": lambda: errors.InputError([Problem("/x", "required", "is missing")]),
    "IllegalTransition": lambda: errors.IllegalTransition("task", "running", "claim", id="i/a"),
    "TaskFailed": lambda: errors.TaskFailed("0190", "failed", errors.TaskFailure("task.OSError", "no room")),
    "WorkflowFailed": lambda: errors.WorkflowFailed("it failed", status=None),
    "ExpressionError": lambda: errors.ExpressionError("is wrong", expression="x", position=1, pointer="/a"),
}


def documented(text: str) -> dict[str, str]:
    """Read the tree of a docstring: class → parent, by how far each stands to the right."""
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = re.match(r"^([\s│├└─]*)([A-Z]\w+)(?=\s|$)", line)
        if match is None or (not above and "──" not in line and match[2] != "EngineError"):
            continue
        depth, name = len(match[1]), match[2]
        above = [entry for entry in above if entry[0] < depth]
        if above:
            found[name] = above[-1][1]
        elif name != "EngineError":
            break
        above.append((depth, name))
    return found


@pytest.mark.row("M-35")
def test_the_tree_of_the_docstring_is_the_tree_of_the_classes() -> None:
    classes = {kind.__name__: kind.__bases__[0].__name__ for kind in OURS if kind is not EngineError}
    assert documented(errors.__doc__ or "") == classes


@pytest.mark.row("M-35")
def test_every_public_error_belongs_to_one_of_two_families() -> None:
    assert all(issubclass(kind, EngineError | ExecutorError) for kind in PUBLIC)
    assert {kind for kind in PUBLIC if issubclass(kind, EngineError)} == set(OURS)


@pytest.mark.row("M-35")
@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_every_error_has_code_message_and_a_sentence_that_says_when(kind: type[EngineError]) -> None:
    error = EXAMPLES.get(kind.__name__, lambda: kind("what happened.", hint="Do this."))()
    assert isinstance(error, EngineError)
    assert re.fullmatch(r"[a-z_]+", error.code)
    assert error.message
    assert error.message in str(error)
    if error.hint:
        assert str(error).endswith(error.hint)
    assert re.match(r"(Raised|Base) ", kind.__doc__ or "")


@pytest.mark.row("M-35")
def test_codes_are_stable_and_unique() -> None:
    codes = {kind.__name__: str(vars(kind)["code"]) for kind in OURS}
    assert len(set(codes.values())) == len(codes)
    assert codes["IllegalTransition"] == "illegal_transition"
    assert codes["NotFound"] == "not_found"


@pytest.mark.row("M-35")
@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://x/y", "sqlite:////no/such/folder/x.db", "postgresql://127.0.0.1:1/x"]
)
def test_a_database_that_is_not_there_is_an_engine_error(url: str) -> None:
    with pytest.raises(EngineError) as caught:
        strataflow.WorkflowEngine(url).start()
    assert caught.value.code in {"database", "schema"}
    assert str(caught.value)


@pytest.mark.row("M-35")
def test_a_definition_error_tells_every_problem_with_place_and_hint() -> None:
    text = str(EXAMPLES["DefinitionError"]())
    assert "definition 'flow' has 1 problem" in text
    assert "/a: is bad (do this) [bad]" in text
