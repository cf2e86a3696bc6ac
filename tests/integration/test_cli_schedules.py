"""`schedules`, `triggers` and `emit` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from strataflow.repositories.migrate import upgrade
from tests.checker import check
from tests.support.cli import Cli


@pytest.fixture
def known(db_url: str, tmp_path: Path) -> Cli:
    """A database with one definition, and a command line on it."""
    upgrade(db_url)
    cli = Cli(db_url, tmp_path)
    flow = {
        "dsl": "1",
        "name": "greet",
        "inputs": {"type": "object", "properties": {"who": {}, "at": {}}},
        "nodes": {"a": {"run": "core.noop", "with": {"who": "{{ inputs.who | default('nobody') }}"}}},
    }
    (tmp_path / "greet.json").write_text(json.dumps(flow))
    cli("register", tmp_path / "greet.json", "--activate")
    return cli


@pytest.mark.row("X-35")
def test_a_schedule_from_its_first_look_to_its_runs(known: Cli, db_url: str) -> None:
    args = ("nightly", "greet", "--cron", "15 2 * * *", "--timezone", "Europe/Paris", "--overlap", "queue")
    coming = known("schedules", "create", *args, "--dry-run", "--json").json
    assert len(coming) == 10
    assert known("schedules", "list", "--json").json == []
    made = known(
        "schedules", "create", *args, "--input", '{"at": "{{ instance.scheduled_for }}"}', "--json"
    ).json
    assert (made["next_at"], made["overlap"], made["state"]) == (coming[0], "queue", "active")
    fired = known("schedules", "trigger", "nightly", "--json").json
    assert (fired["outcome"], fired["kind"]) == ("started", "manual")
    filled = known("schedules", "backfill", "nightly", "--from", "2026-03-28", "--to", "2026-03-30", "--json")
    assert [each["at"] for each in filled.json] == [
        "2026-03-28T01:15:00.000000Z",
        "2026-03-29T01:00:00.000000Z",
    ]
    known("worker", "--drain")
    shown = known("schedules", "show", "nightly", "--json").json
    assert (shown["runs"], len(shown["upcoming"]), len(shown["history"])) == (3, 5, 3)
    assert [row["state"] for row in known("list", "--label", "schedule=nightly", "--json").json] == [
        "completed"
    ] * 3
    assert check(db_url, [each["instance"] for each in shown["history"]]) == []


def test_pausing_changing_and_removing(known: Cli) -> None:
    known("schedules", "create", "s", "greet", "--every", "1h")
    assert known("schedules", "pause", "s", "--reason", "month end", "--json").json["next_at"] is None
    assert "month end" in known("schedules", "show", "s").err
    assert known("schedules", "resume", "s", "--json").json["next_at"] is not None
    assert known("schedules", "update", "s", "greet", "--every", "2h", "--json").json["every_s"] == 7200
    assert "every 7200 s" in known("schedules", "list").out
    known("schedules", "remove", "s")
    assert "there is no schedule 's'" in known("schedules", "show", "s", code=2).err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("s", "greet", "--cron", "61 * * * *"), "minute"),
        (("s", "greet"), "cron"),
        (("s", "greet", "--cron", "* * * * *", "--timezone", "Mars/Base"), "Mars/Base"),
        (("s", "nothing", "--every", "1h"), "there is no definition"),
        (("s", "greet", "--at", "2020-01-01"), "never fire"),
        (("s", "greet", "--every", "1h", "--overlap", "both"), "allow, skip, queue, cancel"),
        (("s", "greet", "--every", "soon"), "soon"),
        (("s", "greet@x", "--every", "1h", "--dry-run"), "no definition reference"),
        (("s", "nothing", "--every", "1h", "--dry-run"), "there is no definition"),
        (("s", "greet", "--every", "1h", "--catch-up", "0"), "--catch-up"),
        (("s", "greet", "--every", "1h", "--input", "{bad"), "--input is not JSON"),
        (
            ("s", "greet", "--every", "1h", "--input", '{"who": "{{ now }}"}'),
            "'{{ instance.scheduled_for }}'",
        ),
    ],
)
def test_what_is_wrong_is_said(known: Cli, args: tuple[str, ...], said: str) -> None:
    ran = known("schedules", "create", *args, code=None)
    assert ran.code == 2
    assert "Traceback" not in ran.err
    assert said in ran.err
    assert known("schedules", "list", "--json").json == []


def test_a_wrong_backfill_and_wrong_events_are_refused(known: Cli) -> None:
    known("schedules", "create", "s", "greet", "--every", "1h")
    reversed_ = ("--from", "2026-01-02", "--to", "2026-01-01")
    assert "ends before it begins" in known("schedules", "backfill", "s", *reversed_, code=2).err
    to_come = ("--from", "2026-01-02", "--to", "2100-01-01")
    assert "ends in the future" in known("schedules", "backfill", "s", *to_come, code=2).err
    assert known("schedules", "next", "--cron", "1", code=2).err.startswith("error: '1' has 1 fields")
    assert "--data is not JSON" in known("emit", "a", "--data", "{bad", code=2).err
    assert "an event's name is" in known("emit", "", code=2).err
    assert "an event's id is" in known("emit", "a", "--id", "", code=2).err


def test_an_event_that_could_not_start_something_ends_with_code_1(known: Cli) -> None:
    known("triggers", "create", "a", "order.*", "greet", "--match", "{{ event.payload.n }}")
    known("triggers", "create", "b", "order.*", "greet")
    said = known("emit", "order.new", "--data", '{"n": 5}', code=1)
    assert "a: failed (a condition gives true or false, not a number)" in said.out
    assert "b: started" in said.out
    assert said.err == ""


def test_next_needs_no_database(tmp_path: Path) -> None:
    cli = Cli("sqlite:///nowhere/at/all.db", tmp_path)
    found = cli("schedules", "next", "--cron", "@yearly", "--count", "3", "--json").json
    assert [each[4:] for each in found] == ["-01-01T00:00:00.000000Z"] * 3


def test_events_start_what_matches(known: Cli, db_url: str) -> None:
    match = "{{ event.payload.amount > 100 }}"
    inputs = '{"who": "{{ event.payload.who }}"}'
    known("triggers", "create", "big", "order.*", "greet", "--match", match, "--input", inputs)
    assert known("emit", "order.paid", "--data", '{"amount": 5}', "--json").json[0]["status"] == "unmatched"
    event = ("order.paid", "--data", '{"amount": 500, "who": "Ada"}', "--id", "e1", "--json")
    first, second = known("emit", *event).json[0], known("emit", *event).json[0]
    assert (first["status"], second["status"]) == ("started", "existing")
    known("worker", "--drain")
    assert known("status", first["instance"], "--json").json["output"] == {"a": {"who": "Ada"}}
    assert "No trigger takes 'invoice.sent'" in known("emit", "invoice.sent").err
    known("triggers", "pause", "big")
    assert known("emit", "order.paid", "--json").json == []
    assert known("triggers", "resume", "big", "--json").json["state"] == "active"
    known("triggers", "remove", "big")
    assert known("triggers", "list", "--json").json == []
    assert check(db_url, [first["instance"]]) == []
