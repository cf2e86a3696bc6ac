"""The address that `serve` listens at, its certificate, and the web server behind it.

Imported only where something is served: it needs the extra `server`.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import uvicorn

from .errors import UsageProblem

__all__ = ["Front", "Server", "is_loopback", "listen", "trusted_proxies"]

#: How long answers that are being given may take when the server stops; who waits for a run is cut off.
HTTP_GRACE_S: Final = 5
_BACKLOG: Final = 2048
#: Bytes of a message that a client may send on a stream, whose own limit is lower: more is not even gathered.
_LONGEST_MESSAGE: Final = 65_536


@dataclass(slots=True, frozen=True, kw_only=True)
class Front:
    """What stands between callers and the application."""

    host: str = "127.0.0.1"
    #: 0 takes a free one.
    port: int = 0
    #: The path under which a balancer shows this server; the balancer takes it away.
    root_path: str = ""
    #: Whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    trusted: tuple[str, ...] = ()
    cert: str | None = None
    key: str | None = None

    def check(self) -> None:
        """Raises UsageProblem for a root path or a certificate that cannot be used."""
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise UsageProblem(
                f"--root-path: {self.root_path!r} is no path.",
                hint="Such as /flows, without a slash at its end.",
            )
        if (self.cert is None) != (self.key is None):
            raise UsageProblem("--tls-cert and --tls-key go together.")
        if self.cert is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert, self.key, _no_password)
            except (OSError, ValueError) as exc:  # a SSLError is an OSError
                reason = getattr(exc, "reason", None) or getattr(exc, "strerror", None) or exc
                raise UsageProblem(
                    f"--tls-cert {self.cert} and --tls-key {self.key} cannot be used: {reason}.",
                    hint="They are PEM files, the key without a password.",
                ) from exc

    def address(self, sock: socket.socket) -> str:
        """Where callers of this machine find it."""
        host, port = sock.getsockname()[:2]
        scheme = "https" if self.cert is not None else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{self.root_path}"


def _no_password() -> str:
    raise ValueError("the key asks for a password")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def trusted_proxies(texts: Sequence[str]) -> tuple[str, ...]:
    """Addresses and networks of proxies. Raises UsageProblem for what is neither."""
    for text in texts:
        try:
            ipaddress.ip_network(text)
        except ValueError as exc:
            raise UsageProblem(
                f"--trusted-proxy: {text!r} is no address and no network.",
                hint="Such as 10.0.0.7 or 10.0.0.0/24.",
            ) from exc
    return tuple(texts)


@contextmanager
def listen(host: str, port: int) -> Generator[socket.socket]:
    """Take an address. Raises UsageProblem when it cannot be had."""
    place = f"{f'[{host}]' if ':' in host else host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as exc:
        raise _cannot(place, exc) from exc
    with sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(_BACKLOG)  # from here on nobody else has it; who calls waits until the server runs
        except OSError as exc:
            raise _cannot(place, exc) from exc
        yield sock


def _cannot(place: str, exc: Exception) -> UsageProblem:
    reason = getattr(exc, "strerror", None) or exc
    return UsageProblem(
        f"{place} cannot be listened on: {reason}.",
        hint="`--port 0` takes a free port; --host names the address.",
    )


class Server(uvicorn.Server):
    """Serves an application until `should_exit`; signals are their caller's."""

    def __init__(self, app: Callable[..., Any], front: Front) -> None:
        config = uvicorn.Config(
            app,
            log_level="warning",
            log_config=None,
            access_log=False,
            ws="websockets-sansio",
            ws_max_size=_LONGEST_MESSAGE,
            ws_per_message_deflate=False,
            server_header=False,
            timeout_graceful_shutdown=HTTP_GRACE_S,
            root_path=front.root_path,
            proxy_headers=bool(front.trusted),
            forwarded_allow_ips=list(front.trusted),
            ssl_certfile=front.cert,
            ssl_keyfile=front.key,
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals alone: uvicorn would raise them anew when it ends, and the process would not end well."""
        yield
