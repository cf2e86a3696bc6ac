"""Start a run inside the caller's own transaction: plain inserts on the caller's connection, nothing else.

The same decision as any start, written with the same statements; its tasks are queued, never claimed, and no existing
row is locked. The start counts when the caller commits; a hint goes out with that commit on Postgres.
"""

from __future__ import annotations

from typing import Any

from ..repositories.foreign import ForeignConnection
from ..repositories.url import DatabaseUrl
from .decide import Decision, decide
from .draft import Snapshot, Terms
from .errors import Conflict, EngineError
from .events import StartInstance
from .plan import given
from .plans import PlanCache

__all__ = ["start_inside"]


def start_inside(
    connection: Any, url: DatabaseUrl, plans: PlanCache, event: StartInstance, engine: str
) -> str:
    """Insert the instance and its first tasks; returns the id (the first instance's, when the key is taken).

    Raises Conflict when a transaction that this one cannot see holds the key.
    """
    foreign = ForeignConnection.of(connection, url)
    plan = given(plans.get(event.definition_id), "definition")
    if event.mutex is not None:
        raise Conflict(
            f"{plan.name} starts under a mutex: that is decided under locks which a caller's transaction cannot take.",
            hint="Start it in a transaction of its own.",
        )
    if event.key is not None:
        owner = foreign.claim_key(plan.name, event.key, event.instance_id)
        if owner is None:
            raise Conflict(
                f"the key {event.key!r} of {plan.name} is held by a transaction this one cannot see.",
                hint="Start again after that transaction has ended.",
            )
        if owner != event.instance_id:
            if event.on_duplicate == "reject":
                raise Conflict(
                    f"{plan.name!r} was started under the key {event.key!r} before: instance {owner}."
                )
            return owner
    terms = Terms(now=foreign.now(), engine=engine, executes=False)
    decision = decide(plan, Snapshot(None), [event], terms)
    if not isinstance(decision, Decision):
        raise EngineError("a start asked for rows; this is a defect of the engine.")
    foreign.write(decision.changes)
    return event.instance_id
