"""Where a command works: on a database of its own, or at a server. The options that say so, for every command.

`Adder` gives every command with `--db` these options too. What stands on the command line goes before the environment,
that before the file of settings; two of the same rank contradict each other.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast
from urllib.parse import urlsplit

import typer

from .errors import UsageProblem
from .output import note

if TYPE_CHECKING:
    from ...services.remote.client import Target

__all__ = ["LOCAL", "at_server", "server_label", "with_server", "without_server"]

_SERVER, _TOKEN, _FILE, _CONTEXT = "server", "server_token", "server_token_file", "server_context"
_PANEL: Final = "At a server instead of a database"
_Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="STRATAFLOW_SERVER",
        metavar="URL",
        help="Work through the server at this address, such as https://flows.example.org, instead of a database.",
        rich_help_panel=_PANEL,
    ),
]
_Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="STRATAFLOW_TOKEN",
        metavar="TOKEN",
        help="An API key for it. Others see arguments (`ps`): better set STRATAFLOW_TOKEN, or use --token-file.",
        rich_help_panel=_PANEL,
    ),
]
_TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="STRATAFLOW_TOKEN_FILE",
        metavar="FILE",
        help="A file that holds the API key.",
        rich_help_panel=_PANEL,
    ),
]
_Hidden = Annotated[str | None, typer.Option("--server", envvar="STRATAFLOW_SERVER", hidden=True)]
_OPTIONS: Final[Mapping[str, Any]] = {_SERVER: _Server, _TOKEN: _Token, _FILE: _TokenFile}
#: What was said later wins.
_RANKS: Final = {"COMMANDLINE": 3, "PROMPT": 3, "ENVIRONMENT": 2, "DEFAULT_MAP": 1}
_FILES: Final = "it works on files alone"
_HERE: Final = "it concerns this process"
_DATABASE: Final = "it works on a database itself, which --db names"
#: Commands that know no server, and why.
LOCAL: Final[Mapping[str, str]] = {
    "worker": _DATABASE,
    "serve": _DATABASE,
    "db upgrade": _DATABASE,
    "db check": _DATABASE,
    "config show": _HERE,
    "config check": _HERE,
    "executors": _HERE,
    "validate": _FILES,
    "schema": _FILES,
    "graph": _FILES,
    "fmt": _FILES,
    "convert": _FILES,
    "schedules next": "it only counts",
    "secrets rewrap": "master keys are where the database is, which --db names",
    "secrets new-master-key": "it only makes one",
}
_chosen: Final[ContextVar[Target | None]] = ContextVar("strataflow_server", default=None)


def at_server() -> Target | None:
    """The server that this command works at; None: a database."""
    return _chosen.get()


def server_label() -> str:
    """The options with which another command works at the same server, for people to copy; empty for a database."""
    target = at_server()
    return "" if target is None else f"--server {target.url}"


def with_server(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command with `--db` work at a server too: `door.reading` and `door.running` open what was chosen."""

    def run(given: dict[str, Any], context: typer.Context) -> Any:
        url, token, file = (given.pop(name) for name in _OPTIONS)
        with _working_at(url, token, file, context):
            return function(**given)

    return _extended(function, _OPTIONS, run)


def without_server(function: Callable[..., Any], why: str) -> Callable[..., Any]:
    """Let a command refuse `--server` in one sentence, which `why` ends.

    One that works on a database does not take the default one either where the environment names a server.
    """

    def run(given: dict[str, Any], context: typer.Context) -> Any:
        named = given.pop(_SERVER) is not None
        if named and _rank(context, _SERVER) == _RANKS["COMMANDLINE"]:
            raise UsageProblem(f"`{context.command_path}` takes no --server: {why}.")
        if (
            named
            and why == _DATABASE
            and _rank(context, "db") == 0
            and not given.get("set_server_namespaces")
        ):
            hint = "Name a database with --db, or take STRATAFLOW_SERVER away."
            raise UsageProblem(f"`{context.command_path}` works on a database, and none is named.", hint=hint)
        return function(**given)

    return _extended(function, {_SERVER: _Hidden}, run)


@contextmanager
def _working_at(
    url: str | None, token: str | None, file: Path | None, context: typer.Context
) -> Generator[None]:
    server, db = _rank(context, _SERVER), _rank(context, "db")
    if url is None or server < db:
        if _rank(context, _TOKEN) == _RANKS["COMMANDLINE"] or _rank(context, _FILE) == _RANKS["COMMANDLINE"]:
            raise UsageProblem("a token is for a server.", hint="Name it with --server URL.")
        yield
        return
    if server == db:
        names = (
            "--server and --db" if server == _RANKS["COMMANDLINE"] else "STRATAFLOW_SERVER and STRATAFLOW_DB"
        )
        raise UsageProblem(f"{names} contradict each other.", hint="Name a server, or a database.")
    target = _target(url, token, file, context)
    _warn(target)
    known = _chosen.set(target)
    try:
        yield
    finally:
        _chosen.reset(known)


def _target(url: str, token: str | None, file: Path | None, context: typer.Context) -> Target:
    from ...engine.errors import RequestError
    from ...services.remote.client import Target, server_url

    by_token, by_file = _rank(context, _TOKEN), _rank(context, _FILE)
    if token is not None and file is not None and by_token == by_file:
        raise UsageProblem("a token and a file with one contradict each other.", hint="Give one of them.")
    if file is not None and by_file > by_token:
        token = _read(file)
    token = token.strip() if token else None
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageProblem("the token is none.", hint="`strataflow keys create` makes one.")
    try:
        return Target(server_url(url), token)
    except RequestError as exc:
        raise UsageProblem(f"--server: {exc.message}", hint=exc.hint) from exc


def _warn(target: Target) -> None:
    """Say so when a token goes over the network for everybody to read."""
    parts = urlsplit(target.url)
    if target.token is None or parts.scheme == "https" or _is_this_machine(parts.hostname or ""):
        return
    note(f"warning: the token goes to {target.url} unencrypted; https:// keeps it secret.")


def _is_this_machine(host: str) -> bool:
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as exc:
        raise UsageProblem(f"--token-file: {file} cannot be read: {exc.strerror or exc}.") from exc
    except UnicodeDecodeError as exc:
        raise UsageProblem(f"--token-file: {file} is not UTF-8.") from exc


def _rank(context: typer.Context, name: str) -> int:
    source = context.get_parameter_source(name)
    return 0 if source is None else _RANKS.get(source.name, 0)


def _extended(
    function: Callable[..., Any],
    options: Mapping[str, Any],
    run: Callable[[dict[str, Any], typer.Context], Any],
) -> Callable[..., Any]:
    """The command with more options; the parser reads the signature alone."""

    @wraps(function)
    def command(**given: Any) -> Any:
        return run(given, given.pop(_CONTEXT))

    more = {_CONTEXT: typer.Context, **options}
    own = inspect.signature(function, eval_str=True)
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if name == _CONTEXT else None,
            annotation=annotation,
        )
        for name, annotation in more.items()
    ]
    cast("Any", command).__signature__ = own.replace(parameters=[*own.parameters.values(), *parameters])
    command.__annotations__ = {}
    return command
