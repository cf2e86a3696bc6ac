"""Signatures of webhooks, in the form of Standard Webhooks: what is sent out is signed, what comes in is verified.

The text that is signed is `id.timestamp.body`, the body as raw bytes; the key is that of a secret `whsec_BASE64`. Pure:
the caller gives the clock, and remembers ids so that nothing is taken twice.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import secrets as random_secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

from .errors import EngineError

__all__ = [
    "HEADERS",
    "TOLERANCE_S",
    "SignatureError",
    "headers_of",
    "is_signing_secret",
    "new_signing_secret",
    "sign",
    "verify",
]

#: Id of the message, its time in seconds, its signatures.
HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
#: How far a message's time may lie from now: what was overheard is worthless afterwards.
TOLERANCE_S: Final = 300
_PREFIX: Final = "whsec_"
_VERSION: Final = "v1"
_BYTES: Final = 32
_SHORTEST: Final = 24
_LONGEST: Final = 64
_ID: Final = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,256}")
_TIME: Final = re.compile(r"[0-9]{1,12}")
#: Signatures of one message that are looked at; rotation needs two.
_MOST: Final = 16


class SignatureError(EngineError):
    """Raised when a message is not what a holder of the secret sent just now."""

    code: ClassVar[str] = "signature"


def new_signing_secret() -> str:
    """A random secret: `whsec_` and 32 bytes in base64."""
    return _PREFIX + b64encode(random_secrets.token_bytes(_BYTES)).decode()


def is_signing_secret(text: str) -> bool:
    """Can this be signed with? 24 to 64 bytes in base64 behind `whsec_`."""
    try:
        return _SHORTEST <= len(_key(text)) <= _LONGEST
    except SignatureError:
        return False


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature, `v1,BASE64`. Raises SignatureError for a secret that is none."""
    text = f"{message_id}.{timestamp}.".encode() + body
    return f"{_VERSION},{b64encode(hmac.new(_key(secret), text, hashlib.sha256).digest()).decode()}"


def headers_of(secrets: Iterable[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a message, signed with each secret: receivers take it while one of them is theirs."""
    signatures = " ".join(sign(secret, message_id, timestamp, body) for secret in secrets)
    return dict(zip(HEADERS, (message_id, str(timestamp), signatures), strict=True))


def verify(
    secrets: Iterable[str],
    headers: Mapping[str, str],
    body: bytes,
    now_s: float,
    tolerance_s: float = TOLERANCE_S,
) -> str:
    """Give the id of a message that was signed with one of the secrets, at most `tolerance_s` ago or ahead.

    `headers` are looked up by lower-case names, `body` is what came in, to the byte. The time taken does not depend on
    how much of a signature is right. Whoever takes each id once only is safe from repetition too.

    Raises:
        SignatureError: a header is missing or malformed, the time is off, or no signature fits.
    """
    message_id, time, given = (headers.get(name, "") for name in HEADERS)
    if not _ID.fullmatch(message_id):
        raise SignatureError("the header webhook-id is missing or malformed.")
    if not _TIME.fullmatch(time):
        raise SignatureError("the header webhook-timestamp is missing or malformed.")
    if not abs(now_s - int(time)) <= tolerance_s:
        raise SignatureError(
            f"the header webhook-timestamp lies more than {tolerance_s:g} s from now.",
            hint="Set both clocks right, and sign each attempt anew.",
        )
    signatures = [each.encode() for each in given.split(" ")[:_MOST] if each.startswith(f"{_VERSION},")]
    wanted = [sign(secret, message_id, int(time), body).encode() for secret in secrets]
    fits = [hmac.compare_digest(one, other) for one in wanted for other in signatures]
    if not any(fits):
        raise SignatureError("no signature fits.")
    return message_id


def _key(secret: str) -> bytes:
    """The bytes of a secret; no message repeats it."""
    try:
        if secret.startswith(_PREFIX):
            return b64decode(secret[len(_PREFIX) :], validate=True)
    except (binascii.Error, ValueError):
        pass
    raise SignatureError("this is no signing secret.", hint=f"It is {_PREFIX} and bytes in base64.")
