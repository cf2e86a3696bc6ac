"""What single fields of a node mean to the engine: durations in microseconds, rules in place of models.

The lower half of `graph`, which walks the tree and asks here for each part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .definition import FlowNode, LoopNode, OnError, ParallelNode, Wait
from .definition_parts import Join
from .durations import parse_duration
from .fields import instant_of, percent_of, rate_of
from .plan import (
    Body,
    ErrorEntry,
    FlowRule,
    JoinRule,
    LimitRule,
    LoopRule,
    PlanNode,
    Rate,
    RetryPolicy,
    ScheduleRule,
    ScopePlan,
    StartRule,
    WaitRule,
)

if TYPE_CHECKING:
    from .definition import Definition, MapNode
    from .definition_pace import Limits, TotalLimits
    from .expressions import Template
    from .symbols import EntrySymbol, Symbols

__all__ = [
    "Retries",
    "duration",
    "entry_of",
    "fan",
    "flow_rule",
    "has_undo",
    "holds_undo",
    "limit_rule",
    "loop_rule",
    "schedule_rule",
    "start_rule",
    "total_rule",
    "wait_rule",
]

Templates = Mapping[str, "Template"]


def duration(text: str | None) -> int | None:
    """Microseconds; None stays None."""
    return None if text is None else parse_duration(text)


class Retries:
    """Retry policies, one per distinct set of keys: thousands of nodes share a few."""

    def __init__(self, defaults: Mapping[str, Any]) -> None:
        self._defaults = dict(defaults)
        self._known: dict[str, RetryPolicy] = {}

    def policy(self, own: Mapping[str, Any]) -> RetryPolicy:
        """The node's own keys over the defaults."""
        keys = self._defaults | dict(own)
        identity = repr(sorted(keys.items()))
        policy = self._known.get(identity)
        if policy is None:
            times = {name: parse_duration(keys[name]) for name in ("delay", "max_delay") if name in keys}
            policy = replace(RetryPolicy(), **(keys | times))
            if "max_delay" not in keys and policy.delay > policy.max_delay:
                # The default bound must not cut a longer delay that somebody asked for.
                policy = replace(policy, max_delay=policy.delay)
            self._known[identity] = policy
        return policy


def fan(plan: PlanNode, model: MapNode | ParallelNode, templates: Templates) -> None:
    """What `map` and `parallel` have in common."""
    is_constant = isinstance(model.concurrency, int)
    plan.concurrency = model.concurrency if is_constant else templates.get("concurrency")
    plan.join = _join(model.join if isinstance(model.join, Join) else Join(need=model.join))


def _join(join: Join) -> JoinRule:
    percent = percent_of(join.need)
    tolerated = percent_of(join.tolerate)
    return JoinRule(
        need="all" if percent is not None else join.need,
        need_percent=percent,
        tolerate=0 if tolerated is not None else join.tolerate,
        tolerate_percent=tolerated,
        # With nothing to wait for, cancelling the rest would cancel everything.
        rest="keep" if join.need == "none" and not join.has("rest") else join.rest,
    )


def loop_rule(model: LoopNode, templates: Templates) -> LoopRule:
    """How often a loop turns; lists and numbers bound themselves where nothing is written."""
    loop = model.loop
    bounded = loop.times is not None or loop.for_ is not None
    return LoopRule(
        while_=templates.get("loop/while"),
        until=templates.get("loop/until"),
        times=templates.get("loop/times"),
        for_=templates.get("loop/for"),
        max=loop.max if loop.has("max") or not bounded else None,
        every=parse_duration(loop.every),
        keep_last=loop.keep_last if loop.has("keep_last") or not bounded else None,
    )


def wait_rule(model: Wait, templates: Templates) -> WaitRule:
    """What a wait waits for; `on_timeout` is added by the caller, which plans its body."""
    if model.signal is not None:
        kind = "signal"
    else:
        kind = "for" if model.for_ is not None else "until" if model.until is not None else "condition"
    return WaitRule(
        kind=kind,
        template=templates.get(f"wait/{kind}"),
        signal=model.signal,
        match=templates.get("wait/match"),
        every=duration(model.every),
        timeout=duration(model.timeout),
    )


def flow_rule(model: FlowNode) -> FlowRule:
    """Name and version of a flow."""
    name, _, version = model.flow.partition("@")
    return FlowRule(name, int(version) if version else None, detach=model.detach)


def start_rule(definition: Definition, symbols: Symbols) -> StartRule | None:
    """`start` of the definition."""
    if definition.start is None:
        return None
    key, mutex = symbols.start.get("key"), symbols.start.get("mutex")
    return StartRule(
        key=key.template if key else None,
        mutex=mutex.template if mutex else None,
        on_duplicate=definition.start.on_duplicate,
    )


def limit_rule(limits: Limits, templates: Templates, counter: str) -> LimitRule:
    """Limits of a node, which is counted as `counter` where it names no group."""
    mutex = [template for field, template in templates.items() if field.startswith("limits/mutex")]
    return LimitRule(
        name=f"node:{counter}" if limits.group is None else f"group:{limits.group}",
        concurrency=limits.concurrency,
        rate=_rate(limits),
        key=templates.get("limits/key"),
        mutex=tuple(mutex),
        pools=tuple((limits.pools or {}).items()),
    )


def total_rule(definition: Definition) -> LimitRule | None:
    """`limits` of the definition."""
    limits = definition.limits
    if limits is None:
        return None
    return LimitRule(f"definition:{definition.name}", limits.concurrency, _rate(limits))


def _rate(limits: TotalLimits) -> Rate | None:
    return None if limits.rate is None else Rate(*rate_of(limits.rate), limits.burst)


def schedule_rule(definition: Definition, symbols: Symbols) -> ScheduleRule | None:
    """`schedule` of the definition."""
    schedule = definition.schedule
    if schedule is None:
        return None
    return ScheduleRule(
        cron=schedule.cron,
        every=duration(schedule.every),
        timezone=schedule.timezone,
        overlap=schedule.overlap,
        misfire=schedule.misfire,
        catch_up=schedule.catch_up,
        jitter=parse_duration(schedule.jitter),
        start_at=instant_of(schedule.start_at),
        end_at=instant_of(schedule.end_at),
        inputs=symbols.schedule.template if symbols.schedule else None,
    )


def entry_of(entry: EntrySymbol, body: Body | None) -> ErrorEntry:
    """One entry of `on_error`, or `on_timeout`."""
    model = entry.model
    action = "none"
    if model.has("output"):
        action = "output"
    elif model.fail is not None:
        action = "fail"
    elif model.do is not None:
        action = "do"
    elif model.continue_:
        action = "continue"
    return ErrorEntry(
        on=model.on if isinstance(model, OnError) else (),
        undo=model.undo,
        action=action,
        template=entry.use.template if entry.use else None,
        body=body,
        suffix=entry.suffix,
    )


def holds_undo(body: Body | None) -> bool:
    """Does anything in a body have an `undo`?"""
    if isinstance(body, ScopePlan):
        return any(node.has_undo for node in body.nodes.values())
    return body is not None and body.has_undo


def has_undo(node: PlanNode) -> bool:
    """Does the node, or what runs inside it, have an `undo`? Handlers are no part of what is undone."""
    return node.undo is not None or holds_undo(node.body) or any(map(holds_undo, node.bodies.values()))
