"""`serve`: the REST interface, and an engine beside it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import keying
from .commands import Adder
from .errors import UsageProblem
from .options import DB_DEFAULT, Db, Imports, make_options, seconds_of
from .output import note, show_warnings
from .stopping import stop_signals

if TYPE_CHECKING:
    from ...services.container import Options
    from ...services.namespaces import Namespaces
    from ..rest.app import ServerLimits
    from .listening import Front

__all__ = ["add_to"]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(serve, "serve --port 8080")
    keying.add_to(add)


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
    root_path: Annotated[
        str, typer.Option("--root-path", metavar="PATH", help="The path a balancer takes away: /flows.")
    ] = "",
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-proxy",
            metavar="ADDRESS",
            help="Believe the X-Forwarded headers of this one; repeat it.",
        ),
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate chain, PEM.")
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option("--tls-key", metavar="FILE", help="Its private key, PEM.")
    ] = None,
    rate: Annotated[
        float, typer.Option("--rate", min=0, metavar="N", help="Requests a second of one key; 0 is no limit.")
    ] = 200.0,
    burst: Annotated[
        int, typer.Option("--burst", min=1, metavar="N", help="Requests of one key at once.")
    ] = 400,
    grace: Annotated[
        str,
        typer.Option("--grace", metavar="DURATION", help="How long running tasks may go on after a stop."),
    ] = "10s",
    imports: Imports = None,
    db: Db = DB_DEFAULT,
) -> None:
    """Serve the REST interface under /api/v1, and run an engine.

    Callers need a key: `strataflow keys create`. Definitions that come through it may not use `shell` and
    `python.call`. SIGTERM or Ctrl-C stops accepting and claiming, and gives running tasks their --grace; a second one
    ends at once. Needs `pip install strataflow[server]`.
    """
    from ...services.namespaces import Namespaces

    _require_extra()
    from ..rest.app import ServerLimits
    from .listening import Front, is_loopback, trusted_proxies

    urls = _urls(namespace or [], db)
    if insecure and not is_loopback(host):
        raise UsageProblem(
            f"--insecure is for this machine alone, and {host} is not.", hint="Leave it out, and make keys."
        )
    if insecure and len(urls) > 1:
        raise UsageProblem("--insecure serves one namespace: without a key nobody could say which.")
    front = Front(
        host=host,
        port=port,
        root_path=root_path,
        trusted=trusted_proxies(trusted_proxy or ()),
        cert=tls_cert,
        key=tls_key,
    )
    front.check()
    options = make_options(
        db,
        imports,
        executes=engine,
        allow_local_code=False,
        create=True,
        grace_s=seconds_of(grace, "--grace") or 0.0,
    )
    namespaces = Namespaces(urls, options)
    limits = ServerLimits(rate=rate, burst=burst)
    app = _application(namespaces, front, allow_host or [], limits=limits, insecure=insecure)
    _serve(namespaces, app, front, options)


def _require_extra() -> None:
    """Say what is missing before anything is opened. Raises UsageProblem."""
    try:
        import fastapi
        import uvicorn
    except ImportError as exc:
        raise UsageProblem(f"{exc.name} is not installed.", hint="pip install 'strataflow[server]'") from exc
    del fastapi, uvicorn


def _application(
    namespaces: Namespaces, front: Front, allow_host: list[str], *, limits: ServerLimits, insecure: bool
) -> Any:
    from ..rest.app import create_app
    from .listening import is_loopback

    hosts = frozenset(name.lower() for name in allow_host)
    if not hosts and is_loopback(front.host):
        hosts = frozenset({"localhost", "127.0.0.1", "::1", front.host.lower()})
    if insecure:
        note("WARNING: no key is asked for: everybody on this machine may do everything.")
    elif not is_loopback(front.host) and front.cert is None and not front.trusted:
        note("warning: keys travel unencrypted: give --tls-cert and --tls-key, or stand behind a proxy.")
    return create_app(namespaces, authenticate=not insecure, hosts=hosts, limits=limits)


def _serve(namespaces: Namespaces, app: Any, front: Front, options: Options) -> None:
    """Take the address, open the databases, serve; what cannot be had is one sentence, before anybody is answered."""
    from .listening import Server, listen

    show_warnings()
    server = Server(app, front)

    def stop_now() -> None:
        namespaces.stop_claiming()
        server.should_exit = True

    with ExitStack() as stack:
        sock = stack.enter_context(listen(front.host, front.port))
        stop = stack.enter_context(stop_signals(first=stop_now))
        stack.enter_context(namespaces)
        stack.callback(_say_stopping, options)
        if not stop.is_set():
            note(f"Serving {front.address(sock)}/api/v1; Ctrl-C stops it.")
            server.run(sockets=[sock])


def _say_stopping(options: Options) -> None:
    note(f"Stopping; running tasks have {options.grace_s:g} s." if options.executes else "Stopping.")


def _urls(namespaces: list[str], db: str) -> dict[str, str]:
    from ...services.namespaces import DEFAULT_NAMESPACE

    found: dict[str, str] = {}
    for text in namespaces:
        name, equals, url = text.partition("=")
        if not equals or not url or name in found:
            raise UsageProblem(f"--namespace: {text!r} is not NAME=URL, or its name stands twice.")
        make_options(url)
        found[name] = url
    return found or {DEFAULT_NAMESPACE: db}
