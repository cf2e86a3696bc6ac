"""How an engine hears of work that another process made: hints only, polling always works without them.

Postgres: NOTIFY from a coalescer after the commit, on its own connection, at once and then at most every 10 ms.
SQLite: `PRAGMA data_version` tells that another connection has committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ..repositories.notify import ChangeWatch, Notifier, Subscription
from ..repositories.url import DatabaseUrl
from .loops import Loop

__all__ = ["Announcer", "Ears", "OwnCommits"]

#: Hints, in order of urgency.
READY: Final = "ready"
ENDED: Final = "ended"
STOP: Final = "stop"
_COALESCE_S: Final = 0.010
_WATCH_S: Final = 0.005
#: How long one LISTEN waits, and so what `stop` waits for at most.
_LISTEN_S: Final = 0.1
#: Between two looks for what another process may have committed among our own commits.
_UNSURE_S: Final = 0.05


class Announcer:
    """Tells other processes that something happened; coalesced, never on the write path."""

    def __init__(self, url: DatabaseUrl, *, enabled: bool = True) -> None:
        self._notifier = Notifier(url) if url.dialect == "postgresql" and enabled else None
        self._hints: set[str] = set()
        self._loop = Loop("announcer", self._send, 3600.0)

    def start(self) -> None:
        """Begin, where there is anything to announce by."""
        if self._notifier is not None:
            self._loop.start()

    def announce(self, hint: str) -> None:
        """Send a hint soon; thread-safe, returns at once."""
        if self._notifier is not None and hint not in self._hints:
            self._hints.add(hint)
            self._loop.wake()

    def _send(self) -> float | None:
        if not self._hints or self._notifier is None:
            return None
        hints, self._hints = self._hints, set()
        self._notifier.send(sorted(hints))
        time.sleep(_COALESCE_S)
        return 0.0 if self._hints else None

    def stop(self) -> None:
        """End; a hint not sent yet is dropped, for polling finds what it was about."""
        self._loop.stop()
        if self._notifier is not None:
            self._notifier.close()


class Ears:
    """Calls `heard(hint)` when another process announces something."""

    def __init__(self, url: DatabaseUrl, heard: Callable[[str], None], *, enabled: bool = True) -> None:
        self._heard = heard
        self._subscription = Subscription(url) if url.dialect == "postgresql" and enabled else None
        self._watch = ChangeWatch(url) if url.dialect == "sqlite" else None
        run = self._listen if self._subscription is not None else self._look
        self._loop = Loop("ears", run, 0.0 if self._subscription is not None else _WATCH_S)

    def start(self) -> None:
        """Begin to listen."""
        if self._subscription is not None or self._watch is not None:
            self._loop.start()

    def _listen(self) -> float | None:
        if self._subscription is not None:
            for hint in self._subscription.wait(timeout_s=_LISTEN_S):
                self._heard(hint)
        return 0.0

    def _look(self) -> float | None:
        if self._watch is not None and self._watch.changed():
            self._heard(READY)
        return None

    def stop(self) -> None:
        """End listening."""
        self._loop.stop()
        for part in (self._subscription, self._watch):
            if part is not None:
                part.close()


class OwnCommits:
    """SQLite's change counter moves with our own commits too: when is it worth to look for another process's?

    A change without a commit of ours is another's, and is looked at in any case. One beside ours may hide another's:
    it is looked for soon, but not after each of ours. Two threads count here; a count that is lost costs one look.
    """

    def __init__(self) -> None:
        self._batches = self._heard = 0
        self._unsure = False
        self._looked_at = 0.0

    def committed(self) -> None:
        """A batch of ours was committed."""
        self._batches += 1

    def noticed(self) -> tuple[bool, bool]:
        """The counter has moved: was a commit of ours among it, and is a look to be asked for now?"""
        own, self._heard = self._batches != self._heard, self._batches
        asks = not own or not self._unsure
        self._unsure = own
        return own, asks

    def early(self) -> float | None:
        """Seconds until a look is worth it; None: now, and it is taken to happen."""
        now = time.monotonic()
        left = self._looked_at + _UNSURE_S - now
        if self._unsure and left > 0:
            return left
        self._unsure, self._looked_at = False, now
        return None
