"""Which fields stand where inside `needs`, `wait`, `loop`, `limits`, `start` and `schedule`: objects without nodes.

The lower half of `shape`, on raw values too. Each function gives the object of known fields that makes sense, and
reports the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from .field_texts import kind_of
from .pointers import child
from .problems import listed
from .shape_fields import (
    JOIN_FIELDS,
    LIMIT_KINDS,
    LIMITS_FIELDS,
    LOOP_FIELDS,
    LOOP_KINDS,
    NEED_FIELDS,
    NEED_GROUPS,
    RETRY_FIELDS,
    SCHEDULE_FIELDS,
    SCHEDULE_KINDS,
    START_FIELDS,
    TOTAL_FIELDS,
    TOTAL_KINDS,
    WAIT_FIELDS,
    WAIT_KINDS,
    Shape,
)

__all__ = [
    "STAND_IN",
    "join_of",
    "limits_of",
    "loop_of",
    "needs_of",
    "retry_of",
    "schedule_of",
    "start_of",
    "total_limits_of",
    "wait_of",
]

#: Executor of a node whose verb was refused, or name of a dependency that was; never runs, because the
#: definition is refused.
STAND_IN: Final = "refused.node"
_NEED_HINT: Final = 'write a name, {"node": "name", "on": ["completed"]} or {"any": ["a", "b"]}'


def retry_of(shape: Shape, node: dict[str, Any], pointer: str) -> None:
    """Check `retry` where it is an object, in place."""
    if isinstance(node.get("retry"), dict):
        node["retry"] = shape.members(node["retry"], child(pointer, "retry"), RETRY_FIELDS)


def join_of(shape: Shape, node: dict[str, Any], pointer: str) -> None:
    """Check `join` where it is an object, in place."""
    if isinstance(node.get("join"), dict):
        node["join"] = shape.members(node["join"], child(pointer, "join"), JOIN_FIELDS)


# --- needs


def needs_of(shape: Shape, node: dict[str, Any], pointer: str) -> None:
    """Check `needs`, a list or one group, in place."""
    needs = node.get("needs")
    here = child(pointer, "needs")
    if isinstance(needs, list):
        node["needs"] = [
            _need(shape, need, child(here, index), groups=True)
            for index, need in enumerate(cast("list[Any]", needs))
        ]
    elif isinstance(needs, dict):
        group = cast("dict[str, Any]", needs)
        if any(kind in group for kind in NEED_GROUPS):
            kept = _group(shape, group, here)
        else:
            message = "'needs' must be a list, or one group"
            shape.report(here, "wrong_type", message, 'write ["a"] or {"any": ["a"]}')
            kept = None
        node["needs"] = kept or []


def _need(shape: Shape, need: object, pointer: str, *, groups: bool) -> object:
    if isinstance(need, str):
        return need
    if not isinstance(need, dict):
        message = f"a dependency is a name or an object, not {kind_of(need)}"
        shape.report(pointer, "wrong_type", message, _NEED_HINT)
    else:
        entry = cast("dict[str, Any]", need)
        if any(kind in entry for kind in NEED_GROUPS):
            if groups:
                return _group(shape, entry, pointer) or _nothing(shape, pointer)
            message = "a group of dependencies holds names, not further groups"
            shape.report(pointer, "bad_value", message, "write a node of its own for the inner group")
        else:
            kept = shape.members(entry, pointer, NEED_FIELDS)
            if "node" in kept:
                return kept
            if "node" not in entry:
                shape.report(pointer, "missing_field", "'node' is missing", _NEED_HINT)
    return _nothing(shape, pointer)


def _nothing(shape: Shape, pointer: str) -> str:
    """Keep the place of an entry, or the problems of those behind it would point to the wrong one."""
    shape.muted.add(pointer)
    return STAND_IN


def _group(shape: Shape, raw: Mapping[str, Any], pointer: str) -> dict[str, Any] | None:
    """The group, or None when nothing is left of it."""
    group = shape.members(raw, pointer, NEED_GROUPS)
    kind = shape.one_of(group, pointer, NEED_GROUPS, "a group of dependencies")
    if kind is None:
        return None
    here, members = child(pointer, kind), group[kind]
    if not isinstance(members, list):
        message = f"{kind!r} must be a list of names, not {kind_of(members)}"
        shape.report(here, "wrong_type", message, f'write {{"{kind}": ["a", "b"]}}')
        return None
    if not members:
        shape.report(
            here, "bad_value", f"{kind!r} must name at least one node", f'write {{"{kind}": ["a", "b"]}}'
        )
        return None
    names = cast("list[Any]", members)
    group[kind] = [_need(shape, need, child(here, at), groups=False) for at, need in enumerate(names)]
    return group


# --- wait, loop, start


def wait_of(shape: Shape, raw: Mapping[str, Any], pointer: str) -> dict[str, Any]:
    """Check what a `wait` waits for; `on_timeout` is the caller's."""
    kept = shape.members(raw, pointer, WAIT_FIELDS)
    kind = shape.one_of(kept, pointer, WAIT_KINDS, "a wait")
    if kind is None:
        if not any(name in raw for name in WAIT_KINDS):
            hint = 'write {"for": "30s"}, {"until": …}, {"signal": "name"} or {"condition": "{{ … }}"}'
            shape.report(pointer, "missing_field", "the wait says nothing to wait for", hint)
        shape.muted.add(pointer)
        kept["for"] = "0s"
    else:
        for name, owner in (("match", "signal"), ("every", "condition")):
            _only_with(shape, kept, pointer, name, owner)
    if "timeout" not in raw:
        _only_with(shape, kept, pointer, "on_timeout", "timeout")
    return kept


