"""Looks at what only this process can see of itself: its connections, its loops, its executors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ...executors.health import OK
from .kinds import seconds_of
from .looking import Look, fits
from .model import Finding, Rule, lasting

if TYPE_CHECKING:
    from ...engine.workflow_engine import WorkflowEngine

__all__ = ["OwnFacts"]

_PLACE: Final = "{} on engine {}"


class OwnFacts:
    """Looks at one engine; what its executors say of their health is asked now and then, and kept."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[float, dict[str, str]]] = {}

    def look(self, look: Look) -> None:
        """Findings of this process."""
        engine = look.engine
        if engine is None:
            return
        for rule in look.of("connection_pool"):
            look.found[rule.name] = _pools(look, engine.parts.engine_id, rule)
        rules: dict[str, Callable[[WorkflowEngine, Rule], list[Finding]]] = {
            "stuck_loop": _loops,
            "unhealthy_executor": self._executors,
        }
        for kind, check in rules.items():
            for rule in look.of(kind):
                look.found[rule.name] = check(engine, rule)

    def _executors(self, engine: WorkflowEngine, rule: Rule) -> list[Finding]:
        """Ask every executor that has a health check, if the last answers are old."""
        if not engine.config.executes:
            return []
        at, answers = self._asked.get(rule.name, (0.0, {}))
        if not at or time.monotonic() - at >= seconds_of(rule.settings, "every"):
            answers = asyncio.run(engine.registry.health(seconds_of(rule.settings, "timeout")))
            self._asked[rule.name] = (time.monotonic(), answers)
        return [
            _unhealthy(engine, name, answer)
            for name, answer in sorted(answers.items())
            if answer != OK and fits(rule, name)
        ]


def _unhealthy(engine: WorkflowEngine, name: str, answer: str) -> Finding:
    me = engine.parts.engine_id
    said = " ".join(answer.split())[:300]
    text = (
        f"Executor {name} is not well on engine {me}: {said}. Tasks that need it will fail; look at what it depends "
        f"on, or pause their queue (`strataflow queues pause QUEUE`) until it is back."
    )
    return Finding(_PLACE.format(name, me), text, {"executor": name, "engine": me, "answer": said})


def _pools(look: Look, me: str, rule: Rule) -> list[Finding]:
    found: list[Finding] = []
    for pool, (used, most) in look.pools.items():
        if most == 1 or used < most * rule.settings["share"]:
            continue  # the one connection that writes to a file is in use whenever something is written
        text = (
            f"{used} of {most} connections for {pool}s of engine {me} are in use: who comes next waits. Ask it for "
            f"less at once, or spread the load over more processes."
        )
        details: dict[str, Any] = {"pool": pool, "used": used, "most": most, "engine": me}
        found.append(Finding(_PLACE.format(pool, me), text, details))
    return found


def _loops(engine: WorkflowEngine, rule: Rule) -> list[Finding]:
    me, found = engine.parts.engine_id, list[Finding]()
    for name, age in engine.parts.loop_ages().items():
        if age < seconds_of(rule.settings, "age"):
            continue
        text = (
            f"The loop {name} of engine {me} has not come round for {lasting(age)}. Its log says why; if it says "
            f"nothing, restart the process: what it had taken goes on elsewhere."
        )
        found.append(Finding(_PLACE.format(name, me), text, {"loop": name, "seconds": age, "engine": me}))
    return found
