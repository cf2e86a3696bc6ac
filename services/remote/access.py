"""Keys and secrets of a server's namespace, which is the token's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ...engine.errors import RequestError
from ..access.keys import KeyView, NewKey, read_token
from ..secrets import SecretView
from .client import Remote, at
from .records import duration, revive

__all__ = ["RemoteKeys", "RemoteSecrets"]


class RemoteKeys:
    """As `KeyService`, through a server."""

    def __init__(self, remote: Remote, namespace: str | None) -> None:
        """Raises RequestError for another namespace than the token's."""
        self._remote = remote
        token = read_token(remote.token or "")
        if namespace is not None and token is not None and token.namespace != namespace:
            raise RequestError(
                f"the token is of the namespace {token.namespace!r}, not of {namespace!r}.",
                hint="A server takes the namespace from the token alone.",
            )

    def create(self, name: str, scopes: Iterable[str], lifetime_s: float | None = None) -> NewKey:
        """Make a key. Raises InputError."""
        body = {"name": name, "scopes": [*scopes], "expires_in": _duration(lifetime_s)}
        return _new(self._remote.send("POST", "/keys", body, keyed=False))

    def list(self) -> Iterator[KeyView]:
        """Keys in the order of their making."""
        return (revive(KeyView, each) for each in self._remote.pages("/keys"))

    def rotate(self, key_id: str, overlap_s: float, lifetime_s: float | None = None) -> NewKey:
        """Make a key that takes another's place. Raises NotFound, Conflict."""
        body = {"overlap": _duration(overlap_s), "expires_in": _duration(lifetime_s)}
        return _new(self._remote.send("POST", at("keys", key_id, "rotate"), body, keyed=False))

    def revoke(self, key_id: str) -> KeyView:
        """Make a key worthless at once. Raises NotFound."""
        return revive(KeyView, self._remote.send("DELETE", at("keys", key_id)))


class RemoteSecrets:
    """As `SecretService`, through a server."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def put(self, name: str, value: str, who: str) -> SecretView:
        """Store a value, or another in its place; the server notes the key as who did it."""
        return revive(
            SecretView, self._remote.send("PUT", at("secrets", name), {"value": value}, keyed=False)
        )

    def list(self) -> Iterator[SecretView]:
        """Names, versions and dates."""
        return (revive(SecretView, each) for each in self._remote.pages("/secrets"))

    def rewrap(self) -> int:
        """Raises RequestError: master keys are where the database is."""
        raise RequestError("master keys are where the database is.", hint="Name it with --db.")

    def delete(self, name: str) -> None:
        """Delete a secret. Raises NotFound."""
        self._remote.send("DELETE", at("secrets", name))


def _new(found: dict[str, Any]) -> NewKey:
    return NewKey(revive(KeyView, found), found["token"])


def _duration(seconds: float | None) -> str | None:
    return None if seconds is None else duration(seconds)
