"""Sends messages of webhooks: signed, to the address that was looked at, within bounds, on a loop of its own.

Nothing of the engine goes out with a message, no redirect is followed, and of an answer its status is read and nothing
else. What is kept of a failure names no part of the URL.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Final

from ..executors.egress import AddressRefused, Egress
from .webhook_signature import headers_of

if TYPE_CHECKING:
    import ssl

    import httpx

__all__ = ["TIME_S", "Answer", "Message", "Sender"]

log: Final = logging.getLogger("strataflow.webhooks")
#: For one attempt, from resolving the name to the answer's first lines.
TIME_S: Final = 15.0
_LONGEST_ERROR: Final = 300
#: How long a stop waits for attempts that it has cancelled.
_STOP_S: Final = 5.0
#: Errors of httpx that may quote the URL.
_QUOTING: Final = frozenset({"InvalidURL", "UnsupportedProtocol", "LocalProtocolError"})

_context: ssl.SSLContext | None = None


@dataclass(slots=True, frozen=True, repr=False)
class Message:
    """One attempt at one delivery."""

    webhook_id: str
    delivery_id: str
    #: The claim under which it is made.
    token: str
    attempts: int
    url: str
    #: Signing secrets, the newest first.
    secrets: tuple[str, ...]
    body: bytes


@dataclass(slots=True, frozen=True)
class Answer:
    """What became of an attempt."""

    message: Message
    #: None without an answer.
    status: int | None = None
    #: Why there was none.
    error: str | None = None
    #: What the receiver asks for, in seconds.
    retry_after_s: float | None = None
    #: It was cut short by a stop, and says nothing about the receiver.
    released: bool = False


class Sender:
    """Sends on a thread of its own, which is started by the first message. `done` is called there with each answer."""

    def __init__(self, egress: Egress, done: Callable[[Answer], None], *, time_s: float = TIME_S) -> None:
        self._egress = egress
        self._done = done
        self._time_s = time_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    def send(self, message: Message) -> None:
        """Begin an attempt; its answer comes to `done`."""
        if self._stopped:
            return  # its claim runs out, and somebody else sends it
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._run, args=(self._loop,), name="strataflow-webhook-sender", daemon=True
            )
            self._thread.start()
        self._loop.call_soon_threadsafe(self._begin, message)

    def stop(self) -> None:
        """Cut short what is under way; all answers have come when this returns. Idempotent."""
        self._stopped = True
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_STOP_S)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                loop.run_until_complete(asyncio.wait(self._tasks, timeout=_STOP_S / 2))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def _begin(self, message: Message) -> None:
        task = asyncio.ensure_future(self._attempt(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attempt(self, message: Message) -> None:
        answer = Answer(message, error="it ended without an answer")
        try:
            async with asyncio.timeout(self._time_s):
                answer = await self._exchange(message)
        except TimeoutError:
            answer = Answer(message, error=f"no answer within {self._time_s:g} s")
        except asyncio.CancelledError:
            answer = Answer(message, released=True)
            raise
        except AddressRefused as exc:
            answer = Answer(message, error=str(exc)[:_LONGEST_ERROR])
        except Exception as exc:  # noqa: BLE001 - whatever it is, the delivery is tried again
            answer = Answer(message, error=_told(exc))
        finally:
            self._done(answer)

    async def _exchange(self, message: Message) -> Answer:
        import httpx

        url = httpx.URL(message.url)
        host = url.raw_host.decode("ascii")
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = await self._egress.resolve(host.strip("[]"), port)
        headers = {"host": url.netloc.decode("ascii"), "content-type": "application/json"}
        headers |= headers_of(message.secrets, message.delivery_id, int(time.time()), message.body)
        async with _client() as client:
            for left, address in zip(reversed(range(len(addresses))), addresses, strict=True):
                request = client.build_request(
                    "POST",
                    url.copy_with(host=address),
                    content=message.body,
                    headers=headers,
                    extensions={"sni_hostname": host},
                )
                try:
                    response = await client.send(request, stream=True, follow_redirects=False)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    if not left:
                        raise
                    continue
                await response.aclose()
                return Answer(message, response.status_code, None, _retry_after(response))
        raise OSError("it has no address")


def _client() -> httpx.AsyncClient:
    """A client for one attempt: a connection belongs to the name it was checked for."""
    import httpx

    return httpx.AsyncClient(
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"user-agent": "strataflow", "accept": "*/*"},
        timeout=None,  # noqa: S113  # the attempt as a whole is bounded
        trust_env=False,
        verify=_certificates(),
    )


def _certificates() -> ssl.SSLContext:
    """Read once: it takes longer than an attempt."""
    global _context  # noqa: PLW0603 - one for all attempts of the process
    if _context is None:
        import httpx

        _context = httpx.create_ssl_context(trust_env=False)
    return _context


def _told(exc: Exception) -> str:
    """What is kept of an error: its kind, and its text where that cannot hold a part of the URL."""
    name = type(exc).__name__
    text = "" if name in _QUOTING or isinstance(exc, ValueError) else " ".join(str(exc).split())
    return f"{name}: {text}"[:_LONGEST_ERROR] if text.isprintable() and text else name


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds; a date is left alone, as the receiver's clock may be any."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None
