"""Looks at runs that have not ended: are they slow, or stuck? A page of them each round, and those that were found."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from ...engine.errors import EngineError
from ...repositories import alert_reads
from ...repositories.alert_reads import ActiveRun
from ...repositories.records import InstanceState
from ..explain_model import Explanation
from .kinds import seconds_of
from .looking import Look, fits
from .model import Finding, Rule, lasting

__all__ = ["GoingRuns"]

#: Runs of one page.
_PAGE: Final = 500
#: Runs that one round has explained, and how long an explanation that is harmless holds while nothing changes.
_EXPLAINED: Final = 50
_HARMLESS_S: Final = 600.0
#: Definitions whose history one round reads, and how long it is good.
_HISTORIES: Final = 100
_FRESH_S: Final = 300.0
_KEPT: Final = 10_000
_SHARE: Final = 0.95
_US: Final = 1_000_000
#: Follows from another reason, which the explanation has too.
_CONSEQUENCE: Final = "dependencies"


class GoingRuns:
    """Goes through all of them, page by page, again and again."""

    def __init__(self) -> None:
        self._after: str | None = None
        #: Definition and size of its history → until when it is good, its 95th percentile, how many runs it has.
        self._histories: dict[tuple[str, int], tuple[float, float, int]] = {}
        #: Run and rule → when it had moved last, and until when its reason is taken for harmless.
        self._harmless: dict[tuple[str, str], tuple[int, float]] = {}
        self._budget = 0

    def look(self, look: Look) -> None:
        """Findings of slow and stuck runs."""
        slow, stuck = look.of("slow_run"), look.of("stuck_run")
        if not slow and not stuck:
            return
        runs = self._runs(look, slow + stuck)
        for rule in slow:
            look.found[rule.name] = self._slow(look, rule, runs)
        for rule in stuck:
            look.found[rule.name] = self._stuck(look, rule, runs)

    def _runs(self, look: Look, rules: list[Rule]) -> list[ActiveRun]:
        """The next page, and what is open wherever it stands."""
        known = {subject for rule in rules for subject in look.open_subjects(rule)}
        with look.database.read() as session:
            page = alert_reads.active_runs(session, self._after, _PAGE)
            self._after = page[-1].id if len(page) == _PAGE else None
            rest = known - {run.id for run in page}
            return alert_reads.runs_of(session, rest) + page

    # --- slow

    def _slow(self, look: Look, rule: Rule, runs: list[ActiveRun]) -> list[Finding]:
        found: list[Finding] = []
        read = 0
        for run in runs:
            if run.state != InstanceState.RUNNING or run.started_at is None or not fits(rule, run.name):
                continue
            took = (look.now - run.started_at) / _US
            if took < seconds_of(rule.settings, "at_least"):
                continue
            key = (run.name, rule.settings["history"])
            if self._histories.get(key, (0.0, 0.0, 0))[0] < time.monotonic():
                if read >= _HISTORIES:
                    continue  # in the next round
                read += 1
                self._histories[key] = self._history(look, *key)
            _, usual, count = self._histories[key]
            if count >= rule.settings["minimum"] and took > usual * rule.settings["factor"]:
                found.append(_slow_finding(run, took, usual, count))
        if len(self._histories) > _KEPT:
            self._histories.clear()
        return found

    def _history(self, look: Look, name: str, size: int) -> tuple[float, float, int]:
        with look.database.read() as session:
            took = sorted(alert_reads.durations(session, name, size))
        usual = took[min(len(took) - 1, int(len(took) * _SHARE))] / _US if took else 0.0
        return time.monotonic() + _FRESH_S, usual, len(took)

    # --- stuck

    def _stuck(self, look: Look, rule: Rule, runs: list[ActiveRun]) -> list[Finding]:
        since = look.ago(rule, "after")
        known = {row.subject: json.loads(row.details).get("moved_at") for row in look.open.get(rule.name, ())}
        found: list[Finding] = []
        self._budget, before, out = _EXPLAINED, None, False
        for run in runs:
            moved = run.moved_at or run.created_at
            late = moved <= since and fits(rule, run.name)
            if late and moved == known.get(run.id):  # as it was when it was explained
                found.append(Finding(run.id, None))
                continue
            out = out or (late and not self._budget)
            if not out and late and (why := self._reason(look, rule, run, moved)) is not None:
                found.append(_stuck_finding(run, lasting((look.now - moved) / _US), why))
            before = before if out or run.id in known else run.id
        if out and before is not None:  # the next round goes on behind the last one that was looked at
            self._after = before if self._after is None else min(self._after, before)
        return found

    def _reason(self, look: Look, rule: Rule, run: ActiveRun, moved: int) -> Explanation | None:
        """Why it does not go on, where that is not as it should be."""
        key, now = (run.id, rule.name), time.monotonic()
        if look.explainer is None or self._harmless.get(key, (0, 0.0)) > (moved, now):
            return None
        self._budget -= 1
        try:
            why = look.explainer.explain(run.id)
        except EngineError:  # it is gone, or its definition cannot be read here
            return None
        ignored = {*rule.settings["ignore"], _CONSEQUENCE, "ended"}
        if any(reason.kind not in ignored for reason in why.reasons):
            return why
        if len(self._harmless) > _KEPT:
            self._harmless.clear()
        self._harmless[key] = (moved, now + _HARMLESS_S)
        return None


def _slow_finding(run: ActiveRun, took: float, usual: float, count: int) -> Finding:
    text = (
        f"Run {run.id} of {run.name} has been running for {lasting(took)}: 95 % of the last {count} runs took "
        f"at most {lasting(usual)}. `strataflow explain {run.id}` says what it waits for, `strataflow cancel {run.id}` "
        f"ends it."
    )
    details: dict[str, Any] = {"definition": run.name, "instance": run.id, "seconds": took, "usual": usual}
    return Finding(run.id, text, details)


def _stuck_finding(run: ActiveRun, still: str, why: Explanation) -> Finding:
    text = (
        f"Nothing of run {run.id} of {run.name} has changed for {still}. {why.sentence} "
        f"`strataflow explain {run.id}` says more."
    )
    kinds = sorted({reason.kind for reason in why.reasons})
    details: dict[str, Any] = {
        "definition": run.name,
        "instance": run.id,
        "state": run.state,
        "reasons": kinds,
    }
    return Finding(run.id, text, details)
