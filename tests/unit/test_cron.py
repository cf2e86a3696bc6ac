"""Schedules: hand-made cases, tables of clock shifts, and a comparison with an oracle that walks minute by minute.

`STRATAFLOW_CRON_YEARS=1971-2037` compares all these years instead of three.
"""

from __future__ import annotations

import bisect
import itertools
import os
import random
import statistics
import time
from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strataflow.engine.cron import (
    CronTrigger,
    IntervalTrigger,
    InvalidSchedule,
    OnceTrigger,
    Trigger,
    read_trigger,
)
from strataflow.engine.errors import EngineError
from tests.unit import cron_oracle as oracle

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

ZONES = (
    "Africa/Casablanca",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
    "UTC",
)


def micros(text: str) -> int:
    """The instant of an ISO text; without an offset it is UTC."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp()) * SECOND


def shown(instants: list[int], zone: str = "UTC") -> list[str]:
    """Instants as a clock in the zone shows them, with the offset unless it is UTC."""
    moments = [datetime.fromtimestamp(instant // SECOND, ZoneInfo(zone)) for instant in instants]
    if zone == "UTC":
        return [moment.strftime("%Y-%m-%dT%H:%M") for moment in moments]
    return [moment.isoformat(timespec="minutes") for moment in moments]


CASES = [
    # the cases of kcenon/messaging_system, from Wednesday 2025-01-15
    ("* * * * *", "2025-01-15T10:30", ["2025-01-15T10:31", "2025-01-15T10:32"]),
    ("0 * * * *", "2025-01-15T10:30", ["2025-01-15T11:00", "2025-01-15T12:00"]),
    ("0 3 * * *", "2025-01-15T10:30", ["2025-01-16T03:00", "2025-01-17T03:00"]),
    ("0 9 * * 1", "2025-01-15T10:30", ["2025-01-20T09:00", "2025-01-27T09:00"]),
    ("0 0 31 * *", "2025-01-15T10:30", ["2025-01-31T00:00", "2025-03-31T00:00", "2025-05-31T00:00"]),
    ("*/15 * * * *", "2025-01-15T10:32", ["2025-01-15T10:45", "2025-01-15T11:00"]),
    ("0 */2 * * 1-5", "2025-01-15T10:30", ["2025-01-15T12:00", "2025-01-15T14:00"]),
    ("0 0 29 2 *", "2024-01-01T00:00", ["2024-02-29T00:00", "2028-02-29T00:00"]),
    ("0 0 1 1 *", "2025-12-31T23:59", ["2026-01-01T00:00", "2027-01-01T00:00"]),
    ("30 14 15 6 *", "2025-01-15T10:30", ["2025-06-15T14:30", "2026-06-15T14:30"]),
    ("*/15 */2 * * *", "2025-01-15T10:31", ["2025-01-15T10:45", "2025-01-15T12:00"]),
    ("0-30 9-17 1-15 * *", "2025-01-15T17:29", ["2025-01-15T17:30", "2025-02-01T09:00"]),
    ("0,15,30,45 8,12,18 * * 1,3,5", "2025-01-15T12:31", ["2025-01-15T12:45", "2025-01-15T18:00"]),
    ("*/10 9-17 * * 1-5", "2025-01-17T17:41", ["2025-01-17T17:50", "2025-01-20T09:00"]),
    # strictly later, and to the second
    ("30 10 * * *", "2025-01-15T10:30", ["2025-01-16T10:30"]),
    ("30 10 * * *", "2025-01-15T10:29:59", ["2025-01-15T10:30"]),
    # steps in ranges, lists of ranges, spaces, a step that leaves one value
    ("10-40/15 * * * *", "2025-01-15T10:00", ["2025-01-15T10:10", "2025-01-15T10:25", "2025-01-15T10:40"]),
    ("1-2,58-59 0 * * *", "2025-01-15T00:02", ["2025-01-15T00:58", "2025-01-15T00:59", "2025-01-16T00:01"]),
    ("  5\t4  *  * * ", "2025-01-15T00:00", ["2025-01-15T04:05"]),
    ("*/60 */24 * * *", "2025-01-15T10:30", ["2025-01-16T00:00", "2025-01-17T00:00"]),
    ("00 07 * * *", "2025-01-15T10:30", ["2025-01-16T07:00"]),
    # names in any case; Sunday is 0, 7 and sun, also at the end of a range
    ("0 0 * * SUN", "2025-01-15T00:00", ["2025-01-19T00:00", "2025-01-26T00:00"]),
    ("0 0 * * 0", "2025-01-15T00:00", ["2025-01-19T00:00", "2025-01-26T00:00"]),
    ("0 0 * * 7", "2025-01-15T00:00", ["2025-01-19T00:00", "2025-01-26T00:00"]),
    ("0 0 * * 5-7", "2025-01-15T00:00", ["2025-01-17T00:00", "2025-01-18T00:00", "2025-01-19T00:00"]),
    ("0 0 * * Sat-Sun", "2025-01-15T00:00", ["2025-01-18T00:00", "2025-01-19T00:00", "2025-01-25T00:00"]),
    ("0 0 * * sun-sun", "2025-01-15T00:00", ["2025-01-19T00:00", "2025-01-26T00:00"]),
    ("0 0 * * sun-tue", "2025-01-15T00:00", ["2025-01-19T00:00", "2025-01-20T00:00", "2025-01-21T00:00"]),
    ("0 0 * * 0-7", "2025-01-15T00:00", ["2025-01-16T00:00", "2025-01-17T00:00"]),
    ("0 0 * * mon-fri/2", "2025-01-15T00:00", ["2025-01-17T00:00", "2025-01-20T00:00", "2025-01-22T00:00"]),
    ("0 0 1 Jan,jul *", "2025-01-15T00:00", ["2025-07-01T00:00", "2026-01-01T00:00"]),
    ("0 0 1 oct-12 *", "2025-01-15T00:00", ["2025-10-01T00:00", "2025-11-01T00:00", "2025-12-01T00:00"]),
    # either day matches when both fields are restricted; a field that begins with * is not
    ("0 0 13 * 5", "2025-06-01T00:00", ["2025-06-06T00:00", "2025-06-13T00:00", "2025-06-20T00:00"]),
    ("0 0 1,15 * wed", "2025-01-09T00:00", ["2025-01-15T00:00", "2025-01-22T00:00", "2025-01-29T00:00"]),
    ("0 0 */2 * fri", "2025-01-15T00:00", ["2025-01-17T00:00", "2025-01-31T00:00", "2025-02-07T00:00"]),
    ("0 0 1-7 * */7", "2025-01-15T00:00", ["2025-02-02T00:00", "2025-03-02T00:00"]),
    # ends of months; an impossible date leaves the weekday
    ("0 0 L * *", "2024-01-15T00:00", ["2024-01-31T00:00", "2024-02-29T00:00", "2024-03-31T00:00"]),
    ("0 0 l 2 *", "2024-03-01T00:00", ["2025-02-28T00:00", "2026-02-28T00:00"]),
    ("0 0 15,L 2 *", "2024-02-01T00:00", ["2024-02-15T00:00", "2024-02-29T00:00", "2025-02-15T00:00"]),
    ("0 0 L * mon", "2025-01-26T00:00", ["2025-01-27T00:00", "2025-01-31T00:00", "2025-02-03T00:00"]),
    ("0 0 30 2,4 *", "2025-01-15T00:00", ["2025-04-30T00:00", "2026-04-30T00:00"]),
    ("0 0 31 2 mon", "2025-02-01T00:00", ["2025-02-03T00:00", "2025-02-10T00:00"]),
    # a century is no leap year; the 29th is a Sunday only every 28 years
    ("0 0 29 2 *", "2096-02-29T00:00", ["2104-02-29T00:00"]),
    ("0 0 29 2 */7", "2032-02-29T00:00", ["2060-02-29T00:00", "2088-02-29T00:00", "2128-02-29T00:00"]),
    # shorthands
    ("@yearly", "2025-01-15T00:00", ["2026-01-01T00:00"]),
    ("@annually", "2025-01-15T00:00", ["2026-01-01T00:00"]),
    ("@monthly", "2025-01-15T00:00", ["2025-02-01T00:00"]),
    ("@weekly", "2025-01-15T00:00", ["2025-01-19T00:00"]),
    ("@daily", "2025-01-15T00:00", ["2025-01-16T00:00"]),
    ("@midnight", "2025-01-15T00:00", ["2025-01-16T00:00"]),
    (" @Hourly ", "2025-01-15T00:00", ["2025-01-15T01:00"]),
]


@pytest.mark.row("M-28")
@pytest.mark.parametrize(("text", "after", "expected"), CASES)
def test_cron_fires_next_at(text: str, after: str, expected: list[str]) -> None:
    assert shown(read_trigger(cron=text).upcoming(micros(after), len(expected))) == expected


@pytest.mark.row("M-28")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 fields"),
        ("invalid", "has 1 fields"),
        ("* * * *", "has 4 fields"),
        ("* * * * * *", "has 6 fields"),
        ("60 * * * *", "minute '60' is out of range"),
        ("* 24 * * *", "hour '24' is out of range"),
        ("* * 0 * *", "day of month '0' is out of range"),
        ("* * 32 * *", "day of month '32' is out of range"),
        ("* * * 0 *", "month '0' is out of range"),
        ("* * * 13 *", "month '13' is out of range"),
        ("* * * * 8", "weekday '8' is out of range"),
        ("0-60 * * * *", "minute '0-60' is out of range"),
        ("00000000000000000000061 * * * *", "is out of range"),
        ("6000000000000000000000 * * * *", "is out of range"),
        ("30-10 * * * *", "runs backwards"),
        ("0 0 * * fri-mon", "runs backwards"),
        ("0 0 * nov-feb *", "runs backwards"),
        ("0 22-6 * * *", "runs backwards"),
        ("*/0 * * * *", "step out of range"),
        ("1-5/00 * * * *", "step out of range"),
        ("*/61 * * * *", "step out of range"),
        ("0 0 * * */8", "step out of range"),
        ("5/15 * * * *", "step without a range"),
        ("-5 * * * *", "is not understood"),
        ("1- * * * *", "is not understood"),
        ("1-2-3 * * * *", "is not understood"),
        ("*-5 * * * *", "is not understood"),
        ("*/ * * * *", "is not understood"),
        ("*/-5 * * * *", "is not understood"),
        ("**/5 * * * *", "is not understood"),
        ("1,,2 * * * *", "is not understood"),
        ("1, * * * *", "is not understood"),
        ("1.5 * * * *", "is not understood"),
        ("٣ * * * *", "is not understood"),
        ("0 0 ? * *", "is not understood"),
        ("0 0 15W * *", "is not understood"),
        ("0 0 L-2 * *", "unknown name 'L'"),
        ("L * * * *", "unknown name 'L'"),
        ("0 0 * * fri#2", "is not understood"),
        ("0 0 * * 5L", "is not understood"),
        ("0 0 * * freitag", "unknown name 'freitag'"),
        ("0 0 * january *", "unknown name 'january'"),
        ("0 mon * * *", "unknown name 'mon'"),
        ("0 0 * mon *", "unknown name 'mon'"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 2,4,jun,9,11 *", "never fires"),
        ("0 0 30,31 feb */2", "never fires"),
        ("@reboot", "no known schedule"),
        ("@every 5m", "no known schedule"),
        ("* " * 300, "at most 500 characters"),
    ],
)
def test_what_is_no_cron_text_is_refused_with_a_hint(text: str, message: str) -> None:
    begun = time.thread_time()
    with pytest.raises(InvalidSchedule, match=message) as caught:
        read_trigger(cron=text)
    # Searching the calendar for a date that never comes takes a hundred times as long as reading does.
    assert time.thread_time() - begun < 0.05
    assert isinstance(caught.value, EngineError)
    assert caught.value.hint
    assert caught.value.field == "cron"
    assert len(str(caught.value)) < 400


@pytest.mark.row("M-28")
@pytest.mark.parametrize(
    "zone",
    ["", "Mars/Olympus", "Europe", "../etc/passwd", "/etc/localtime", "localtime", "a\0b", "Ä", "x" * 5000],
)
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    for arguments in ({"cron": "* * * * *"}, {"every": MINUTE}, {"at": MINUTE}):
        with pytest.raises(InvalidSchedule, match="no known time zone") as caught:
            read_trigger(timezone=zone, **arguments)  # pyright: ignore[reportArgumentType] - one of three
        assert caught.value.field == "timezone"
        assert caught.value.hint


def test_a_schedule_is_of_one_kind() -> None:
    for arguments in (
        {},
        {"cron": "* * * * *", "at": 5},
        {"every": MINUTE, "at": 0},
        {"cron": "", "every": 0},
    ):
        with pytest.raises(InvalidSchedule, match="exactly one"):
            read_trigger(**arguments)  # pyright: ignore[reportArgumentType] - that is what is tried


# Clock shifts, as the zones' clocks show them. Offsets tell the first pass of a repeated hour from the second.
SHIFTS = [
    # 2026-03-29 02:00 → 03:00, 2026-10-25 03:00 → 02:00
    ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00+01:00", "03-29T03:00+02:00 03-30T02:30+02:00"),
    ("Europe/Berlin", "0 2 * * *", "2026-03-28T12:00+01:00", "03-29T03:00+02:00 03-30T02:00+02:00"),
    ("Europe/Berlin", "*/20 2 * * *", "2026-03-28T12:00+01:00", "03-29T03:00+02:00 03-30T02:00+02:00"),
    ("Europe/Berlin", "0 2,3 * * *", "2026-03-28T12:00+01:00", "03-29T03:00+02:00 03-30T02:00+02:00"),
    (
        "Europe/Berlin",
        "30 1-3 * * *",
        "2026-03-28T12:00+01:00",
        "03-29T01:30+01:00 03-29T03:00+02:00 03-29T03:30+02:00",
    ),
    (
        "Europe/Berlin",
        "0 */2 * * *",
        "2026-03-28T23:00+01:00",
        "03-29T00:00+01:00 03-29T03:00+02:00 03-29T04:00+02:00",
    ),
    ("Europe/Berlin", "30 2 29 3 *", "2026-03-29T03:00+02:00", "2027-03-29T02:30+02:00"),
    ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00+02:00", "10-25T02:30+02:00 10-26T02:30+01:00"),
    ("Europe/Berlin", "30 2 * * *", "2026-10-25T02:10+01:00", "10-26T02:30+01:00"),
    ("Europe/Berlin", "0 3 * * *", "2026-10-25T02:30+02:00", "10-25T03:00+01:00"),
    (
        "Europe/Berlin",
        "*/30 2,3 * * *",
        "2026-10-25T00:00+02:00",
        "10-25T02:00+02:00 10-25T02:30+02:00 10-25T03:00+01:00",
    ),
    (
        "Europe/Berlin",
        "30 * * * *",
        "2026-03-29T00:30+01:00",
        "03-29T01:30+01:00 03-29T03:30+02:00 03-29T04:30+02:00",
    ),
    (
        "Europe/Berlin",
        "30 0-23 * * *",
        "2026-10-25T01:30+02:00",
        "10-25T02:30+02:00 10-25T02:30+01:00 10-25T03:30+01:00",
    ),
    (
        "Europe/Berlin",
        "*/45 * * * *",
        "2026-10-25T02:00+02:00",
        "10-25T02:45+02:00 10-25T02:00+01:00 10-25T02:45+01:00 10-25T03:00+01:00",
    ),
    # 2026-03-08 02:00 → 03:00, 2026-11-01 02:00 → 01:00
    ("America/New_York", "30 2 * * *", "2026-03-07T12:00-05:00", "03-08T03:00-04:00 03-09T02:30-04:00"),
    ("America/New_York", "30 2 * * sun", "2026-03-07T12:00-05:00", "03-08T03:00-04:00 03-15T02:30-04:00"),
    ("America/New_York", "30 1 * * *", "2026-10-31T12:00-04:00", "11-01T01:30-04:00 11-02T01:30-05:00"),
    ("America/New_York", "@hourly", "2026-11-01T00:00-04:00", "11-01T01:00-04:00 11-01T01:00-05:00"),
    # 2026-10-04 02:00 → 02:30, 2026-04-05 02:00 → 01:30
    (
        "Australia/Lord_Howe",
        "15 2 * * *",
        "2026-10-03T12:00+10:30",
        "10-04T02:30+11:00 10-05T02:15+11:00",
    ),
    (
        "Australia/Lord_Howe",
        "*/15 2 * * *",
        "2026-10-03T12:00+10:30",
        "10-04T02:30+11:00 10-04T02:45+11:00",
    ),
    (
        "Australia/Lord_Howe",
        "45 1 * * *",
        "2026-04-04T12:00+11:00",
        "04-05T01:45+11:00 04-06T01:45+10:30",
    ),
    (
        "Australia/Lord_Howe",
        "*/15 * * * *",
        "2026-04-05T01:30+11:00",
        "04-05T01:45+11:00 04-05T01:30+10:30 04-05T01:45+10:30 04-05T02:00+10:30",
    ),
    ("Australia/Lord_Howe", "0 * * * *", "2026-10-04T01:00+10:30", "10-04T03:00+11:00 10-04T04:00+11:00"),
    # half an hour off, no shifts
    ("Asia/Kolkata", "0 9 * * *", "2026-03-28T12:00+05:30", "03-29T09:00+05:30 03-30T09:00+05:30"),
    ("Asia/Kolkata", "0 * * * *", "2026-10-25T00:10+05:30", "10-25T01:00+05:30 10-25T02:00+05:30"),
    # the whole of 2011-12-30 was skipped
    (
        "Pacific/Apia",
        "0 12 * * *",
        "2011-12-28T13:00-10:00",
        "2011-12-29T12:00-10:00 2011-12-31T00:00+14:00 2011-12-31T12:00+14:00",
    ),
    ("Pacific/Apia", "0 0 * * *", "2011-12-29T12:00-10:00", "2011-12-31T00:00+14:00 2012-01-01T00:00+14:00"),
    (
        "Pacific/Apia",
        "0 8 * * fri",
        "2011-12-29T12:00-10:00",
        "2011-12-31T00:00+14:00 2012-01-06T08:00+14:00",
    ),
    ("Pacific/Apia", "0 * * * *", "2011-12-29T22:00-10:00", "2011-12-29T23:00-10:00 2011-12-31T00:00+14:00"),
    ("Pacific/Apia", "0 * 30 12 *", "2011-12-29T22:00-10:00", "2012-12-30T00:00+14:00"),
    # midnight was skipped on 2018-11-04, 23:00 came twice on 2019-02-16
    (
        "America/Sao_Paulo",
        "0 0 * * *",
        "2018-11-03T12:00-03:00",
        "2018-11-04T01:00-02:00 2018-11-05T00:00-02:00",
    ),
    (
        "America/Sao_Paulo",
        "30 23 * * *",
        "2019-02-16T12:00-02:00",
        "2019-02-16T23:30-02:00 2019-02-17T23:30-03:00",
    ),
    (
        "America/Sao_Paulo",
        "0 0 * * *",
        "2019-02-16T12:00-02:00",
        "2019-02-17T00:00-03:00 2019-02-18T00:00-03:00",
    ),
    # back for Ramadan: 2024-03-10 03:00 → 02:00, 2024-04-14 02:00 → 03:00
    (
        "Africa/Casablanca",
        "30 2 * * *",
        "2024-03-09T12:00+01:00",
        "2024-03-10T02:30+01:00 2024-03-11T02:30+00:00",
    ),
    (
        "Africa/Casablanca",
        "30 2 * * *",
        "2024-04-13T12:00+00:00",
        "2024-04-14T03:00+01:00 2024-04-15T02:30+01:00",
    ),
    # 2022-03-22 00:00 → 01:00, 2022-09-22 00:00 → 23:00 of the 21st
    ("Asia/Tehran", "15 0 22 * *", "2022-03-01T00:00+03:30", "2022-03-22T01:00+04:30 2022-04-22T00:15+04:30"),
    (
        "Asia/Tehran",
        "30 23 21 * *",
        "2022-09-21T12:00+04:30",
        "2022-09-21T23:30+04:30 2022-10-21T23:30+03:30",
    ),
    ("Asia/Tehran", "30 * 21 9 *", "2022-09-21T23:00+04:30", "2022-09-21T23:30+04:30 2022-09-21T23:30+03:30"),
    # 2026-03-29 00:00 → 01:00, 2026-10-25 01:00 → 00:00
    ("Atlantic/Azores", "@daily", "2026-03-28T12:00-01:00", "03-29T01:00+00:00 03-30T00:00+00:00"),
    ("Atlantic/Azores", "@daily", "2026-10-24T12:00+00:00", "10-25T00:00+00:00 10-26T00:00-01:00"),
    ("Atlantic/Azores", "59 23 L 3 *", "2026-03-28T12:00-01:00", "03-31T23:59+00:00"),
]


@pytest.mark.row("M-28")
@pytest.mark.parametrize(("zone", "text", "after", "expected"), SHIFTS)
def test_cron_around_a_clock_shift(zone: str, text: str, after: str, expected: str) -> None:
    wanted = [moment if moment[4] == "-" else f"2026-{moment}" for moment in expected.split()]
    trigger = read_trigger(cron=text, timezone=zone)
    assert shown(trigger.upcoming(micros(after), len(wanted)), zone) == wanted


CORPUS = (
    "* * * * *",
    "*/15 * * * *",
    "7,37 * * * *",
    "0 0-23 * * *",
    "30 * * * 0,6",
    "59 * L * *",
    "*/7 0-22 * * *",
    "*/20 */2 * * *",
    "0 */3 * * *",
    "0 0 * * *",
    "1 0 * * *",
    "30 0 * * *",
    "0 1 * * *",
    "30 1 * * *",
    "15-45/10 1-3 * * *",
    "0 2 * * *",
    "15 2 * * *",
    "30 2 * * *",
    "0,30 2,3 * * *",
    "0 3 * * *",
    "45 23 * * *",
    "0 2 * * sun",
    "30 2 1-7,25-31 * sat-sun",
    "0 9 13 * 5",
    "0 12 L * *",
    "@weekly",
    "@monthly",
    "30 2 29,30 3,12 *",
)


def years() -> list[int]:
    """The years to compare: the skipped day of Apia, the last ones of Tehran and Sao Paulo, and one of today."""
    text = os.environ.get("STRATAFLOW_CRON_YEARS")
    if not text:
        return [2011, 2018, 2026]
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


@cache
def shifts(zone: str) -> list[int]:
    """The minutes after the zone's clock has shifted, in seconds, in all years compared."""
    return [shift for year in years() for shift in oracle.shifts(ZoneInfo(zone), year)]


