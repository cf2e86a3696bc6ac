"""`webhooks`: who is told of events by HTTP, and what became of it."""

from __future__ import annotations

import getpass
from collections.abc import Generator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .commands import Adder
from .door import reading
from .errors import UsageProblem
from .options import DB_DEFAULT, Db, Json, make_options, seconds_of
from .output import brief, clean, emit_json, emit_list, local_time, note, print_table, say
from .usage import usage_errors

if TYPE_CHECKING:
    from ...services.ports import Webhooks
    from ...services.webhooks import NewWebhook

__all__ = ["add_to"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="The webhook's name.")]
Event = Annotated[
    list[str] | None,
    typer.Option("--event", metavar="PATTERN", help="Events it is told of: instance.*; repeat it."),
]
Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="Where messages go.")]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    group = add.group("webhooks", "Tell others of events by HTTP, signed.")
    group(
        create, "webhooks create billing https://example.org/hook --event 'instance.*' --definition invoice"
    )
    group(list_, "webhooks list", name="list")
    group(show, "webhooks show billing")
    group(change, "webhooks change billing --url https://example.org/other")
    group(enable, "webhooks enable billing")
    group(disable, "webhooks disable billing")
    group(rotate, "webhooks rotate billing --overlap 1d")
    group(send_test, "webhooks test billing", name="test")
    group(deliveries, "webhooks deliveries billing --state dead")
    group(redeliver, "webhooks redeliver billing --dead")
    group(delete, "webhooks delete billing")


def create(
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where messages go.")],
    *,
    event: Event = None,
    definition: Annotated[
        str | None, typer.Option("--definition", metavar="NAME", help="Only of runs of this definition.")
    ] = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Tell somebody of events from now on. The signing secret is printed now and cannot be had again.

    Engines that execute send the messages. Needs a master key in STRATAFLOW_MASTER_KEYS.
    """
    from ...services.webhooks import WebhookSpec

    spec = WebhookSpec(name, url, event or ["instance.*"], definition)
    with _service(db, create=True) as webhooks:
        made = webhooks.create(spec, _user())
    _say_new(made, json=json)


def list_(*, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """List webhooks."""
    from dataclasses import asdict

    with _service(db) as webhooks:
        found = list(webhooks.list())
    if json:
        emit_list(map(asdict, found))
        return
    rows = [[e.name, e.state, " ".join(e.events), e.definition or "", brief(e.problem), e.url] for e in found]
    print_table(["NAME", "STATE", "EVENTS", "DEFINITION", "PROBLEM", "URL"], rows)


def show(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Show one webhook, and how many deliveries wait and were given up."""
    from dataclasses import asdict

    with _service(db) as webhooks:
        view = webhooks.get(name)
    found: dict[str, Any] = asdict(view)
    if json:
        emit_json(found)
        return
    for field, value in (found | {"events": " ".join(view.events)}).items():
        if value is not None:
            say(f"{field + ':':18}{clean(str(value))}")


def change(
    name: Name,
    *,
    url: Url = None,
    event: Event = None,
    definition: Annotated[
        str | None,
        typer.Option("--definition", metavar="NAME", help="Only of its runs; '' takes the events of all."),
    ] = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Change where messages go, or what they tell; what waits already goes to the new place."""
    given: dict[str, Any] = {}
    given |= {"url": url} if url is not None else {}
    given |= {"events": event} if event else {}
    given |= {"definition": definition or None} if definition is not None else {}
    if not given:
        raise UsageProblem("there is nothing to change.", hint="Give --url, --event or --definition.")
    with _service(db) as webhooks:
        found = webhooks.update(name, **given)
    _say(found, f"{name} is changed.", json=json)


def enable(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Tell it of what happens from now on, and of what waited when it was disabled."""
    with _service(db) as webhooks:
        found = webhooks.enable(name)
    _say(found, f"{name} is enabled.", json=json)


def disable(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Send it nothing until it is enabled: events pass, what is made already waits."""
    with _service(db) as webhooks:
        found = webhooks.disable(name)
    _say(found, f"{name} is disabled.", json=json)


def rotate(
    name: Name,
    *,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="DURATION", help="How long messages are signed with both.")
    ] = "1d",
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Make a new signing secret. It is printed now and cannot be had again."""
    seconds = seconds_of(overlap, "--overlap") or 0.0
    with _service(db) as webhooks:
        made = webhooks.rotate(name, seconds)
    _say_new(made, json=json)


def send_test(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Have an engine send it a `webhook.test`; `webhooks deliveries` shows what came of it."""
    with _service(db) as webhooks:
        found = webhooks.test(name)
    _say(found, f"{found.id} waits for an engine.", json=json)


def deliveries(
    name: Name,
    *,
    state: Annotated[
        str | None, typer.Option("--state", metavar="STATE", help="pending, delivered or dead.")
    ] = None,
    event: Annotated[str | None, typer.Option("--event", metavar="NAME", help="Of one event only.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """List deliveries, the newest first; `--state dead` is what was given up."""
    from dataclasses import asdict

    with _service(db) as webhooks:
        found = list(islice(webhooks.deliveries(name, state=state, event=event), limit))
    if json:
        emit_list(map(asdict, found))
        return
    rows = [
        [e.id, e.event, e.state, str(e.attempts), local_time(e.due_at), brief(e.status or e.error or "")]
        for e in found
    ]
    print_table(["ID", "EVENT", "STATE", "TRIES", "NEXT", "ANSWER"], rows, right=["TRIES"])


def redeliver(
    name: Name,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Deliveries to send again.")] = None,
    *,
    dead: Annotated[bool, typer.Option("--dead", help="All that were given up.")] = False,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Send deliveries again, each under its id."""
    if bool(ids) == dead:
        raise UsageProblem("which ones?", hint="Give the ids, or --dead for all that were given up.")
    with _service(db) as webhooks:
        count = webhooks.redeliver_dead(name) if dead else 0
        for each in ids or ():
            webhooks.redeliver(name, each)
            count += 1
    if json:
        emit_json({"redelivered": count})
    else:
        say(f"{count} sent again.")


def delete(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Delete a webhook and its deliveries."""
    with _service(db) as webhooks:
        webhooks.delete(name)
    if json:
        emit_json({"name": name, "deleted": True})
    else:
        say(f"{name} is deleted.")


@contextmanager
def _service(db: str, **more: Any) -> Generator[Webhooks]:
    from ...engine.vault import VaultError
    from ...engine.webhooks import egress_of
    from ...services.container import Services
    from ...services.webhooks import WebhookService

    options = make_options(db, **more)
    try:
        with usage_errors(), reading(options) as services:
            if isinstance(services, Services):
                yield WebhookService(services.database, egress=egress_of(options.egress_allow or None))
            else:
                yield services.webhooks
    except VaultError as exc:  # a key that is missing is the caller's to mend
        raise UsageProblem(exc.message, hint=exc.hint) from exc


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def _say(found: Any, text: str, *, json: bool) -> None:
    from dataclasses import asdict

    if json:
        emit_json(asdict(found))
    else:
        say(text)


def _say_new(made: NewWebhook, *, json: bool) -> None:
    from dataclasses import asdict

    if json:
        emit_json({**asdict(made.webhook), "secret": made.secret})
        return
    say(made.secret)
    note(f"What {made.webhook.name} is told is signed with this secret. It is not shown again.")