def _only_with(shape: Shape, kept: dict[str, Any], pointer: str, name: str, owner: str) -> None:
    if name in kept and owner not in kept:
        message = f"{name!r} has a meaning only beside {owner!r}"
        shape.report(child(pointer, name), "misplaced_field", message, f"add {owner!r}, or remove it")
        del kept[name]


def loop_of(shape: Shape, node: dict[str, Any], pointer: str) -> None:
    """Check how often a loop turns, and the names that only `for` gives, in place."""
    if not isinstance(node["loop"], dict):
        return
    here = child(pointer, "loop")
    raw = cast("dict[str, Any]", node["loop"])
    node["loop"] = kept = shape.members(raw, here, LOOP_FIELDS)
    kind = shape.one_of(kept, here, LOOP_KINDS, "a loop")
    if kind is None:
        if not any(name in raw for name in LOOP_KINDS):
            hint = 'write {"times": 3}, {"for": "{{ … }}"}, {"while": "{{ … }}"} or {"until": "{{ … }}"}'
            shape.report(here, "missing_field", "the loop does not say how often it turns", hint)
        shape.muted.add(here)
        kept["times"] = 1
    elif kind != "for":
        for name in ("as", "index"):
            if name in node:
                message = f"{name!r} belongs to a loop with 'for'; this one goes through no list"
                shape.report(child(pointer, name), "misplaced_field", message, "read loop.index")
                del node[name]


def start_of(shape: Shape, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Check `start` of the definition."""
    kept = shape.members(raw, "/start", START_FIELDS)
    if not ("key" in raw or "mutex" in raw):
        hint = 'write {"key": "{{ inputs.id }}"} or {"mutex": "{{ inputs.id }}"}'
        shape.report("/start", "missing_field", "'start' needs 'key' or 'mutex'", hint)
    elif kept.get("on_duplicate") == "queue" and "mutex" not in raw:
        message = "'queue' waits for a mutex, and there is none; a key stays taken for ever"
        shape.report(
            "/start/on_duplicate", "bad_value", message, "use 'return_existing' or 'reject', or add 'mutex'"
        )
    return kept


# --- limits, schedule


def limits_of(shape: Shape, node: dict[str, Any], pointer: str) -> None:
    """Check the limits of a `run`, in place."""
    if not isinstance(node.get("limits"), dict):
        return
    here = child(pointer, "limits")
    raw = cast("dict[str, Any]", node["limits"])
    node["limits"] = kept = shape.members(raw, here, LIMITS_FIELDS)
    if _limits_something(shape, raw, here, LIMIT_KINDS) and not any(name in raw for name in TOTAL_KINDS):
        for name in ("key", "group"):
            if name in kept:
                message = f"{name!r} says what 'concurrency' and 'rate' count; a mutex and a pool have names"
                hint = "add 'concurrency' or 'rate', or remove it"
                shape.report(child(here, name), "misplaced_field", message, hint)
                del kept[name]
    if kept.get("pools") == {}:
        shape.report(child(here, "pools"), "bad_value", "there is no pool to use", 'write e.g. {"gpu": 1}')
    _burst(shape, raw, kept, here)


def total_limits_of(shape: Shape, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Check the limits of the definition."""
    here = "/limits"
    fields = dict(raw)
    for name in raw:
        if name in LIMITS_FIELDS and name not in TOTAL_FIELDS:
            message = f"{name!r} belongs to the limits of a 'run' node"
            shape.report(child(here, name), "misplaced_field", message, "move it to the node that needs it")
            del fields[name]
    kept = shape.members(fields, here, TOTAL_FIELDS)
    if len(fields) == len(raw):
        _limits_something(shape, raw, here, TOTAL_KINDS)
    _burst(shape, raw, kept, here)
    return kept


def _limits_something(shape: Shape, raw: Mapping[str, Any], here: str, kinds: tuple[str, ...]) -> bool:
    if any(name in raw for name in kinds):
        return True
    message = f"these limits limit nothing: they have one of {listed(kinds)} at least"
    shape.report(here, "missing_field", message, 'write e.g. {"concurrency": 10} or {"rate": "50/s"}')
    return False


def _burst(shape: Shape, raw: Mapping[str, Any], kept: dict[str, Any], pointer: str) -> None:
    if "rate" not in raw:
        _only_with(shape, kept, pointer, "burst", "rate")


def schedule_of(shape: Shape, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Check `schedule` of the definition."""
    here = "/schedule"
    kept = shape.members(raw, here, SCHEDULE_FIELDS)
    kind = shape.one_of(kept, here, SCHEDULE_KINDS, "a schedule")
    if kind is None and not any(name in raw for name in SCHEDULE_KINDS):
        hint = 'write {"cron": "15 2 * * *"} or {"every": "10m"}'
        shape.report(here, "missing_field", "the schedule does not say when to start", hint)
    return kept
