"""Helpers to report problems well: near names, and the order of the document.

Used by every check of steps 1-3. A problem names what is wrong, where, and, wherever something similar
exists, what was probably meant.
"""

from __future__ import annotations

import difflib
import itertools
import string
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, cast

from .errors import Problem
from .pointers import parts_of

__all__ = ["in_document_order", "listed", "nearest", "suggestion"]

#: Up to this many known names are compared one by one; among more, only names one slip away are looked for. A
#: comparison costs 3 µs: a typo in each of 5,000 nodes would take minutes.
_MAX_COMPARED: Final = 200
#: Names shown when none is similar.
_MAX_SHOWN: Final = 8
_SIGNS: Final = string.ascii_letters + string.digits + "_.-"


def nearest(name: str, known: Collection[str]) -> list[str]:
    """Up to three of the known names that look like `name`, the most similar first."""
    if len(known) > _MAX_COMPARED:
        return list(itertools.islice((slip for slip in _slips(name) if slip in known), 3))
    lower = {candidate.lower(): candidate for candidate in known}
    if name.lower() in lower:
        return [lower[name.lower()]]
    return difflib.get_close_matches(name, known, n=3, cutoff=0.6)


def _slips(name: str) -> Iterator[str]:
    """What may have been meant: a sign too many, two in the wrong order, one wrong, one missing."""
    yield name.lower()
    pairs = [(name[:cut], name[cut:]) for cut in range(len(name) + 1)]
    yield from (before + after[1:] for before, after in pairs if after)
    yield from (before + after[1] + after[0] + after[2:] for before, after in pairs if len(after) > 1)
    yield from (before + sign + after[1:] for before, after in pairs if after for sign in _SIGNS)
    yield from (before + sign + after for before, after in pairs for sign in _SIGNS)


def listed(names: Collection[str]) -> str:
    """Names for people: `'a', 'b' and 3 more`."""
    shown = list(itertools.islice(names, _MAX_SHOWN))
    return _joined(shown, len(names) - len(shown))


def _joined(shown: list[str], rest: int) -> str:
    text = ", ".join(repr(name) for name in shown)
    return f"{text} and {rest} more" if rest > 0 else text


def suggestion(
    name: str, known: Collection[str], *, otherwise: str = "known", not_this: str = ""
) -> str | None:
    """`did you mean 'x'?`, or the list of what is known, or None when nothing is. `not_this` is never suggested."""
    close = [candidate for candidate in nearest(name, known) if candidate != not_this]
    if close:
        return "did you mean " + " or ".join(repr(candidate) for candidate in close) + "?"
    shown = [candidate for candidate in itertools.islice(known, _MAX_SHOWN + 1) if candidate != not_this][
        :_MAX_SHOWN
    ]
    rest = len(known) - len(shown) - (1 if not_this in known else 0)
    return f"{otherwise}: {_joined(shown, rest)}" if shown else None


def in_document_order(problems: Iterable[Problem], document: object) -> list[Problem]:
    """The problems, each once, sorted by where they stand in the document; those of one place keep their order."""
    positions: dict[int, dict[str, int]] = {}
    return sorted(
        dict.fromkeys(problems), key=lambda problem: _position(problem.pointer, document, positions)
    )


def _position(pointer: str, document: object, positions: dict[int, dict[str, int]]) -> list[int]:
    place: list[int] = []
    here: object = document
    for key in parts_of(pointer):
        if isinstance(here, Mapping):
            members = cast("Mapping[str, Any]", here)
            # One table per object: with a problem in each of 20,000 nodes, searching would take minutes.
            table = positions.get(id(members))
            if table is None:
                table = positions[id(members)] = {name: index for index, name in enumerate(members)}
            place.append(table.get(key, len(table)))
            here = members.get(key)
        elif isinstance(here, list) and key.isdigit():
            place.append(int(key))
            elements = cast("list[Any]", here)
            here = elements[int(key)] if int(key) < len(elements) else None
        else:
            break
    return place
