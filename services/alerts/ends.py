"""Looks at runs that ended: did they fail, and how many of them?"""

from __future__ import annotations

import json
from typing import Any, Final

from ...repositories import alert_reads, views
from ...repositories.alert_reads import EndedRun
from ...repositories.database import Session
from ...repositories.records import InstanceState
from .kinds import seconds_of
from .looking import Look, by_name, fits
from .model import Finding, Rule, lasting

__all__ = ["look_at_failures", "look_at_rates"]

#: Ends that one look takes in, of each state.
_MOST: Final = 5_000
#: Transactions that began before the last round may have committed since.
_SLACK_US: Final = 30_000_000
#: What nobody has looked at for longer is told no more.
_LATEST_US: Final = 86_400_000_000
_NAMED: Final = 160


def look_at_failures(look: Look) -> None:
    """One finding for each definition of which runs failed lately, or since the last round."""
    for rule in look.of("run_failed"):
        since = look.ago(rule, "window")
        if look.done_at:
            since = max(min(since, look.done_at - _SLACK_US), look.now - _LATEST_US)
        with look.database.read() as session:
            ended = alert_reads.ended_runs(session, InstanceState.FAILED, since, _MOST)
            found = [
                _failed(session, rule, name, runs)
                for name, runs in by_name(ended).items()
                if fits(rule, name)
            ]
        look.found[rule.name] = found


def _failed(session: Session, rule: Rule, name: str, runs: list[EndedRun]) -> Finding:
    newest = runs[0]
    error = _error(session, newest.instance_id)
    code = f"{error.get('code')}: " if error.get("code") else ""
    where = f" at {error['path']}" if error.get("path") else ""
    said = " ".join(str(error.get("message") or newest.reason).split())[:_NAMED]
    window = lasting(seconds_of(rule.settings, "window"))
    many = f"{len(runs):,} runs of {name} failed within {window}, the last one" if len(runs) > 1 else "Run"
    text = (
        f"{many} {newest.instance_id}{f' of {name} failed' if len(runs) == 1 else ''}{where} ({code}{said}). "
        f"`strataflow status {newest.instance_id}` shows it; `strataflow retry {newest.instance_id}` tries it again."
    )
    details: dict[str, Any] = {
        "definition": name,
        "instance": newest.instance_id,
        "failed": len(runs),
        "code": error.get("code"),
        "path": error.get("path"),
    }
    return Finding(name, text, details, newest.at, tuple(run.seq for run in runs))


def _error(session: Session, instance_id: str) -> dict[str, Any]:
    view = views.instance(session, instance_id)
    return json.loads(view.error) if view is not None and view.error else {}


def look_at_rates(look: Look) -> None:
    """One finding for each definition of which too many of the runs that ended failed."""
    for rule in look.of("failure_rate"):
        since = look.ago(rule, "window")
        with look.database.read() as session:
            failed = alert_reads.ended_runs(session, InstanceState.FAILED, since, _MOST)
            completed = alert_reads.ended_runs(session, InstanceState.COMPLETED, since, _MOST)
        # where there were more than one look takes in, both are counted over the same, shorter time
        begin = max([since, *(ends[-1].at for ends in (failed, completed) if len(ends) >= _MOST)])
        bad = by_name(run for run in failed if run.at >= begin)
        good = by_name(run for run in completed if run.at >= begin)
        look.found[rule.name] = [
            finding
            for name, runs in bad.items()
            if fits(rule, name)
            and (finding := _rate(rule, name, len(runs), len(good.get(name, ())), (look.now - begin) / 1e6))
        ]


def _rate(rule: Rule, name: str, failed: int, completed: int, seconds: float) -> Finding | None:
    ended = failed + completed
    if ended < rule.settings["minimum"] or failed / ended < rule.settings["share"]:
        return None
    text = (
        f"{failed:,} of {ended:,} runs of {name} that ended within {lasting(seconds)} failed ({failed / ended:.0%}). "
        f"`strataflow list --state failed --name {name}` shows them; is something that they need away?"
    )
    return Finding(name, text, {"definition": name, "failed": failed, "ended": ended})
