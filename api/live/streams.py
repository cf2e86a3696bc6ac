"""All streams of one application: a hub for each namespace, how many streams each key has, and their common end."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from ...engine.wakeup import Ears
from ...services.namespaces import Namespaces
from ..rest.gate import Caller
from ..rest.problems import Refused
from .hub import Hub
from .settings import StreamLimits

__all__ = ["STREAMS", "Streams"]

#: Where the walls put it into each request.
STREAMS: Final = "strataflow.streams"
#: Readers that lag read the database this many at a time, and leave the rest of it to calls.
_CATCHING_UP: Final = 2


class Streams:
    """Opens hubs when they are first needed. `stop` lets every stream end; `close` waits for the hubs."""

    def __init__(self, namespaces: Namespaces, limits: StreamLimits) -> None:
        self.limits: Final = limits
        self._namespaces = namespaces
        self._lock = threading.Lock()
        self._hubs: dict[str, Hub] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._counts: Counter[tuple[str, str | None]] = Counter()
        self._asked_to_stop = False

    @property
    def stopping(self) -> bool:
        """Is the process about to end? Then streams end, and their readers go to another one."""
        return self._asked_to_stop

    @property
    def open(self) -> int:
        """How many streams there are."""
        return sum(self._counts.values())

    def hub(self, namespace: str) -> Hub:
        """The hub of a namespace. Raises EngineStopped when it is not served."""
        services = self._namespaces.services(namespace)
        engine = services.engine
        hints = engine is not None and engine.parts.config.notify

        def ears(wake: Callable[[], None]) -> Ears:
            return Ears(services.database.url, lambda _: wake(), enabled=hints)

        pool = self.pool
        with self._lock:
            found = self._hubs.get(namespace)
            if found is None:
                found = self._hubs[namespace] = Hub(
                    namespace, services.feed, ears=ears, ending=lambda: self._asked_to_stop, pool=pool
                )
            return found

    @property
    def pool(self) -> ThreadPoolExecutor:
        """The few threads that read for streams."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_CATCHING_UP, thread_name_prefix="strataflow-live-read")
            return self._pool

    @contextmanager
    def entered(self, caller: Caller) -> Generator[None]:
        """Count a stream while it is open. Raises Refused: 429 for one too many, 503 when all are ending."""
        key = (caller.principal.namespace, caller.principal.key_id)
        with self._lock:
            self._check(key)
            self._counts[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._counts[key] -= 1
                if not self._counts[key]:
                    del self._counts[key]

    def check_room(self, caller: Caller) -> None:
        """Is there room for one more? Raises Refused, as `entered` does."""
        with self._lock:
            self._check((caller.principal.namespace, caller.principal.key_id))

    def _check(self, key: tuple[str, str | None]) -> None:
        if self.stopping:
            hint = "Ask again: another one answers."
            raise Refused(503, "stopped", "this server is about to stop.", hint=hint)
        if self._counts[key] >= self.limits.per_key or self.open >= self.limits.per_process:
            raise Refused(
                429, "too_many_streams", "there are too many open streams.", hint="Close one of them."
            )

    def stop(self) -> None:
        """Let every stream end soon; a signal's handler may call it."""
        self._asked_to_stop = True

    def close(self) -> None:
        """End every stream and every thread; it may be used again afterwards."""
        self._asked_to_stop = True
        with self._lock:
            hubs, self._hubs = list(self._hubs.values()), {}
            pool, self._pool = self._pool, None
        for hub in hubs:
            hub.ring()
            hub.stop()
        if pool is not None:
            pool.shutdown()

    def start(self) -> None:
        """Take streams again."""
        self._asked_to_stop = False
