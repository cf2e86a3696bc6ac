"""Standard Webhooks: signatures that others can verify, and verification that cannot be fooled."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strataflow.engine.webhook_signature import (
    SignatureError,
    headers_of,
    is_signing_secret,
    new_signing_secret,
    sign,
    verify,
)

#: Published in the specification of Standard Webhooks.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
NOW = MESSAGE[1] + 10


def signed(*secrets: str, **changed: str) -> dict[str, str]:
    return headers_of(secrets or (SECRET,), *MESSAGE) | {
        f"webhook-{name}": value for name, value in changed.items()
    }


def test_the_signature_is_the_one_that_the_specification_gives() -> None:
    assert sign(SECRET, *MESSAGE) == SIGNATURE
    assert verify([SECRET], signed(), MESSAGE[2], NOW) == MESSAGE[0]


@given(st.binary(), st.binary(min_size=24, max_size=64))
def test_anybody_can_verify_it_with_ten_lines(body: bytes, key: bytes) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    headers = headers_of([secret], "msg_1", 17, body)
    digest = hmac.new(key, b"msg_1.17." + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert verify([secret], headers, body, 17) == "msg_1"


def test_either_of_two_secrets_is_enough_while_they_overlap() -> None:
    new, other = new_signing_secret(), new_signing_secret()
    headers = signed(new, SECRET)
    assert headers["webhook-signature"].count("v1,") == 2
    for secrets in ([new], [SECRET], [other, SECRET], [new, other]):
        assert verify(secrets, headers, MESSAGE[2], NOW) == MESSAGE[0]
    with pytest.raises(SignatureError):
        verify([other], headers, MESSAGE[2], NOW)


@pytest.mark.parametrize(
    ("headers", "body", "now"),
    [
        (signed(), MESSAGE[2] + b" ", NOW),
        (signed(), b"", NOW),
        (signed(id="msg_other"), MESSAGE[2], NOW),
        (signed(timestamp=str(MESSAGE[1] + 1)), MESSAGE[2], NOW),
        (signed(), MESSAGE[2], NOW + 300),
        (signed(), MESSAGE[2], MESSAGE[1] - 301),
        (signed(), MESSAGE[2], float("nan")),
        (signed(id=""), MESSAGE[2], NOW),
        (signed(id="a.b"), MESSAGE[2], NOW),
        (signed(id="é"), MESSAGE[2], NOW),
        (signed(timestamp=""), MESSAGE[2], NOW),
        (signed(timestamp="-1"), MESSAGE[2], NOW),
        (signed(timestamp="1" * 5000), MESSAGE[2], NOW),
        (signed(timestamp="\u0661"), MESSAGE[2], NOW),
        (signed(signature=""), MESSAGE[2], NOW),
        (signed(signature=SIGNATURE.replace("v1", "v2")), MESSAGE[2], NOW),
        (signed(signature=SIGNATURE[:-2]), MESSAGE[2], NOW),
        (signed(signature="v1,é"), MESSAGE[2], NOW),
        (signed(signature="v1, " * 100_000), MESSAGE[2], NOW),
        ({}, MESSAGE[2], NOW),
    ],
)
def test_anything_else_is_refused(headers: dict[str, str], body: bytes, now: float) -> None:
    with pytest.raises(SignatureError):
        verify([SECRET], headers, body, now)


def test_without_secrets_nothing_fits() -> None:
    with pytest.raises(SignatureError):
        verify([], signed(), MESSAGE[2], NOW)


def test_what_a_secret_is() -> None:
    assert is_signing_secret(SECRET)
    assert is_signing_secret(new_signing_secret())
    assert new_signing_secret() != new_signing_secret()
    for text in ("", "whsec_", "whsec_" + "A" * 28, SECRET[6:], "whsec_é", "whsec_" + "A" * 400):
        assert not is_signing_secret(text)
    with pytest.raises(SignatureError) as caught:
        sign("hunter2", *MESSAGE)
    assert "hunter2" not in str(caught.value)
