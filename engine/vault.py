"""Vault: seals texts so that a database, its backups and its readers hold nothing of them (RELIABILITY R10).

Envelope encryption: each text is sealed with a random key of its own (AES-256-GCM), and that key with a master key of
the process. What is bound in as well says where the text belongs: moved to another name, purpose, version or database,
it does not open. Master keys come from the environment; no error, log line or repr holds one, or a text.
"""

from __future__ import annotations

import binascii
import os
import re
import secrets
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from .errors import EngineError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = [
    "KEYS_FILE_VARIABLE",
    "KEYS_VARIABLE",
    "Place",
    "Vault",
    "VaultError",
    "key_id_of",
    "new_master_key",
]

#: `id:base64,id2:base64`: the first seals, all of them open.
KEYS_VARIABLE: Final = "STRATAFLOW_MASTER_KEYS"
#: A file with the same, for what a platform mounts.
KEYS_FILE_VARIABLE: Final = "STRATAFLOW_MASTER_KEYS_FILE"
_FORM: Final = "v1"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BETWEEN: Final = re.compile(r"[\s,]+")
_LARGEST_FILE: Final = 65_536
_HOW: Final = f"`strataflow secrets new-master-key` makes one; put it first in {KEYS_VARIABLE}."


class VaultError(EngineError):
    """Raised when something cannot be sealed or opened: no key, an unknown one, or a text that is not what it was."""

    code: ClassVar[str] = "vault"

    def __init__(self, message: str, *, hint: str | None = None, lasting: bool = False) -> None:
        super().__init__(message, hint=hint)
        #: Another process, or this one with other keys, cannot do it either.
        self.lasting = lasting


@dataclass(slots=True, frozen=True)
class Place:
    """Where a sealed text belongs; it opens nowhere else."""

    #: Identity of the database.
    store: str
    #: What it is for: `secret`, `webhook`, …
    purpose: str
    name: str
    version: int

    def bound(self) -> bytes:
        """As bytes that no other place has."""
        parts = (self.store, self.purpose, self.name, str(self.version))
        return b"".join(len(data).to_bytes(4, "big") + data for data in (part.encode() for part in parts))


def key_id_of(sealed: str) -> str:
    """Id of the master key under which a text is sealed. Raises VaultError."""
    return _parts(sealed)[0]


def new_master_key(key_id: str | None = None) -> str:
    """A new random key as it stands in the environment. Raises VaultError for an id that is none."""
    found = key_id or f"k{secrets.token_hex(4)}"
    if not _KEY_ID.fullmatch(found):
        raise VaultError(f"{found!r} is no key id.", hint="It has 1 to 64 letters, digits, '_' and '-'.")
    return f"{found}:{b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}"


