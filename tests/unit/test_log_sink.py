"""Log lines cannot be forged, flooded or read for secrets, and say which attempt they belong to."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from strataflow.engine.surroundings import CURRENT, AttemptRef
from strataflow.services.log_sink import RateLimit, as_json, as_text, redacted


def record(message: str, *args: Any, error: Exception | None = None, **extra: Any) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error is not None else None
    made = logging.LogRecord("strataflow.x", logging.WARNING, "x.py", 1, message, args, info)
    made.__dict__.update(extra)
    return made


def raised(text: str) -> Exception:
    try:
        raise ValueError(text)
    except ValueError as exc:
        return exc


def test_a_text_from_outside_stays_on_its_line() -> None:
    evil = "fine\nerror: forged\r\x1b[31mred\u2028more\x00"
    for text in (as_text(record("%s", evil), traceback=True), as_json(record("%s", evil))):
        assert text.isprintable()
        assert "forged" in text
    assert json.loads(as_json(record("%s", evil)))["message"] == evil
    shown = as_text(record("no", error=raised(evil)), traceback=True)
    assert all(line.isprintable() for line in shown.splitlines())
    assert not any(line.startswith("error: forged") for line in shown.splitlines())


def test_a_record_has_a_size() -> None:
    text = as_json(record("%s", "x" * 1_000_000, error=raised("y" * 1_000_000)))
    assert len(text) < 50_000
    assert "more)" in text
    extra = as_json(record("short", instance_id="z" * 100_000))
    assert len(extra) < 2_000


def test_what_looks_like_credentials_is_stars() -> None:
    secrets = [
        "Authorization: Bearer abcdefgh12345678",
        "postgresql://me:hunter22@host/db",
        "password=hunter22, and more",
        '{"api_key": "hunter22"}',
        f"the token sf1.main.{'0' * 32}.{'A' * 43}",
    ]
    for text in secrets:
        shown = redacted(text)
        assert "***" in shown, text
        assert "hunter22" not in shown
        assert "abcdefgh" not in shown
        assert "A" * 43 not in shown
    assert redacted("the password is asked for; see https://host/path:1@x") != ""
    assert redacted("12 tasks of queue billing") == "12 tasks of queue billing"


def test_a_record_of_an_attempt_says_which_and_keeps_its_secrets() -> None:
    ref = AttemptRef("i-1", "a.b", 2, "t.x", "flow", "e-1", lambda text: text.replace("hunter22", "***"))
    token = CURRENT.set(ref)
    try:
        found = json.loads(as_json(record("it is hunter22", error=raised("hunter22"), path="other")))
        line = as_text(record("it is hunter22"), traceback=False)
    finally:
        CURRENT.reset(token)
    assert "hunter22" not in json.dumps(found) + line
    assert (found["instance_id"], found["attempt"], found["executor"]) == ("i-1", 2, "t.x")
    assert found["path"] == "other"
    assert line.endswith("[instance_id=i-1 path=a.b attempt=2 executor=t.x]")


def test_a_flood_is_cut_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("strataflow.services.log_sink.time.monotonic", lambda: now[0])
    limit = RateLimit(rate=10.0, burst=5)
    assert [limit.filter(record("x")) for _ in range(8)] == [True] * 5 + [False] * 3
    failure = record("x")
    failure.levelno = logging.ERROR
    assert limit.filter(failure)
    assert json.loads(as_json(failure))["dropped"] == 3
    now[0] = 1.0
    later = record("x")
    assert limit.filter(later)
    assert "dropped" not in json.loads(as_json(later))


def test_without_tracing_nothing_is_looked_up() -> None:
    assert "trace_id" not in json.loads(as_json(record("x")))
