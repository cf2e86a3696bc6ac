"""Bodies and answers of the secrets store: a value goes in, none comes out."""

from __future__ import annotations

from pydantic import Field, SecretStr

from ....services.secrets import LONGEST
from ..routing import Answer, Body

__all__ = ["Secret", "SecretWish"]


class SecretWish(Body):
    """A value to keep."""

    value: SecretStr = Field(
        description="Any text; no call gives it back.", min_length=1, max_length=LONGEST, examples=["s3cr3t"]
    )


class Secret(Answer):
    """A secret: everything but its value."""

    name: str
    version: int = Field(description="1 for its first value, one more for each that follows.")
    key_id: str = Field(description="The master key under which it is sealed.")
    created_at: str
    updated_at: str
    created_by: str
    updated_by: str
