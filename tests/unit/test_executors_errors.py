"""From an exception to the stored error (DSL rule 25)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from strataflow.executors.errors import (
    AttemptCancelled,
    AttemptTimeout,
    ConfigRefused,
    ExecutorError,
    NonRetryable,
    UnknownExecutor,
    error_from_exception,
)


class BankError(ExecutorError):
    pass


class DeclinedError(BankError):
    retryable = False


class CodedError(BankError):
    code = "Coded"


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("exc", "codes"),
    [
        (BankError("x"), ("bank.BankError",)),
        (DeclinedError("x"), ("bank.DeclinedError", "bank.BankError")),
        (NonRetryable("x"), ("bank.NonRetryable",)),
        (ExecutorError("x"), ("bank.ExecutorError",)),
        (Exception("x"), ("bank.Exception",)),
        (ValueError("x"), ("bank.ValueError",)),
        (
            ConnectionRefusedError("x"),
            ("bank.ConnectionRefusedError", "bank.ConnectionError", "bank.OSError"),
        ),
        (KeyError("x"), ("bank.KeyError", "bank.LookupError")),
        (BankError("x", code="Late"), ("bank.Late", "bank.BankError")),
        (ExecutorError("x", code="Late"), ("bank.Late",)),
        (ExecutorError("x", code="card.Late"), ("card.Late",)),
        (CodedError("x"), ("bank.Coded", "bank.CodedError", "bank.BankError")),
        (ConfigRefused("bank.charge", [("/amount", "must be positive")]), ("config",)),
        (AttemptTimeout(2), ("timeout",)),
        (AttemptCancelled("x"), ("cancelled",)),
        (UnknownExecutor("x"), ("no_executor",)),
    ],
)
def test_codes_are_the_class_and_its_bases_within_the_domain(exc: Exception, codes: tuple[str, ...]) -> None:
    error = error_from_exception(exc, "bank")
    assert error.codes == codes
    assert error.code == codes[0]


@pytest.mark.parametrize(
    ("exc", "retryable"),
    [
        (ValueError(), True),
        (ExecutorError("x"), True),
        (ExecutorError("x", retryable=False), False),
        (NonRetryable("x"), False),
        (NonRetryable("x", retryable=True), True),
        (DeclinedError("x"), False),
        (ConfigRefused("a.b", []), False),
        (UnknownExecutor("x"), False),
        (AttemptTimeout(1), True),
    ],
)
def test_whether_trying_again_may_help(*, exc: Exception, retryable: bool) -> None:
    assert error_from_exception(exc, "d").retryable is retryable


@pytest.mark.parametrize(
    ("details", "kept"),
    [
        ({"a": [1, None, "é"]}, {"a": [1, None, "é"]}),
        ((1, 2), [1, 2]),
        (object(), None),
        (float("nan"), None),
        ("\ud800", None),
        (["x" * 70_000], None),
        ([10**5000], None),
    ],
)
def test_details_are_kept_if_they_are_json(details: Any, kept: Any) -> None:
    assert error_from_exception(ExecutorError("x", details=details), "d").details == kept


def test_details_that_contain_themselves_are_dropped() -> None:
    details: list[Any] = []
    details.append(details)
    assert error_from_exception(ExecutorError("x", details=details), "d").details is None


def test_a_subclass_that_does_not_call_its_base_still_gives_an_error() -> None:
    class OwnError(ExecutorError):
        def __init__(self, card: str) -> None:
            Exception.__init__(self, f"card {card}")

    error = error_from_exception(OwnError("7"), "bank")
    assert (error.message, error.retryable, error.details) == ("card 7", True, None)


@pytest.mark.parametrize("char", ["x", "é", "😀"])
def test_a_long_message_keeps_its_start(char: str) -> None:
    message = error_from_exception(ValueError(char * 100_000), "d").message
    assert len(message.encode()) <= 4096
    assert message.startswith(char * 1000)
    assert message.endswith("…")


@pytest.mark.parametrize(("text", "kept"), [("a\0b", "a\\x00b"), ("a\ud800b", "a\\ud800b")])
def test_a_message_can_always_be_stored(text: str, kept: str) -> None:
    assert error_from_exception(ValueError(text), "d").message == kept


def test_an_empty_or_unreadable_message_is_replaced() -> None:
    assert error_from_exception(ValueError(), "d").message == "ValueError"
    assert "no readable message" in error_from_exception(UnreadableError(), "d").message


def _recurse() -> None:
    _recurse()


def test_the_traceback_ends_with_the_failing_line() -> None:
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.loads("{")
    trace = error_from_exception(caught.value, "d").traceback
    assert trace is not None
    assert "json.loads" in trace
    assert trace.rstrip().endswith("(char 1)")


def test_a_deep_traceback_is_capped_at_its_end() -> None:
    with pytest.raises(RecursionError) as caught:
        _recurse()
    trace = error_from_exception(caught.value, "d").traceback
    assert trace is not None
    assert len(trace.encode()) <= 8192
    assert "RecursionError" in trace


def test_engine_conditions_have_no_traceback() -> None:
    assert error_from_exception(AttemptTimeout(1), "d").traceback is None


def test_a_refused_config_names_every_place() -> None:
    error = error_from_exception(ConfigRefused("a.b", [("/x", "is bad"), ("", "is odd")]), "a")
    assert error.message == "the config does not fit a.b: /x: is bad; /: is odd"
    assert error.details == [{"pointer": "/x", "message": "is bad"}, {"pointer": "", "message": "is odd"}]
