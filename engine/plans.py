"""Plans in memory: looked up by definition, built by a loader outside any transaction.

A plan never changes once built, so a stale entry cannot exist. An event whose plan is not here waits outside the batch
until `load` has built it: compiling a large definition must never hold a lock or the writer (PROTOCOL-NOTES H14).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from .plan import Plan

__all__ = ["PlanCache"]

#: Plans kept; a plan of a thousand nodes takes about 2 MB.
_MAX_PLANS: Final = 256
_MAX_HINTS: Final = 100_000


class PlanCache:
    """Plans by definition id, and which definition an instance runs (a hint, never needed for correctness)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._hints: OrderedDict[str, str] = OrderedDict()

    def get(self, definition_id: str) -> Plan | None:
        """The plan if it is loaded."""
        return self._plans.get(definition_id)

    def put(self, plan: Plan) -> None:
        """Keep a plan; the oldest goes when there are too many."""
        with self._lock:
            self._plans[plan.definition_id] = plan
            while len(self._plans) > _MAX_PLANS:
                self._plans.popitem(last=False)

    def hint(self, instance_id: str) -> Plan | None:
        """The plan of an instance, when this process has met it."""
        definition_id = self._hints.get(instance_id)
        return self._plans.get(definition_id) if definition_id is not None else None

    def note(self, instance_id: str, definition_id: str) -> None:
        """Remember which definition an instance runs."""
        with self._lock:
            self._hints[instance_id] = definition_id
            while len(self._hints) > _MAX_HINTS:
                self._hints.popitem(last=False)

    def forget(self, instance_id: str) -> None:
        """The instance ended."""
        with self._lock:
            self._hints.pop(instance_id, None)

    def queues(self) -> set[str]:
        """Queues that the loaded plans use."""
        with self._lock:
            return {queue for plan in self._plans.values() for queue in plan.queues}
