"""The rules of one database: those that are shipped, as somebody has changed them, and those that were added."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...engine.errors import Conflict, NotFound, Problem, RequestError
from ...engine.outputs import iso
from ...engine.problems import suggestion
from ...engine.translate import engine_errors
from ...repositories import alert_store
from ...repositories.alert_store import RuleRow
from ...repositories.database import Database, Session
from .kinds import KINDS, checked_settings
from .model import Rule

__all__ = ["RuleBook", "rules_in"]

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
_SEVERITIES: Final = ("info", "warning", "critical")
#: Rules that one database has at most, beside those that are shipped.
_MOST: Final = 200


class RuleBook:
    """Use cases of rules."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self) -> list[Rule]:
        """Every rule by name, those that nobody has touched too."""
        with engine_errors(), self._database.read() as session:
            return rules_in(session)

    def get(self, name: str) -> Rule:
        """One rule. Raises NotFound."""
        for rule in self.list():
            if rule.name == name:
                return rule
        raise _unknown(name)

    def put(
        self,
        name: str,
        who: str,
        *,
        kind: str | None = None,
        enabled: bool = True,
        severity: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Rule:
        """Set a rule: all of it; what is not given is as the kind has it. A new name needs a kind.

        Raises RequestError, and Conflict when there are too many.
        """
        own = name if name in KINDS else kind
        problems = _problems(name, kind, severity)
        if own is not None and own in KINDS:
            full, wrong = checked_settings(KINDS[own], settings or {})
            problems += wrong
        else:
            full = {}
            problems.append(_kind_problem(own))
        if problems or own is None:
            raise _refused(problems)
        text = json.dumps(full, ensure_ascii=False, sort_keys=True)
        row = RuleRow(name, own, int(enabled), severity or KINDS[own].severity, text, 0, who)
        with engine_errors(), self._database.write() as session:
            present = {each.name for each in alert_store.rules(session, 10 * _MOST)}
            if name not in present and len(present) >= _MOST:
                raise Conflict(f"there are {_MOST} rules already.", hint="Delete one first.")
            alert_store.put_rule(session, row)
        return self.get(name)

    def reset(self, name: str) -> Rule | None:
        """Make a shipped rule what it was, and give it; delete one that was added. Raises NotFound."""
        if not _NAME.fullmatch(name):
            raise _unknown(name)
        with engine_errors(), self._database.write() as session:
            gone = alert_store.delete_rule(session, name)
        if name in KINDS:
            return self.get(name)
        if not gone:
            raise _unknown(name)
        return None


def rules_in(session: Session) -> list[Rule]:
    """Every rule by name."""
    found = {kind.name: _shipped(kind.name) for kind in KINDS.values()}
    for row in alert_store.rules(session, 10 * _MOST):
        kind = KINDS.get(row.kind)
        if kind is None:  # of a newer release
            continue
        settings, _ = checked_settings(kind, {})
        known = {name: value for name, value in json.loads(row.settings).items() if name in settings}
        found[row.name] = Rule(
            row.name,
            row.kind,
            bool(row.enabled),
            row.severity,
            settings | known,
            default=False,
            about=kind.about,
            updated_at=iso(row.updated_at),
            updated_by=row.updated_by,
        )
    return [found[name] for name in sorted(found)]


def _shipped(name: str) -> Rule:
    kind = KINDS[name]
    settings, _ = checked_settings(kind, {})
    return Rule(name, name, True, kind.severity, settings, default=True, about=kind.about)


def _refused(problems: Sequence[Problem]) -> RequestError:
    """All that is wrong in one sentence; the place and the advice are those of the first."""
    said = "; ".join(problem.message for problem in problems)
    return RequestError(f"{said}.", pointer=problems[0].pointer, hint=problems[0].hint or None)


def _problems(name: str, kind: str | None, severity: str | None) -> list[Problem]:
    found: list[Problem] = []
    if not _NAME.fullmatch(name):
        hint = "It has 1 to 100 small letters, digits, '_', '.' and '-'."
        found.append(Problem("/name", "wrong_value", "this is no name of a rule", hint))
    if name in KINDS and kind not in {None, name}:
        hint = "Take another name for it."
        found.append(Problem("/kind", "wrong_value", f"the rule {name} is of the kind {name}", hint))
    if severity is not None and severity not in _SEVERITIES:
        hint = f"One of {', '.join(_SEVERITIES)}."
        found.append(Problem("/severity", "wrong_value", "this is no severity", hint))
    return found


def _kind_problem(kind: str | None) -> Problem:
    if kind is None:
        return Problem(
            "/kind", "required", "a rule of a new name needs a kind", f"One of {', '.join(KINDS)}."
        )
    return Problem("/kind", "wrong_value", f"there is no kind of rule {kind[:80]!r}", suggestion(kind, KINDS))


def _unknown(name: str) -> NotFound:
    return NotFound(
        f"there is no rule {name[:100]!r}.", hint="`strataflow alerts rules` shows what there is."
    )
