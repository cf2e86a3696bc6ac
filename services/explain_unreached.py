"""Why a task has no row yet, or never gets one: what owns it has not begun it. For `explain`.

Rows are made when they are reached. A path is walked from the outermost scope inwards to the first row that is missing;
that one's owner says what it waits for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..engine.errors import NotFound
from ..engine.parallel import WINDOW
from ..engine.plan import PlanNode, address_of
from ..engine.rows import parent_path
from ..engine.stopping import CLOSED
from ..repositories.records import TERMINAL_TASK_STATES, TaskRow, TaskState
from .explain_model import Reason, by_weight, short
from .explain_rows import reason_of

if TYPE_CHECKING:
    from .explain_facts import Facts

__all__ = ["causes", "insides", "room", "unreached"]

#: Tasks that a chain of dependencies is followed through, and reasons that it gives.
_STEPS: Final = 50
_REASONS: Final = 20


def unreached(facts: Facts, path: str) -> list[Reason]:
    """Reasons of a task without a row. Raises NotFound when there can be no such task."""
    _check_address(facts, path)
    owner, step = _first_missing(facts, path)
    found = _step(facts, owner, step)
    own = found[0]
    if step != path:
        what = own.text.removeprefix(f"{step} ")
        text = f"{path} is inside {step}, which {what}"
        own = Reason(own.kind, path, text, own.until, own.details)
    return [own, *found[1:]]


def _check_address(facts: Facts, path: str) -> None:
    address = address_of(path)
    if address not in facts.plan.nodes and address not in facts.plan.scopes:
        raise no_such_task(path)


def no_such_task(path: str, why: str = "") -> NotFound:
    """The error of a path that names nothing in this instance."""
    return NotFound(
        f"there is no task {path!r} in this instance{why}.", hint="`strataflow tasks` lists them."
    )


def _first_missing(facts: Facts, path: str) -> tuple[TaskRow, str]:
    """The innermost row around a path that exists, and the path of the row below it that does not."""
    step = path
    while (above := parent_path(step)) is not None:
        row = facts.row(above)
        if row is not None:
            return row, step
        step = above
    raise no_such_task(path)


def _step(facts: Facts, owner: TaskRow, step: str) -> list[Reason]:
    """Reasons why `owner` has not made the row of `step`."""
    node = facts.plan.nodes.get(address_of(owner.path))
    suffix = step[len(owner.path) :]
    if suffix[:1] == "!":
        return [Reason("never", step, _beside(facts, owner, step, suffix))]
    if node is not None and (node.is_fan or node.kind == "loop"):
        number = _number(node, suffix)
        if owner.total is not None and number >= owner.total:
            raise no_such_task(step, f": {owner.path} has {_count(owner.total, _kind(node))}")
    else:
        number = 0
    gone = _never(facts, owner, step)
    if gone is not None:
        return [gone]
    if owner.state is not TaskState.WAITING or (node is not None and _has_not_opened(node, owner)):
        own = reason_of(facts, owner)
        held = [own] if own is not None else []
        text = f"{step} waits for {_name(owner)} to begin"
        return [Reason("dependencies", step, text, details={"nodes": [owner.path]}), *held]
    if node is not None and node.is_fan:
        return [_item(owner, node, step, number), *insides(facts, owner.path)]
    if node is not None and node.kind == "loop":
        return [_turn(owner, step, number), *insides(facts, owner.path)]
    return _node(facts, step)


def _never(facts: Facts, owner: TaskRow, step: str) -> Reason | None:
    if owner.state in TERMINAL_TASK_STATES:
        why = facts.why_ended(owner.path) if owner.state is TaskState.SKIPPED else None
        said = f" ({short(why)})" if why else ""
        return Reason("never", step, f"{step} never began: {_name(owner)} has ended {owner.state}{said}")
    if owner.closed in CLOSED:
        return Reason("never", step, f"{step} never begins: {_name(owner)} starts nothing new")
    return None


def _has_not_opened(node: PlanNode, owner: TaskRow) -> bool:
    return owner.total is None and node.kind in {"map", "parallel", "switch"}


def _node(facts: Facts, path: str) -> list[Reason]:
    """A node of a scope that has begun: its dependencies have not come."""
    node = facts.plan.nodes.get(address_of(path))
    if node is None:
        return [Reason("dependencies", path, f"{path} has not begun", details={"nodes": []})]
    return [facts.waits_for_nodes(path, node), *causes(facts, path, node)]


def _beside(facts: Facts, owner: TaskRow, step: str, suffix: str) -> str:
    what = suffix[1:].rstrip("0123456789")
    name = _name(owner)
    if what == "finally":
        ends = "has ended without it" if owner.state in TERMINAL_TASK_STATES else "has not ended"
        return f"{step} runs when everything else of the run has ended: {name} {ends}"
    whole = facts.plan.nodes.get(address_of(owner.path))
    label = name if whole is not None or not owner.path else owner.path
    if what == "undo":
        return f"{step} runs only if what {label} did is undone"
    when = "waits in vain" if what == "timeout" else "fails with an error that it names"
    now = f"has ended {owner.state}" if owner.state in TERMINAL_TASK_STATES else f"is {owner.state}"
    return f"{step} runs only if {label} {when}; {label} {now}"


def _item(owner: TaskRow, node: PlanNode, step: str, number: int) -> Reason:
    ahead = number - owner.next
    if ahead < 0:
        return Reason("never", step, f"{step} has no row any more, or was left out as a repeated key")
    most = f"at most {owner.width or WINDOW:,} of its {_kind(node)}s are unfinished at a time"
    before = f", and {_count(ahead, _kind(node))} {'comes' if ahead == 1 else 'come'} first" if ahead else ""
    text = f"{step} waits for room in {owner.path}: {most}, {owner.open:,} are now{before}"
    details = {"width": owner.width or WINDOW, "unfinished": owner.open, "ahead": ahead, "total": owner.total}
    return Reason("room", step, text, details=details)


def _turn(owner: TaskRow, step: str, number: int) -> Reason:
    if number < owner.next:
        return Reason("never", step, f"{step} has ended, and its rows were removed (keep_last)")
    last = owner.next - 1
    now = f"turn {owner.path}#{last} is the last that began" if owner.next else "no turn has begun"
    details = {"ahead": number - owner.next, "total": owner.total}
    return Reason("room", step, f"{step} waits for its turn: turns go one by one, {now}", details=details)


def _number(node: PlanNode, suffix: str) -> int:
    if node.kind == "parallel":
        return list(node.bodies).index(suffix[1:])
    return int(suffix.strip("[]#"))


def _kind(node: PlanNode) -> str:
    return {"map": "item", "parallel": "branch", "loop": "turn"}[node.kind]


def _count(number: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("h") else f"{what}s"
    return f"{number:,} {what if number == 1 else plural}"


def _name(owner: TaskRow) -> str:
    return owner.path or "the run"


# --- what stands behind it


def room(owner: TaskRow, node: PlanNode | None) -> Reason | None:
    """What a map says of itself that has not begun all of its items."""
    if node is None or not node.is_fan or owner.state is not TaskState.WAITING or owner.closed is not None:
        return None
    left = (owner.total or 0) - owner.next
    if left <= 0:
        return None
    kind = _kind(node)
    text = (
        f"{owner.path} has begun {owner.next:,} of {_count(owner.total or 0, kind)}: at most "
        f"{owner.width or WINDOW:,} are unfinished at a time, {owner.open:,} are now"
    )
    details = {"width": owner.width or WINDOW, "unfinished": owner.open, "total": owner.total}
    return Reason("room", owner.path, text, details=details)


def insides(facts: Facts, path: str) -> list[Reason]:
    """Some reasons of what is unfinished inside a container, those that say most first."""
    found = [reason_of(facts, row) for row in facts.below(path, _REASONS + 1) if row.path != path]
    return sorted((reason for reason in found if reason is not None), key=by_weight)[:_REASONS]


def causes(facts: Facts, path: str, node: PlanNode) -> list[Reason]:
    """Reasons of the tasks that a task waits for, and of those that they wait for."""
    todo, seen = facts.awaited_paths(path, node), {path}
    found: list[Reason] = []
    while todo and len(seen) < _STEPS and len(found) < _REASONS:
        at = todo.pop(0)
        if at in seen:
            continue
        seen.add(at)
        row, its_node = facts.row(at), facts.plan.nodes[address_of(at)]
        if row is not None and row.state in TERMINAL_TASK_STATES:
            continue
        if row is None or row.state is TaskState.PENDING:
            found.append(facts.waits_for_nodes(at, its_node))
            todo += facts.awaited_paths(at, its_node)
        else:
            own = reason_of(facts, row)
            found += [own] if own is not None else insides(facts, at)
    return sorted(found[:_REASONS], key=by_weight)
