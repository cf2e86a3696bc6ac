"""`serve`: the REST interface, and an engine beside it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import keying
from .commands import Adder
from .errors import UsageProblem
from .loglines import show_log
from .options import DB_DEFAULT, Db, Imports, make_options
from .output import note
from .settings import Settings, with_settings
from .stopping import stop_signals

if TYPE_CHECKING:
    from ...services.container import Options
    from ...services.namespaces import Namespaces
    from ...services.telemetry import Telemetry
    from ..rest.app import ServerLimits
    from .listening import Front

__all__ = ["add_to"]


def add_to(add: Adder) -> None:
    """Register the commands of this module."""
    add(serve, "serve --port 8080")
    keying.add_to(add)


@with_settings("engine", "server", "streams", "graphql", "telemetry", "log")
def serve(
    *,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Ask for no key; only on this machine's own address.")
    ] = False,
    imports: Imports = None,
    db: Db = DB_DEFAULT,
    settings: Settings,
) -> None:
    """Serve the REST interface under /api/v1, and run an engine.

    Callers need a key: `strataflow keys create`. Definitions that come through it may not use `shell` and
    `python.call`. SIGTERM or Ctrl-C stops accepting and claiming, and gives running tasks their --grace; a second one
    ends at once. Needs `pip install strataflow[server]`.
    """
    from ...services.namespaces import Namespaces
    from ...services.telemetry import configure_telemetry, telemetry_of

    _require_extra()
    from .listening import is_loopback

    host: str = settings["server.host"]
    urls = _urls(settings["server.namespaces"], db)
    if insecure and not is_loopback(host):
        raise UsageProblem(
            f"--insecure is for this machine alone, and {host} is not.", hint="Leave it out, and make keys."
        )
    if insecure and len(urls) > 1:
        raise UsageProblem("--insecure serves one namespace: without a key nobody could say which.")
    front = _front(settings)
    executes: bool = settings["server.engine"]
    telemetry = telemetry_of(settings, "api")
    options = make_options(
        db,
        imports,
        settings,
        executes=executes,
        allow_local_code=False,
        create=True,
        watches=True,
        telemetry=telemetry,
    )
    show_log(settings["log.format"], settings["log.level"])
    namespaces = Namespaces(urls, options)
    app = _application(namespaces, front, settings, configure_telemetry(telemetry), insecure=insecure)
    _serve(namespaces, app, front, options)


def _front(settings: Settings) -> Front:
    from .listening import Front, trusted_proxies

    front = Front(
        host=settings["server.host"],
        port=settings["server.port"],
        root_path=settings["server.root_path"],
        trusted=trusted_proxies(settings["server.trusted_proxies"]),
        cert=settings["server.tls_cert"],
        key=settings["server.tls_key"],
    )
    front.check()
    return front


def _require_extra() -> None:
    """Say what is missing before anything is opened. Raises UsageProblem."""
    try:
        import fastapi
        import uvicorn
    except ImportError as exc:
        raise UsageProblem(f"{exc.name} is not installed.", hint="pip install 'strataflow[server]'") from exc
    del fastapi, uvicorn


def _application(
    namespaces: Namespaces, front: Front, settings: Settings, telemetry: Telemetry, *, insecure: bool
) -> Any:
    from ..rest.app import create_app
    from .listening import is_loopback

    hosts = frozenset(name.lower() for name in settings["server.allow_hosts"])
    if hosts or is_loopback(front.host):  # a check of this machine itself is always answered
        hosts |= {"localhost", "127.0.0.1", "::1"}
    if is_loopback(front.host):
        hosts |= {front.host.lower()}
    limits = _limits(settings)
    if insecure:
        note("WARNING: no key is asked for: everybody on this machine may do everything.")
    elif not is_loopback(front.host) and front.cert is None and not front.trusted:
        note("warning: keys travel unencrypted: give --tls-cert and --tls-key, or stand behind a proxy.")
    return create_app(namespaces, authenticate=not insecure, hosts=hosts, limits=limits, telemetry=telemetry)


def _limits(settings: Settings) -> ServerLimits:
    from ...services.configuration import seconds
    from ..graphql.limits import GraphQLLimits
    from ..live.settings import StreamLimits
    from ..rest.app import ServerLimits

    return ServerLimits(
        max_body=settings["server.max_body"],
        max_depth=settings["server.max_depth"],
        rate=settings["server.rate"],
        burst=settings["server.burst"],
        streams=StreamLimits(
            heartbeat_s=seconds(settings["streams.heartbeat"]) or 0.0,
            stall_s=seconds(settings["streams.stall"]) or 0.0,
            per_key=settings["streams.per_key"],
            per_process=settings["streams.per_process"],
            origins=frozenset(settings["streams.origins"]),
        ),
        graphql=GraphQLLimits(
            depth=settings["graphql.depth"],
            cost=settings["graphql.cost"],
            seconds=seconds(settings["graphql.timeout"]) or 0.0,
        ),
    )


def _serve(namespaces: Namespaces, app: Any, front: Front, options: Options) -> None:
    """Take the address, open the databases, serve; what cannot be had is one sentence, before anybody is answered."""
    from .listening import Server, listen

    server = Server(app, front)

    def stop_now() -> None:
        namespaces.stop_claiming()
        app.state.streams.stop()
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


def _urls(namespaces: Sequence[str], db: str) -> dict[str, str]:
    from ...services.namespaces import DEFAULT_NAMESPACE

    found: dict[str, str] = {}
    for text in namespaces:
        name, equals, url = text.partition("=")
        if not equals or not url or name in found:
            raise UsageProblem(f"--namespace: {text!r} is not NAME=URL, or its name stands twice.")
        make_options(url)
        found[name] = url
    return found or {DEFAULT_NAMESPACE: db}
