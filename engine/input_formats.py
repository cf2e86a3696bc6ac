"""The formats of input schemas that are checked, and regular expressions that cannot run away.

JSON Schema leaves formats to whoever checks; these are checked strictly, the rest is named by the validator.
Patterns run on an engine of linear time: Python's own would let a pattern like `(a+)+$` in a definition stop
the process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, time
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import urlsplit

from pydantic_core import SchemaError, SchemaValidator, core_schema

__all__ = ["FORMATS", "matches", "pattern_problem"]

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME: Final = re.compile(r"(\d{2}:\d{2}):(\d{2})(\.\d+)?(Z|[+-]\d{2}:\d{2})", re.IGNORECASE)
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DURATION: Final = re.compile(
    r"P(?=[\dT])(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?"
)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_URI_TEXT: Final = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)*")


@lru_cache(maxsize=512)
def _matcher(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex", strict=True))


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found anywhere in the text, in time linear to the text."""
    return _matcher(pattern).isinstance_python(text)


def pattern_problem(pattern: str) -> str | None:
    """Why a pattern is refused, or None when it can be used."""
    try:
        _matcher(pattern)
    except SchemaError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return next((line.removeprefix("error: ") for line in lines if line.startswith("error:")), lines[-1])
    return None


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_time(text: str) -> bool:
    found = _TIME.fullmatch(text)
    if not found:
        return False
    # A leap second is a time of day, though Python knows none.
    seconds = "59" if found[2] == "60" else found[2]
    try:
        time.fromisoformat(f"{found[1]}:{seconds}{'' if found[4] in 'zZ' else found[4]}")
    except ValueError:
        return False
    return True


def _is_date_time(text: str) -> bool:
    return len(text) > 11 and text[10] in "Tt" and _is_date(text[:10]) and _is_time(text[11:])


def _is_hostname(text: str) -> bool:
    return len(text) <= 253 and _HOSTNAME.fullmatch(text) is not None


def _is_email(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    return bool(at) and len(local) <= 64 and _LOCAL.fullmatch(local) is not None and _is_hostname(domain)


def _is_uri_reference(text: str) -> bool:
    if not _URI_TEXT.fullmatch(text):
        return False
    try:
        urlsplit(text).port  # noqa: B018 - reading it checks the authority
    except ValueError:
        return False
    return True


def _is_uri(text: str) -> bool:
    return _SCHEME.match(text) is not None and _is_uri_reference(text)


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def _fits(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


#: The formats that are checked, by name.
FORMATS: Final[Mapping[str, Callable[[str], bool]]] = {
    "date": _is_date,
    "date-time": _is_date_time,
    "time": _is_time,
    "duration": _fits(_DURATION),
    "email": _is_email,
    "hostname": _is_hostname,
    "ipv4": _parses(IPv4Address),
    "ipv6": _parses(IPv6Address),
    "json-pointer": _fits(_POINTER),
    "regex": lambda text: pattern_problem(text) is None,
    "uri": _is_uri,
    "uri-reference": _is_uri_reference,
    "uuid": _fits(_UUID),
}