def middles(zone: str) -> list[int]:
    """Seconds around which to compare: each shift, and one random moment of each year."""
    chance = random.Random(zone)
    random_ones = [micros(f"{year}-01-05") // SECOND + chance.randrange(350 * 1440) * 60 for year in years()]
    return shifts(zone) + random_ones


def compare(text: str, zone: str, rows: list[oracle.Row], chance: random.Random) -> None:
    """Hold a trigger to the oracle's firings: all in order, and the next one from anywhere."""
    expected = oracle.firings(oracle.Cron(text), rows)
    trigger = read_trigger(cron=text, timezone=zone)
    first, last = rows[0].instant * SECOND, rows[-1].instant * SECOND
    assert trigger.between(first - 1, last, 20_000) == expected, (text, zone, shown([first, last], zone))
    middle = (first + last) // 2
    anywhere = [chance.randrange(first, last) for _ in range(3)]
    nearby = [middle + chance.randrange(-2 * HOUR, 2 * HOUR) for _ in range(3)]
    for after in [*anywhere, *nearby, middle - 1, middle, middle + 1]:
        index = bisect.bisect_right(expected, after)
        following = trigger.next_after(after)
        if index < len(expected):
            assert following == expected[index], (text, zone, after)
        else:
            assert following is None or following > last, (text, zone, after)


@pytest.mark.row("M-28")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("zone", ZONES)
def test_the_oracle_agrees_around_every_shift(zone: str) -> None:
    chance = random.Random(f"{zone} oracle")
    for middle in middles(zone):
        rows = oracle.walk(ZoneInfo(zone), middle - 3 * oracle.DAY, middle + 3 * oracle.DAY)
        half = len(rows) // 2
        for text in CORPUS:
            # What fires often is compared for half a day only: the same again, and slow.
            often = len(oracle.Cron(text).hours) * len(oracle.Cron(text).minutes) > 24
            compare(text, zone, rows[half - 360 : half + 361] if often else rows, chance)


@pytest.mark.row("M-28")
@pytest.mark.parametrize(
    "text",
    [
        "0 0 29 2 *",
        "0 0 29 2 */7",
        "0 0 29 2 mon",
        "0 0 31 * *",
        "0 0 31 */2 *",
        "0 0 L 2,feb-apr *",
        "0 0 */5 * 1-5",
        "0 0 */31 * */2",
        "0 0 1-7 */3 sun",
        "0 0 30,L 2 thu",
        "0 0 * 12 sat-7",
        "0 0 13 * fri",
    ],
)
def test_the_oracle_agrees_on_the_days_of_forty_years(text: str) -> None:
    cron = oracle.Cron(text)
    days = [datetime.fromtimestamp(day * oracle.DAY, UTC) for day in range(47_000, 47_000 + 40 * 366)]
    expected = [round(day.timestamp()) * SECOND for day in days if cron.on(day)]
    assert expected
    until = round(days[-1].timestamp()) * SECOND
    assert read_trigger(cron=text).between(47_000 * DAY - 1, until, 20_000) == expected


def texts(low: int, high: int, longest: int, names: str = "") -> st.SearchStrategy[str]:
    """The texts of one field; `longest` is its longest step."""
    spellings = [str(number) for number in range(low, high + 1)] + names.split()
    step = st.one_of(st.just(""), st.integers(1, longest).map("/{}".format))
    pair = st.tuples(st.integers(low, high), st.integers(low, high)).map(sorted)
    span = st.builds(lambda ends, step: f"{ends[0]}-{ends[1]}{step}", pair, step)
    items = st.lists(st.one_of(st.sampled_from(spellings), span), min_size=1, max_size=3)
    return st.one_of(st.builds("*{}".format, step), items.map(",".join))


TEXTS = st.tuples(
    texts(0, 59, 60),
    st.one_of(st.sampled_from(["*", "0-23", "*/2", "0-3", "1,2,3", "2", "0", "23"]), texts(0, 23, 24)),
    st.one_of(st.just("*"), st.sampled_from(["L", "1,L", "15-20,l"]), texts(1, 31, 31)),
    st.one_of(st.just("*"), texts(1, 12, 12, "jan FEB mar apr May jun jul aug sep oct nov dec")),
    st.one_of(st.just("*"), texts(0, 7, 7, "sun mon TUE wed thu Fri sat")),
).map(" ".join)


@cache
def rows_around(zone: str, middle: int) -> list[oracle.Row]:
    return oracle.walk(ZoneInfo(zone), middle - 15 * oracle.HOUR, middle + 15 * oracle.HOUR)


@pytest.mark.row("M-28")
@settings(max_examples=150)
@example(text="59 23 31 12 *", zone="Pacific/Apia", which=0)
@given(text=TEXTS, zone=st.sampled_from(ZONES), which=st.integers(0, 1000))
def test_the_oracle_agrees_on_random_texts(text: str, zone: str, which: int) -> None:
    cron = oracle.Cron(text)
    if not cron.ever():
        with pytest.raises(InvalidSchedule, match="never fires"):
            read_trigger(cron=text, timezone=zone)
        return
    around = middles(zone)
    compare(text, zone, rows_around(zone, around[which % len(around)]), random.Random(text))


@given(st.text(alphabet="*/-,LW#?@ 0123456789sunmojax\t", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        trigger = read_trigger(cron=text)
    except InvalidSchedule:
        return
    assert trigger.next_after(0) is not None


@pytest.mark.row("M-28")
def test_bounds_may_fire_themselves() -> None:
    start, end = micros("2025-01-15T10:00"), micros("2025-01-15T12:00")
    trigger = read_trigger(cron="0 * * * *", start_at=start, end_at=end)
    assert trigger.upcoming(0, 9) == [start, start + HOUR, end]
    assert trigger.next_after(end - 1) == end
    assert trigger.next_after(end) is None
    assert read_trigger(cron="0 * * * *", start_at=start + 1, end_at=end - 1).upcoming(0, 9) == [start + HOUR]


def test_a_schedule_that_never_fires_between_its_bounds_is_refused() -> None:
    begin = micros("2025-01-15T10:00")
    for arguments in (
        {"cron": "* * * * *", "end_at": begin - 1},
        {"cron": "0 0 29 2 *", "end_at": begin + 500 * DAY},
        {"every": DAY, "end_at": begin - 1},
        {"at": begin - 1},
        {"at": begin + 2, "end_at": begin + 1},
    ):
        with pytest.raises(InvalidSchedule, match="never fires between") as caught:
            read_trigger(start_at=begin, **arguments)  # pyright: ignore[reportArgumentType] - one of three
        assert caught.value.hint


def test_a_calendar_has_two_ends() -> None:
    trigger = read_trigger(cron="0 0 1 1 *")
    assert shown(trigger.upcoming(-(2**62), 1)) == ["1970-01-01T00:00"]
    assert trigger.next_after(micros("9997-01-02")) == micros("9998-01-01")
    for after in (micros("9998-01-02"), micros("9998-12-31T23:59"), 2**62):
        assert trigger.next_after(after) is None
    for zone in ZONES:
        assert read_trigger(cron="* * * * *", timezone=zone).upcoming(micros("9998-12-31T23:58"), 9) == [
            micros("9998-12-31T23:59")
        ]


def test_an_interval_fires_by_its_anchor_whoever_asks_when() -> None:
    trigger = read_trigger(every=7 * MINUTE)
    assert isinstance(trigger, IntervalTrigger)
    assert trigger.next_after(0) == 7 * MINUTE
    assert trigger.next_after(-1) == 0
    now = micros("2025-01-15T10:00")
    for after in range(now, now + 7 * MINUTE, 13 * SECOND + 1):
        following = trigger.next_after(after)
        assert following is not None
        assert after < following <= after + 7 * MINUTE
        assert following % (7 * MINUTE) == 0


@pytest.mark.row("M-27")
def test_an_interval_begins_with_its_start() -> None:
    start = micros("2025-01-15T10:00") + 1
    trigger = read_trigger(every=DAY, start_at=start, end_at=start + 2 * DAY, timezone="Europe/Berlin")
    assert trigger.upcoming(0, 9) == [start, start + DAY, start + 2 * DAY]
    assert trigger.next_after(start) == start + DAY
    assert trigger.next_after(start + 2 * DAY - 1) == start + 2 * DAY
    assert trigger.next_after(start + 2 * DAY) is None


@pytest.mark.parametrize("every", [0, -1, SECOND - 1, -DAY])
def test_an_interval_under_a_second_is_refused(every: int) -> None:
    with pytest.raises(InvalidSchedule, match="a second at least") as caught:
        read_trigger(every=every)
    assert caught.value.field == "every"
    assert read_trigger(every=SECOND).next_after(0) == SECOND


def test_once_is_once() -> None:
    at = micros("2025-01-15T10:00")
    trigger = read_trigger(at=at, start_at=at, end_at=at)
    assert isinstance(trigger, OnceTrigger)
    assert trigger.upcoming(0, 5) == [at]
    assert trigger.next_after(at - 1) == at
    assert trigger.next_after(at) is None
    assert read_trigger(at=0).upcoming(-1, 5) == [0]


def test_between_gives_the_first_of_them() -> None:
    trigger = read_trigger(cron="*/10 * * * *")
    begin = micros("2025-01-15T10:00")
    assert trigger.between(begin, begin + HOUR, 100) == [begin + n * 10 * MINUTE for n in range(1, 7)]
    assert trigger.between(begin - 1, begin + HOUR, 2) == [begin, begin + 10 * MINUTE]
    assert trigger.between(begin, begin + 10 * MINUTE - 1, 100) == []
    assert trigger.between(begin, begin, 100) == []
    assert trigger.between(begin, begin - HOUR, 100) == []
    assert trigger.between(begin, begin + HOUR, 0) == []
    assert trigger.upcoming(begin, 0) == []


class Stuck(Trigger):
    def _next(self, after: int) -> int | None:
        return after


def test_a_trigger_that_does_not_advance_is_an_internal_error() -> None:
    with pytest.raises(RuntimeError, match="does not advance"):
        Stuck().between(0, DAY, 10)


def test_triggers_are_values() -> None:
    one, other = (read_trigger(cron="0 3 * * *", timezone="Europe/Berlin", end_at=2**60) for _ in range(2))
    assert isinstance(one, CronTrigger)
    assert one == other
    assert hash(one) == hash(other)
    assert one != read_trigger(cron="0 4 * * *", timezone="Europe/Berlin", end_at=2**60)
    assert one != read_trigger(cron="0 3 * * *", timezone="UTC", end_at=2**60)
    assert "0 3 * * *" in repr(one)
    assert "Europe/Berlin" in repr(one)


@pytest.mark.parametrize(
    "text", ["* * * * *", "30 2 * * *", "0 9 13 * 5", "0 0 29 2 *", "0 0 29 2 */7", "0 0 31 2 mon"]
)
def test_the_next_firing_is_found_fast(text: str) -> None:
    trigger = read_trigger(cron=text, timezone="Europe/Berlin")
    begin = micros("2026-03-28")
    durations: list[float] = []
    for after in itertools.islice(itertools.count(begin, HOUR), 60):
        begun = time.thread_time()
        trigger.next_after(after)
        durations.append(time.thread_time() - begun)
    # About 50 µs; the limit leaves room for a busy machine, not for a search through years.
    assert statistics.median(durations) < 0.005
