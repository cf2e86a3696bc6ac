"""Whether a filter or test exists and takes the arguments it is written with, checked before anything runs.

The answer shows how the filter is written; the functions' signatures are the only source of that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Final, Literal

from .filters import FILTER_FUNCTIONS
from .predicates import TEST_FUNCTIONS

__all__ = ["FUNCTIONS", "Form", "fault_in_call", "naming_of", "usage"]

Form = Literal["filter", "test"]

FUNCTIONS: Final[Mapping[Form, Mapping[str, Callable[..., object]]]] = {
    "filter": FILTER_FUNCTIONS,
    "test": TEST_FUNCTIONS,
}

#: Filters that are given the name of a filter or test: at which argument, and what follows are that one's arguments.
_NAMING: Final[Mapping[str, tuple[int, Form]]] = {
    "map": (0, "filter"),
    "select": (0, "test"),
    "reject": (0, "test"),
    "selectattr": (1, "test"),
    "rejectattr": (1, "test"),
}
#: Names that authors know from elsewhere.
_INSTEAD: Final[Mapping[str, str]] = {
    "attr": "Members are read with a dot: `value.name`.",
    "combine": "Write `| merge(other)`.",
    "d": "Write `| default(value)`.",
    "dict2items": "Write `| items`.",
    "dictsort": "Write `| items | sort(attribute='key')`.",
    "e": "Text is never escaped.",
    "escape": "Text is never escaped.",
    "format": "Join text with `~`.",
    "hash": "Write `| sha256`.",
    "items2dict": "Write `| fromitems`.",
    "random": "An expression gives the same value every time.",
    "safe": "Text is never escaped.",
    "slice": "Write `value[start:stop]`, or `| batch(size)`.",
    "truncate": "Write `text[:length]`.",
}


def fault_in_call(form: Form, name: object, count: int, options: Iterable[str]) -> tuple[str, str] | None:
    """What is wrong with a filter or test of this name, given so many arguments and these by name; and what to do."""
    if not isinstance(name, str) or name not in FUNCTIONS[form]:
        return f"there is no {form} `{name}`", _suggestion(form, str(name))
    try:
        _signature(form, name).bind(None, None, *(None for _ in range(count)), **dict.fromkeys(options))
    except TypeError:
        return f"the {form} `{name}` does not take these arguments", f"It is written `{usage(form, name)}`."
    return None


def naming_of(name: str) -> tuple[int, Form] | None:
    """For a filter that is given the name of a filter or test: at which argument, and which of the two."""
    return _NAMING.get(name)


@cache
def _signature(form: Form, name: str) -> inspect.Signature:
    return inspect.signature(FUNCTIONS[form][name])


def _suggestion(form: Form, name: str) -> str:
    if form == "filter" and name in _INSTEAD:
        return _INSTEAD[name]
    close = get_close_matches(name[:40], FUNCTIONS[form], 1)
    return f"Did you mean `{close[0]}`?" if close else f"docs/expressions.md lists every {form}."


def usage(form: Form, name: str) -> str:
    """How a filter or test is written: `replace(old, new, count=…)`."""
    shown: list[str] = []
    # The first two parameters are the frame and the value.
    for parameter in list(_signature(form, name).parameters.values())[2:]:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            shown.append("…")
        elif parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            shown.append(
                parameter.name if parameter.default is inspect.Parameter.empty else f"{parameter.name}=…"
            )
    return f"{name}({', '.join(shown)})" if shown else name
