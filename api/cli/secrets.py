"""`secrets`: values that definitions read by name, sealed in the database. Written here, read by engines alone."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .commands import Adder
from .door import reading
from .errors import UsageProblem
from .options import DB_DEFAULT, Db, Json, make_options
from .output import emit_json, emit_list, local_time, note, print_table, say
from .usage import usage_errors

if TYPE_CHECKING:
    from ...services.ports import Secrets

__all__ = ["add_to"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="What definitions call it: `{{ secrets.NAME }}`.")]
#: What is read of a value; a byte more than it may have.
_ENOUGH: Final = 65_538


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    group = add.group("secrets", "Values for `{{ secrets.NAME }}`, sealed in the database.")
    group(set_, "secrets set bank_token < token.txt", name="set")
    group(list_, "secrets list", name="list")
    group(delete, "secrets delete bank_token")
    group(rewrap, "secrets rewrap")
    group(new_master_key, "secrets new-master-key --id 2026-11", name="new-master-key")


def set_(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Store a value, or another in its place.

    The value is read from standard input, or asked for on a terminal; never an argument, which others could see.
    One line end behind it is left out. Needs a master key in STRATAFLOW_MASTER_KEYS.
    """
    from dataclasses import asdict

    value = _value()
    with _service(db, create=True) as secrets:
        found = secrets.put(name, value, _user())
    if json:
        emit_json(asdict(found))
    else:
        say(f"{name} is set: version {found.version}, sealed with the master key {found.key_id}.")


def list_(*, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """List names, versions and dates; values are shown nowhere."""
    from dataclasses import asdict

    with _service(db) as secrets:
        found = list(secrets.list())
    if json:
        emit_list(map(asdict, found))
        return
    columns = ["NAME", "VERSION", "KEY", "UPDATED", "BY"]
    rows = [[e.name, str(e.version), e.key_id, local_time(e.updated_at), e.updated_by] for e in found]
    print_table(columns, rows, right=["VERSION"])


def delete(name: Name, *, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Delete a secret: tasks that read it fail, unless an environment variable gives it."""
    with _service(db) as secrets:
        secrets.delete(name)
    if json:
        emit_json({"name": name, "deleted": True})
    else:
        say(f"{name} is deleted.")


def rewrap(*, db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Bring everything that is sealed under the newest master key, the first in STRATAFLOW_MASTER_KEYS.

    Older keys may be taken out of it afterwards, when every process has the newest.
    """
    with _service(db) as secrets:
        count = secrets.rewrap()
    if json:
        emit_json({"rewrapped": count})
    else:
        say(f"{count} sealed anew." if count else "Everything is sealed with the newest key already.")


def new_master_key(
    *,
    id_: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="What it is called; else a random id.")
    ] = None,
) -> None:
    """Make a master key and print it, as it stands in STRATAFLOW_MASTER_KEYS.

    Whoever has it can open what is sealed with it; who loses it loses that. Keep it apart from the database.
    """
    from ...engine.vault import new_master_key as make

    with _vault_errors():
        say(make(id_))
    note(
        "Put it first in STRATAFLOW_MASTER_KEYS of every process, before the older ones. It is not kept here."
    )


@contextmanager
def _service(db: str, **more: Any) -> Generator[Secrets]:
    with usage_errors(), _vault_errors(), reading(make_options(db, **more)) as services:
        yield services.secrets


@contextmanager
def _vault_errors() -> Generator[None]:
    """A key that is missing or malformed is the caller's to mend."""
    from ...engine.vault import VaultError

    try:
        yield
    except VaultError as exc:
        raise UsageProblem(exc.message, hint=exc.hint) from exc


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def _value() -> str:
    if sys.stdin.isatty():
        found: str = typer.prompt("Value", hide_input=True, confirmation_prompt=True)
        return found
    try:
        text = sys.stdin.read(_ENOUGH)
    except UnicodeDecodeError as exc:
        raise UsageProblem("the value is not UTF-8.", hint="Pack bytes in base64.") from exc
    return text.removesuffix("\n").removesuffix("\r")
