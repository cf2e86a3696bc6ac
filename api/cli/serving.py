"""`serve`: the REST interface, and an engine beside it; `keys`: who may call it."""

from __future__ import annotations

import ipaddress
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .commands import Adder
from .errors import UsageProblem
from .options import DB_DEFAULT, Db, Imports, Json, make_options, seconds_of
from .output import emit_json, note, print_table, say

if TYPE_CHECKING:
    from ...services.access.keys import KeyService, KeyView, NewKey
    from ...services.container import Options

__all__ = ["add_to"]

Namespace = Annotated[
    str,
    typer.Option("--namespace", metavar="NAME", help="The name under which `serve` serves this database."),
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
    add(serve, "serve --port 8080")
    keys = add.group("keys", "API keys of a database.")
    keys(create, "keys create ci --scope read:* --scope start:instances --expires-in 90d")
    keys(list_, "keys list", name="list")
    keys(rotate, "keys rotate 01a1fd7d-264a-7742-8ce2-6c26d5a9227e --overlap 1d")
    keys(revoke, "keys revoke 01a1fd7d-264a-7742-8ce2-6c26d5a9227e")


def serve(
    *,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8080,
    namespace: Annotated[
        list[str] | None,
        typer.Option("--namespace", metavar="NAME=URL", help="A database to serve under a name; repeat it."),
    ] = None,
    engine: Annotated[bool, typer.Option("--engine/--no-engine", help="Execute tasks too.")] = True,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Ask for no key; only on this machine's own address.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", metavar="NAME", help="A host name that requests may be sent to; repeat it."
        ),
    ] = None,
    imports: Imports = None,
    db: Db = DB_DEFAULT,
) -> None:
    """Serve the REST interface under /api/v1, and run an engine.

    Callers need a key: `strataflow keys create`. Definitions that come through it may not use `shell` and
    `python.call`. Needs `pip install strataflow[server]`.
    """
    urls = _urls(namespace or [], db)
    if insecure and not _is_loopback(host):
        raise UsageProblem(
            f"--insecure is for this machine alone, and {host} is not.", hint="Leave it out, and make keys."
        )
    if insecure and len(urls) > 1:
        raise UsageProblem("--insecure serves one namespace: without a key nobody could say which.")
    hosts = frozenset(name.lower() for name in allow_host or ())
    if not hosts and _is_loopback(host):
        hosts = frozenset({"localhost", "127.0.0.1", "::1", host.lower()})
    _run(_application(urls, make_options(db, imports), hosts, executes=engine, insecure=insecure), host, port)


def _application(
    urls: dict[str, str], options: Options, hosts: frozenset[str], *, executes: bool, insecure: bool
) -> Any:
    from dataclasses import replace

    from ...services.namespaces import Namespaces

    try:
        from ..rest.app import create_app
    except ImportError as exc:
        raise UsageProblem(f"{exc.name} is not installed.", hint="pip install 'strataflow[server]'") from exc
    if insecure:
        note("WARNING: no key is asked for: everybody on this machine may do everything.")
    settings = replace(options, executes=executes, allow_local_code=False, create=True)
    return create_app(Namespaces(urls, settings), authenticate=not insecure, hosts=hosts)


def _run(app: Any, host: str, port: int) -> None:
    import uvicorn

    uvicorn.run(
        app, host=host, port=port, log_level="info", server_header=False, timeout_graceful_shutdown=30
    )


def _urls(namespaces: list[str], db: str) -> dict[str, str]:
    from ...services.namespaces import DEFAULT_NAMESPACE

    found: dict[str, str] = {}
    for text in namespaces:
        name, equals, url = text.partition("=")
        if not equals or not url or name in found:
            raise UsageProblem(f"--namespace: {text!r} is not NAME=URL, or its name stands twice.")
        found[name] = url
    return found or {DEFAULT_NAMESPACE: db}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# --- keys


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, or what for.")],
    scope: Scopes,
    *,
    expires_in: Expires = None,
    namespace: Namespace = "main",
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Make a key. Its token is printed now and cannot be had again."""
    with _keys(db, namespace) as keys:
        made = keys.create(name, scope, seconds_of(expires_in, "--expires-in"))
    _say_new(made, json=json)


def list_(*, namespace: Namespace = "main", db: Db = DB_DEFAULT, json: Json = False) -> None:
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
    namespace: Namespace = "main",
    db: Db = DB_DEFAULT,
    json: Json = False,
) -> None:
    """Make a key that takes another's place; both are good while they overlap."""
    with _keys(db, namespace) as keys:
        made = keys.rotate(
            id_, seconds_of(overlap, "--overlap") or 0.0, seconds_of(expires_in, "--expires-in")
        )
    _say_new(made, json=json)


def revoke(id_: KeyId, *, namespace: Namespace = "main", db: Db = DB_DEFAULT, json: Json = False) -> None:
    """Make a key worthless at once."""
    from dataclasses import asdict

    with _keys(db, namespace) as keys:
        found = keys.revoke(id_)
    if json:
        emit_json(asdict(found))
    else:
        say(f"{found.name} is {found.state}.")


@contextmanager
def _keys(db: str, namespace: str) -> Generator[KeyService]:
    from ...services.access.keys import KeyService
    from ...services.container import reading

    with reading(make_options(db)) as services:
        yield KeyService(services.database, namespace)


def _say_new(made: NewKey, *, json: bool) -> None:
    from dataclasses import asdict

    if json:
        emit_json({**asdict(made.key), "token": made.token})
        return
    say(made.token)
    note(f"Key {made.key.id}, {made.key.name}: {', '.join(made.key.scopes)}. The token is not shown again.")


def _row(each: KeyView) -> list[Any]:
    return [each.id, each.name, each.state, " ".join(each.scopes), each.expires_at or ""]
