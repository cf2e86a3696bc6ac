"""Who calls: a token becomes a principal. What was found is trusted for a second; guessing is slow."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from typing import Final

from starlette.concurrency import run_in_threadpool

from ...services.access.keys import Principal, Token, read_token
from ...services.namespaces import Namespaces
from .problems import Refused
from .rates import Rates

__all__ = ["Callers", "Unknown"]

#: Tokens that nobody has issued, per second and at once, from one address.
_GUESSES: Final = (1.0, 20)
#: How long a key that another process revokes is still good here.
_TRUSTED_S: Final = 1.0
_KNOWN: Final = 10_000
_HINT: Final = "Send `Authorization: Bearer TOKEN`; `strataflow keys create` makes one."


class Unknown(Refused):
    """Nobody was recognised; `namespace` is what the token claims, if it is served here."""

    def __init__(self, namespace: str | None) -> None:
        headers = {"WWW-Authenticate": "Bearer"}
        super().__init__(
            401, "unauthenticated", "this call needs a valid API key.", hint=_HINT, headers=headers
        )
        self.namespace = namespace


class Callers:
    """Recognises callers by their keys; without `authenticate` everybody is the owner of the only namespace."""

    def __init__(
        self,
        namespaces: Namespaces,
        rates: Rates,
        *,
        authenticate: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._namespaces = namespaces
        self._authenticate = authenticate
        self._rates, self._guesses = rates, Rates(*_GUESSES, clock)
        self._clock = clock
        self._lock = threading.Lock()
        #: Hash of a token → whose it is, and until when that is believed.
        self._known: dict[bytes, tuple[Principal, float]] = {}

    async def recognise(self, authorization: str, address: str) -> Principal:
        """Whose this `Authorization` header is. Raises Unknown, and Refused (429) for too many that are nobody's."""
        if not self._authenticate:
            return Principal(self._namespaces.names[0], None, "anybody on this machine", ("*:*",))
        scheme, _, text = authorization.partition(" ")
        token = read_token(text.strip()) if scheme.lower() == "bearer" else None
        if token is not None and not self._namespaces.serves(token.namespace):
            token = None
        found = None if token is None else await self._owner(token, text.strip())
        if found is not None:
            return found
        self._rates.spend(f"address:{address}")
        if token is None:
            raise Unknown(None)
        self._guesses.spend(address)
        raise Unknown(token.namespace)

    def forget(self) -> None:
        """Keys have changed: believe nothing that was found before."""
        with self._lock:
            self._known.clear()

    async def _owner(self, token: Token, text: str) -> Principal | None:
        digest = hashlib.sha256(text.encode()).digest()
        known = self._known.get(digest)
        if known is not None and self._clock() < known[1]:
            return known[0]
        asked = self._clock()
        found = await run_in_threadpool(self._namespaces.keys(token.namespace).authenticate, token)
        if found is not None:
            trusted = _TRUSTED_S if found.left_s is None else min(_TRUSTED_S, found.left_s)
            with self._lock:
                if len(self._known) >= _KNOWN:
                    self._known.clear()
                self._known[digest] = found, asked + trusted
        return found