class Vault:
    """Seals and opens with the master keys of this process. Safe to share between threads."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)

    def __repr__(self) -> str:
        return f"Vault({', '.join(self._keys) or 'no key'})"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Vault:
        """The keys of the environment, or of the file that it names; none gives a vault that opens nothing.

        Raises:
            VaultError: the keys are malformed, or the file cannot be read.
        """
        found = os.environ if environment is None else environment
        text, file = found.get(KEYS_VARIABLE, ""), found.get(KEYS_FILE_VARIABLE, "")
        if text and file:
            raise VaultError(
                f"both {KEYS_VARIABLE} and {KEYS_FILE_VARIABLE} are set.", hint="Keep one of them."
            )
        if file:
            return cls(_read_keys(_content(file), f"the file in {KEYS_FILE_VARIABLE}"))
        return cls(_read_keys(text, KEYS_VARIABLE))

    @property
    def key_id(self) -> str | None:
        """Id of the key that seals; None without any."""
        return next(iter(self._keys), None)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of all keys, the one that seals first."""
        return tuple(self._keys)

    def seal(self, text: str, place: Place) -> str:
        """Seal a text for a place. Raises VaultError without a master key."""
        data_key = secrets.token_bytes(_KEY_BYTES)
        wrapped, key_id = self._wrap(data_key, place)
        sealed = _encrypt(data_key, text.encode(), place.bound())
        return ".".join((_FORM, key_id, wrapped, _packed(sealed)))

    def open(self, sealed: str, place: Place) -> str:
        """Give the text that was sealed for this place. Raises VaultError, which names the key and the place."""
        _, _, body = _parts(sealed)
        data_key = self._unwrap(sealed, place)
        return _decrypt(data_key, body, place.bound(), place).decode()

    def rewrap(self, sealed: str, place: Place) -> str:
        """Seal the text's own key under the newest master key; what is sealed with it stays. Raises VaultError."""
        wrapped, key_id = self._wrap(self._unwrap(sealed, place), place)
        return ".".join((_FORM, key_id, wrapped, _packed(_parts(sealed)[2])))

    def _wrap(self, data_key: bytes, place: Place) -> tuple[str, str]:
        key_id = self.key_id
        if key_id is None:
            raise VaultError("there is no master key.", hint=_HOW)
        wrapped = _encrypt(self._keys[key_id], data_key, _key_bound(key_id, place))
        return _packed(wrapped), key_id

    def _unwrap(self, sealed: str, place: Place) -> bytes:
        key_id, wrapped, _ = _parts(sealed)
        key = self._keys.get(key_id)
        if key is None:
            raise VaultError(
                f"the {place.purpose} {place.name!r} is sealed with the master key {key_id!r}, which is not here.",
                hint=f"Add it to {KEYS_VARIABLE}, behind the newest.",
            )
        return _decrypt(key, wrapped, _key_bound(key_id, place), place)


def _key_bound(key_id: str, place: Place) -> bytes:
    return b"key:" + key_id.encode() + b"\0" + place.bound()


def _encrypt(key: bytes, data: bytes, bound: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + _cipher(key).encrypt(nonce, data, bound)


def _decrypt(key: bytes, data: bytes, bound: bytes, place: Place) -> bytes:
    cipher = _cipher(key)
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise VaultError(
            f"the {place.purpose} {place.name!r} does not open: it was changed, moved from another place, or sealed"
            " with another key of the same id.",
            hint="Set it again.",
            lasting=True,
        ) from None


def _cipher(key: bytes) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise VaultError(
            "the package cryptography is not installed.", hint="pip install 'strataflow[server]'"
        ) from None
    return AESGCM(key)


def _packed(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _unpacked(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _parts(sealed: str) -> tuple[str, bytes, bytes]:
    """Key id, sealed key, sealed text."""
    try:
        form, key_id, wrapped, body = sealed.split(".")
        if form == _FORM and _KEY_ID.fullmatch(key_id):
            return key_id, _unpacked(wrapped), _unpacked(body)
    except ValueError:  # binascii.Error is one
        pass
    raise VaultError("a sealed text has a form that this release does not know.", hint="Set it again.")


def _content(file: str) -> str:
    try:
        with Path(file).open(encoding="ascii") as stream:
            return stream.read(_LARGEST_FILE)
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
        raise VaultError(f"the file in {KEYS_FILE_VARIABLE} cannot be read: {why}.") from None


def _read_keys(text: str, where: str) -> dict[str, bytes]:
    """The keys of a text; messages say which one is wrong, and never what it is."""
    keys: dict[str, bytes] = {}
    for number, entry in enumerate(filter(None, _BETWEEN.split(text)), 1):
        key_id, _, body = entry.partition(":")
        try:
            key = b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not _KEY_ID.fullmatch(key_id) or len(key) != _KEY_BYTES:
            raise VaultError(f"key {number} of {where} is not ID:BASE64 of {_KEY_BYTES} bytes.", hint=_HOW)
        if key_id in keys:
            raise VaultError(f"{where} has two keys with the id {key_id!r}.", hint="Each needs its own.")
        keys[key_id] = key
    return keys
