"""What one evaluation needs, and how rows look to expressions. Pure; for `values` and `evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from ..repositories.records import InstanceRow, TaskRow
from .bindings import Bindings, Chain
from .outputs import iso
from .parallel import stats_of
from .payload import decode
from .plan import Plan
from .rows import memo_of

__all__ = [
    "NEVER_REACHED",
    "Missing",
    "Wanted",
    "extra_paths",
    "instance_root",
    "number_of",
    "path_in",
    "record_of",
]

#: `nodes.X` of a node that was never reached.
NEVER_REACHED: Final[dict[str, Any]] = {
    "stats": None,
    "branch": None,
    "instance": None,
    "state": "pending",
    "output": None,
    "error": None,
    "attempt": 0,
    "path": None,
    "started_at": None,
    "ended_at": None,
}


@dataclass(slots=True, frozen=True)
class Wanted:
    """What one claimed task needs: its plan, its instance, the static needs and its place."""

    plan: Plan
    instance: InstanceRow
    bindings: Bindings
    chain: Chain
    #: Rows beside those of the bindings whose whole record is needed: a loop's last turn, the node that fired an `any`.
    extra: tuple[str, ...] = ()
    #: Path of the row whose error is `error`, and whether that row is at its end: a handler may have changed it.
    error_of: str | None = None
    ending: bool = False
    #: Path of the node that fired an `any`.
    trigger: str | None = None
    #: Name of the signal a wait looks for.
    signal: str | None = None
    #: Definition that a flow starts: name, version.
    flow: tuple[str, int | None] | None = None

    @property
    def error_key(self) -> tuple[str, int, bool]:
        """Under what the error is kept: one that does not change."""
        return self.error_of or "", self.instance.gen, self.ending

    @property
    def fresh(self) -> bool:
        """Must something be read anew for every evaluation?"""
        return bool(self.signal or self.flow)


class Missing(Exception):
    """A value is not in memory: read it outside the loop, then ask again."""


def path_in(scope: str, name: str) -> str:
    """Path of a node in a scope."""
    return f"{scope}.{name}" if scope else name


def number_of(wanted: Wanted, address: str, mark: str = "") -> int:
    """Number of the item of a map, or of the turn of a loop, in which the task stands."""
    turn = wanted.chain.get(address + "#") if mark != "[" else None
    if turn is not None:
        return int(turn[turn.rfind("#") + 1 :])
    item = wanted.chain[address + "[]"]
    return int(item[item.rfind("[") + 1 : -1])


def extra_paths(wanted: Wanted) -> list[str]:
    """Paths of rows whose outputs are wanted beside those of the bindings."""
    paths = list(wanted.extra)
    if wanted.bindings.trigger and wanted.trigger is not None:
        paths.append(wanted.trigger)
    if wanted.bindings.loop is not None and wanted.bindings.loop[1]:
        address = wanted.bindings.loop[0]
        index = number_of(wanted, address, "#")
        if index > 0:
            paths.append(f"{wanted.chain[address]}#{index - 1}")
    return paths


def instance_root(instance: InstanceRow) -> dict[str, Any]:
    """What expressions see as `instance`."""
    return {
        "id": instance.id,
        "key": instance.key,
        "name": instance.name,
        "version": instance.version,
        "started_at": iso(instance.created_at),
        "scheduled_for": iso(instance.scheduled_for or instance.created_at),
    }


def record_of(row: TaskRow, output: Any) -> dict[str, Any]:
    """The fields of `nodes.X` (DSL rule 4)."""
    record: dict[str, Any] = {
        "stats": None,
        "branch": None,
        "instance": None,
        "state": row.state.value,
        "output": output,
        "error": decode(row.error) if row.error else None,
        "attempt": row.attempt,
        "path": row.path,
        "started_at": iso(row.started_at),
        "ended_at": iso(row.ended_at),
    }
    if row.total is not None or row.next:
        record["stats"] = stats_of(row)
    if row.memo is not None:
        memo = memo_of(row)
        branch = memo.get("branch")
        record["branch"] = int(branch) if branch is not None and branch.isdigit() else branch
        record["instance"] = memo.get("child")
    return record


def drop_oldest(kept: dict[Any, Any], limit: int) -> None:
    """Drop the oldest above the limit; what is wanted again is read again."""
    for key in list(islice(kept, max(0, len(kept) - limit))):
        kept.pop(key, None)
