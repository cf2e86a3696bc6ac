"""`alerts`: what somebody should look at, and the rules that say so."""

from __future__ import annotations

import getpass
import json as jsonlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .commands import Adder
from .errors import UsageProblem
from .options import DB_DEFAULT, Db, Json, make_options
from .output import emit_json, emit_list, local_time, print_table, say
from .usage import usage_errors

if TYPE_CHECKING:
    from ...services.alerts.model import AlertView, Rule
    from ...services.ports import UseCases

__all__ = ["add_to"]

AlertId = Annotated[str, typer.Argument(metavar="ID", help="The alert's id.")]
RuleName = Annotated[str, typer.Argument(metavar="RULE", help="The rule's name.")]
Severity = Literal["info", "warning", "critical"]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    group = add.group("alerts", "What somebody should look at, and the rules that say so.")
    group(list_, "alerts list", name="list")
    group(show, "alerts show ID")
    group(ack, "alerts ack ID")
    group(resolve, "alerts resolve ID")
    group(rules, "alerts rules")
    group(set_rule, "alerts set-rule failure_rate --set share=0.2 --set window=1h", name="set-rule")
    group(reset_rule, "alerts reset-rule failure_rate", name="reset-rule")


@contextmanager
def _services(db: str) -> Generator[UseCases]:
    from .door import reading

    with usage_errors(), reading(make_options(db)) as services:
        yield services


def list_(
    *,
    all_: Annotated[bool, typer.Option("--all", help="Those that are resolved, too.")] = False,
    rule: Annotated[str | None, typer.Option("--rule", metavar="RULE", help="Only of this rule.")] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", metavar="TEXT", help="Only of this run, definition, queue, ….")
    ] = None,
    severity: Annotated[Severity | None, typer.Option("--severity", help="Only so bad.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, metavar="N", help="At most so many.")
    ] = 100,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """List the alerts that are open, the newest first."""
    from itertools import islice

    states = () if all_ else ("raised", "acknowledged")
    with _services(db) as services:
        found = services.alerts.list(states=states, rule=rule, subject=subject, severity=severity)
        rows = list(islice(found, limit))
    if json:
        emit_list(each.as_json() for each in rows)
        return
    names = ["ID", "SEVERITY", "STATE", "SINCE", "COUNT", "RULE", "TEXT"]
    lines = [[e.id, e.severity, e.state, local_time(e.first_at), str(e.count), e.rule, e.text] for e in rows]
    print_table(names, lines, right=["COUNT"])


def show(alert: AlertId, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Show one alert: what is the matter, and what to do next."""
    with _services(db) as services:
        _print(services.alerts.get(alert), json=json)


def ack(alert: AlertId, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Say that somebody sees to it: it stays open and is not raised anew."""
    with _services(db) as services:
        _print(services.alerts.acknowledge(alert, _user()), json=json)


def resolve(alert: AlertId, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Say that it is over. While its cause goes on it is raised anew."""
    with _services(db) as services:
        _print(services.alerts.resolve(alert, _user()), json=json)


def rules(*, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """List every rule, those that nobody has touched too."""
    with _services(db) as services:
        found = services.alerts.rules.list()
    if json:
        emit_list(each.as_json() for each in found)
        return
    lines = [
        [
            e.name,
            e.kind,
            "on" if e.enabled else "off",
            e.severity,
            "" if e.default else "changed",
            _settings(e),
        ]
        for e in found
    ]
    print_table(["RULE", "KIND", "IS", "SEVERITY", "", "SETTINGS"], lines)


def set_rule(
    rule: RuleName,
    *,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="What a rule of a new name looks for.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Switch it off.")] = False,
    severity: Annotated[Severity | None, typer.Option("--severity", help="How bad it is.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting; may be repeated.")
    ] = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Change a rule, or add one of a new name. What is not named stays; `--off` switches it off, its absence on."""
    given = dict(_pair(each) for each in set_ or ())
    with _services(db) as services:
        book = services.alerts.rules
        old = next((each for each in book.list() if each.name == rule), None)
        settings = {**(old.settings if old is not None else {}), **given}
        level = severity or (old.severity if old is not None else None)
        kind = kind or (old.kind if old is not None else None)
        found = book.put(rule, _user(), kind=kind, enabled=not off, severity=level, settings=settings)
    if json:
        emit_json(found.as_json())
    else:
        say(f"{found.name} is {'on' if found.enabled else 'off'}, {found.severity}: {_settings(found)}.")


def reset_rule(rule: RuleName, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Make a shipped rule what it was; delete one that was added."""
    with _services(db) as services:
        found = services.alerts.rules.reset(rule)
    if json:
        emit_json({"name": rule, "rule": found.as_json() if found is not None else None})
    else:
        say(f"{rule} is as it was shipped." if found is not None else f"{rule} is deleted.")


def _print(found: AlertView, *, json: bool) -> None:
    if json:
        emit_json(found.as_json())
        return
    by = found.resolved_by or found.acknowledged_by
    say(f"{found.id} {found.severity} {found.state}{f' ({by})' if by else ''}: {found.text}")


def _pair(text: str) -> tuple[str, Any]:
    """A setting and its value, which is JSON where it is, and text where it is not."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageProblem(f"--set {text!r} assigns nothing.", hint="Write --set window=30m.")
    try:
        return name, jsonlib.loads(value)
    except (ValueError, RecursionError):
        return name, value


def _settings(rule: Rule) -> str:
    return ", ".join(f"{name} {_said(value)}" for name, value in rule.settings.items())


def _said(value: Any) -> str:
    return value if isinstance(value, str) else jsonlib.dumps(value)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
