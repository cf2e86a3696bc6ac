"""Why is it not running? The answer as data and as one sentence, from what is stored.

Every unfinished task that holds its instance up gives a reason: a dependency, a timer, a signal, a condition, a child,
backoff, a limit, a paused queue, a missing executor, a dead engine. Containers give none of their own: what is inside
them does. `explain_rows.py` has the reason of a task with a row, `explain_unreached.py` that of one without.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from ..engine.addresses import resolve_path
from ..engine.errors import NotFound
from ..engine.outputs import iso
from ..engine.plan import address_of
from ..engine.translate import engine_errors
from ..repositories import explainviews, views
from ..repositories.records import (
    TERMINAL_INSTANCE_STATES,
    TERMINAL_TASK_STATES,
    InstanceState,
    TaskRow,
    TaskState,
)
from .explain_facts import Facts
from .explain_fleet import Fleet
from .explain_limits import read_pace
from .explain_model import START_WORKER, Explanation, Reason, by_weight, short
from .explain_rows import reason_of
from .explain_unreached import causes, room, unreached

if TYPE_CHECKING:
    from ..engine.catalog import Catalog
    from ..repositories.database import Database
    from ..repositories.readmodels import InstanceView

__all__ = ["Explainer", "Explanation", "Reason"]

#: Unfinished tasks that one explanation looks at.
_LOOK: Final = 500


class Explainer:
    """Explains instances of one database."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._catalog = catalog

    def explain(self, instance_id: str, path: str | None = None) -> Explanation:
        """Why it is not running, or why the task at `path` is not. Raises NotFound."""
        path = path or None
        with engine_errors(), self._database.read() as connection:
            view = views.instance(connection, instance_id)
            if view is None:
                raise NotFound(
                    f"there is no instance {instance_id}.", hint="`strataflow list` shows what there is."
                )
            path = resolve_path(self._database, view.id, path) if path is not None else None
            rows = explainviews.unfinished_under(connection, view.id, path or "", _LOOK + 1)
            facts = self._facts(connection, view, rows)
            if path is None:
                return _explained(view, view.state.value, None, _instance(facts), len(rows) > _LOOK)
            row = views.task(connection, view.id, path)
            state = row.state.value if row is not None else view.state.value
            return _explained(view, state, path, _task(facts, path, row), len(rows) > _LOOK)

    def _facts(self, connection: Any, view: InstanceView, rows: list[TaskRow]) -> Facts:
        now = views.now(connection)
        fleet = Fleet(
            views.engines(connection),
            now,
            self._database.url.dialect == "sqlite",
            lambda ids: explainviews.busy_slots(connection, ids),
        )
        plan = self._catalog.plan(view.definition_id)
        by_path = {row.path: row for row in rows}
        return Facts(connection, view, plan, by_path, fleet, now, read_pace(connection, rows))


# --- the whole instance


def _instance(facts: Facts) -> list[Reason]:
    whole = _whole(facts)
    found = [whole] if whole is not None else []
    if facts.view.state in TERMINAL_INSTANCE_STATES or facts.view.state is InstanceState.QUEUED:
        return found
    found += _reasons(facts, list(facts.rows.values()))
    return sorted(found, key=by_weight)


def _reasons(facts: Facts, rows: list[TaskRow]) -> list[Reason]:
    return [reason for row in rows if (reason := reason_of(facts, row)) is not None]


def _whole(facts: Facts) -> Reason | None:
    view, why = facts.view, short(facts.view.reason or "no reason given")
    match view.state:
        case InstanceState.PAUSED:
            text = f"it is paused ({why}){_since(facts)}; `strataflow resume {view.id}` lets it go on"
            return Reason("paused", "", text, details={"reason": view.reason})
        case InstanceState.CANCELLING:
            return _cancelling(facts, why)
        case InstanceState.COMPENSATING:
            text = f"it failed{_error(view.error)}, and what it did is being undone"
            return Reason("compensating", "", text)
        case InstanceState.QUEUED:
            return _not_begun(facts)
        case state if state in TERMINAL_INSTANCE_STATES:
            return Reason("ended", "", _ended(view))
        case _:
            return None


def _since(facts: Facts) -> str:
    last = explainviews.last_transition(facts.connection, facts.view.id, None)
    return f" since {iso(last.at)}" if last is not None else ""


def _cancelling(facts: Facts, why: str) -> Reason:
    root = facts.row("")
    until = iso(root.deadline_at) if root is not None else None
    if until is not None:
        hint = f"what still runs is given up at {until}"
    else:
        hint = f"`strataflow terminate {facts.view.id}` ends it at once"
    return Reason("cancelling", "", f"it is being cancelled ({why}); {hint}", until)


