"""How people name a stored definition: `name`, or `name@3`."""

from __future__ import annotations

import re
from typing import Final

from ..engine.errors import NotFound

__all__ = ["checked_reference"]

#: No version has more digits.
_VERSION: Final = re.compile(r"[0-9]{1,9}")


def checked_reference(reference: str) -> str:
    """The reference as it is. Raises NotFound for what names no definition, whatever is stored."""
    name, at, version = reference.partition("@")
    if not name or "\x00" in reference or (at and not _VERSION.fullmatch(version)):
        shown = reference if len(reference) <= 200 else f"{reference[:200]}…"
        raise NotFound(f"{shown!r} is no definition reference.", hint="Write name or name@3.")
    return reference
