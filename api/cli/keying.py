"""`keys`: who may call the REST interface of a database."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .commands import Adder
from .door import reading
from .options import DB_DEFAULT, Db, Json, make_options, seconds_of
from .output import emit_json, note, print_table, say

if TYPE_CHECKING:
    from ...services.access.keys import KeyView, NewKey
    from ...services.ports import Keys

__all__ = ["add_to"]

Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        metavar="NAME",
        help="The name under which `serve` serves this database, else main; a server knows it by the token.",
    ),
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="A key's id.")]
Scopes = Annotated[
    list[str],
    typer.Option("--scope", metavar="VERB:RESOURCE", help="What it may do, such as read:*; repeat it."),
]
Expires = Annotated[
    str | None,
    typer.Option("--expires-in", metavar="DURATION", help="How long it lives: 90d. Default: for ever."),
]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    keys = add.group("keys", "API keys of a database.")
    keys(create, "keys create ci --scope read:* --scope start:instances --expires-in 90d")
    keys(list_, "keys list", name="list")
    keys(rotate, "keys rotate 01a1fd7d-264a-7742-8ce2-6c26d5a9227e --overlap 1d")
    keys(revoke, "keys revoke 01a1fd7d-264a-7742-8ce2-6c26d5a9227e")


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, or what for.")],
    scope: Scopes,
    *,
    expires_in: Expires = None,
    namespace: Namespace = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Make a key, and the SQLite file if it is not there. The token is printed now and cannot be had again."""
    with _keys(db, namespace, create=True) as keys:
        made = keys.create(name, scope, seconds_of(expires_in, "--expires-in"))
    _say_new(made, json=json)


def list_(*, namespace: Namespace = None, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """List keys, without their secrets."""
    from dataclasses import asdict

    with _keys(db, namespace) as keys:
        found = list(keys.list())
    if json:
        emit_json([asdict(each) for each in found])
        return
    print_table(["ID", "NAME", "STATE", "SCOPES", "EXPIRES"], map(_row, found))


def rotate(
    id_: KeyId,
    *,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="DURATION", help="How long the old one stays good.")
    ] = "1h",
    expires_in: Expires = None,
    namespace: Namespace = None,
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Make a key that takes another's place; both are good while they overlap."""
    with _keys(db, namespace) as keys:
        made = keys.rotate(
            id_, seconds_of(overlap, "--overlap") or 0.0, seconds_of(expires_in, "--expires-in")
        )
    _say_new(made, json=json)


def revoke(id_: KeyId, *, namespace: Namespace = None, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Make a key worthless at once."""
    from dataclasses import asdict

    with _keys(db, namespace) as keys:
        found = keys.revoke(id_)
    if json:
        emit_json(asdict(found))
    else:
        say(f"{found.name} is {found.state}.")


@contextmanager
def _keys(db: str, namespace: str | None, *, create: bool = False) -> Generator[Keys]:
    with reading(make_options(db, create=create)) as services:
        yield services.keys(namespace)


def _say_new(made: NewKey, *, json: bool) -> None:
    from dataclasses import asdict

    if json:
        emit_json({**asdict(made.key), "token": made.token})
        return
    say(made.token)
    note(f"Key {made.key.id}, {made.key.name}: {', '.join(made.key.scopes)}. The token is not shown again.")


def _row(each: KeyView) -> list[Any]:
    return [each.id, each.name, each.state, " ".join(each.scopes), each.expires_at or ""]