def _ended(view: InstanceView) -> str:
    if view.state is InstanceState.FAILED:
        retry = f"`strataflow retry {view.id}` tries again what failed"
        return f"it has ended failed{_error(view.error)}; {retry}"
    why = f" ({short(view.reason)})" if view.reason and view.state is InstanceState.CANCELLED else ""
    late = f": it had not begun by {iso(view.expires_at)}" if view.state is InstanceState.EXPIRED else ""
    return f"it has ended {view.state}{why}{late}"


def _error(text: str | None) -> str:
    if text is None:
        return ""
    error = json.loads(text)
    where = f" at {error['path']}" if error.get("path") else ""
    return f" with {error['code']}{where} ({short(str(error['message']))})"


def _not_begun(facts: Facts) -> Reason:
    """A start that waits: for its time, for its mutex, or for an engine that begins it."""
    view, late = facts.view, ""
    if view.expires_at is not None:
        late = f"; it is given up if it has not begun by {iso(view.expires_at)}"
    at = iso(view.start_at)
    if view.start_at is not None and view.start_at > facts.now:
        idle = "" if facts.fleet.alive else f" if an engine runs then, and none does now: {START_WORKER}"
        return Reason("start_at", "", f"it starts at {at}{idle}{late}", at)
    holder = None
    if view.mutex is not None:
        holder = views.key_holder(facts.connection, view.name, "mutex", view.mutex)
    details = {"mutex": view.mutex, "holder": holder} if view.mutex is not None else {}
    if holder is not None and holder != view.id:
        state = views.state_of(facts.connection, holder)
        text = (
            f"mutex {view.mutex!r} is held by instance {holder}{f', which is {state}' if state else ''}; "
            f"`strataflow explain {holder}` says why{late}"
        )
        return Reason("mutex", "", text, details=details)
    due = f"its time came at {at}" if at is not None else f"mutex {view.mutex!r} is free"
    if facts.fleet.alive:
        return Reason("due", "", f"{due}: an engine begins it at any moment{late}", details=details)
    text = f"{due}, but no engine runs on this database to begin it: {START_WORKER}{late}"
    return Reason("no_engine", "", text, details=details)


# --- one task


def _task(facts: Facts, path: str, row: TaskRow | None) -> list[Reason]:
    """Reasons of one task, of what is inside it, and of what it waits for."""
    whole = _whole(facts)
    found = [whole] if whole is not None else []
    node = facts.plan.nodes.get(address_of(path))
    if row is None:
        never = unreached(facts, path)
        return [*never, *found] if facts.view.state in TERMINAL_INSTANCE_STATES else [*found, *never]
    if row.state in TERMINAL_TASK_STATES:
        inside = sorted(_reasons(facts, list(facts.rows.values())), key=by_weight)
        return [_task_ended(facts, row), *inside, *found]
    facts.rows.setdefault(path, row)
    inside = sorted(_reasons(facts, list(facts.rows.values())), key=by_weight)
    own = room(row, node)
    found += [*inside, *([own] if own is not None else [])]
    if row.state is TaskState.PENDING and node is not None:
        found += causes(facts, path, node)
    return found


def _task_ended(facts: Facts, row: TaskRow) -> Reason:
    text = f"{row.path} has ended {row.state}"
    if row.state is TaskState.FAILED:
        text += _error(row.error)
    elif row.state is not TaskState.COMPLETED and (why := facts.why_ended(row.path)):
        text += f" ({short(why)})"
    if row.closed == "undo":
        text += ", and is being undone"
    elif row.closed in {"undone", "handled", "continued", "late"}:
        text += {
            "undone": ", and was undone",
            "handled": " by its error handler",
            "continued": ", and the run went on",
            "late": ", after its container was decided",
        }[row.closed]
    return Reason("ended", row.path, text)


# --- the sentence


def _explained(
    view: InstanceView,
    state: str,
    path: str | None,
    reasons: list[Reason],
    more: bool,  # noqa: FBT001 - a record's field
) -> Explanation:
    return Explanation(view.id, state, _sentence(view, state, path, reasons), tuple(reasons), more)


def _sentence(view: InstanceView, state: str, path: str | None, reasons: list[Reason]) -> str:
    if not reasons:
        what = f"{view.name} {view.id}" if path is None else path
        return f"{what} is {state}: nothing holds it up."
    first = reasons[0].text
    if not reasons[0].path:
        first = first[0].upper() + first[1:]
    about = [each for each in reasons if path is None or _concerns(path, each.path)]
    more = len(about) - 1
    rest = f" (and {more} more {'reason' if more == 1 else 'reasons'})" if more else ""
    return f"{first}{rest}."


def _concerns(path: str, other: str) -> bool:
    """Is a reason the task's own, or of what is around or inside it? Else it stands behind a dependency."""
    return other in {"", path} or (other.startswith(path) and other[len(path)] in ".[#!")
