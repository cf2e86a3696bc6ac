"""Rules of `limits` and `schedule`: what has no effect, never fires, or could not start.

Called by `validation_rules`. A schedule is read as the scheduler will read it, so that its author hears of a mistake
now and not after a night in which nothing happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from .definition_pace import Limits, Schedule
from .durations import parse_duration
from .errors import InputError, Problem
from .expressions import has_expression
from .fields import instant_of
from .pointers import child

if TYPE_CHECKING:
    from .cron import InvalidSchedule

__all__ = ["check_limits", "check_schedule", "check_scheduled_inputs"]

_HERE: Final = "/schedule"
#: An hour: stands for an interval that is not said, so that the rest of a schedule is looked at.
_SOME_TIME: Final = 3_600_000_000


def check_limits(limits: Limits, pointer: str) -> Iterable[Problem]:
    """Report a mutex that stands twice in one list."""
    names = limits.mutex if isinstance(limits.mutex, tuple) else ()
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            place = child(child(pointer, "mutex"), index)
            yield Problem(place, "bad_value", f"the mutex {name!r} is named twice", "keep one of them")
        seen.add(name)


def check_schedule(schedule: Schedule) -> Iterable[Problem]:
    """Report what is no schedule, never fires, or has no effect."""
    # Imported where it is needed: most definitions have no schedule.
    from .cron import InvalidSchedule, read_trigger

    every = None if schedule.every is None else parse_duration(schedule.every)
    if schedule.cron is None and every is None:
        every = _SOME_TIME
    timezone = schedule.timezone
    try:
        read_trigger(every=_SOME_TIME, timezone=timezone)
    except InvalidSchedule as error:
        yield _refused(schedule, error)
        timezone = "UTC"
    try:
        read_trigger(
            cron=schedule.cron,
            every=every,
            timezone=timezone,
            start_at=instant_of(schedule.start_at),
            end_at=instant_of(schedule.end_at),
        )
    except InvalidSchedule as error:
        yield _refused(schedule, error)
    if schedule.has("catch_up") and schedule.misfire != "all":
        message = f"'catch_up' counts firings under 'all'; with {schedule.misfire!r} it has no effect"
        hint = 'remove it, or write "misfire": "all"'
        yield Problem(child(_HERE, "catch_up"), "bad_value", message, hint)


def _refused(schedule: Schedule, error: InvalidSchedule) -> Problem:
    pointer = child(_HERE, error.field) if error.field in schedule.model_fields_set else _HERE
    return Problem(pointer, "bad_schedule", error.message.removesuffix("."), error.hint)


def check_scheduled_inputs(schedule: Schedule, schema: Mapping[str, Any] | None) -> Iterable[Problem]:
    """Report inputs with which no firing could start; of computed ones only the names are known yet."""
    from .inputs import InputSchema

    given, checker = schedule.inputs or {}, InputSchema(schema)
    problems: Iterable[Problem] = ()
    if has_expression(given):
        problems = checker.check_names([name for name in given if not has_expression(name)])
    else:
        try:
            checker.prepare(given)
        except InputError as error:
            problems = error.problems
    here = child(_HERE, "inputs")
    for found in problems:
        missing = "give it in 'inputs' of the schedule, or give it a default in the definition's 'inputs'"
        hint = missing if found.code == "missing_input" else found.hint
        yield Problem(here + found.pointer, found.code, found.message, hint)
