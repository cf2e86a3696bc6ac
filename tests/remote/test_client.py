"""The client of a server: what it sends, what it tries again, and what it makes of answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx
import pytest

from strataflow.engine import errors
from strataflow.engine.errors import EngineError
from strataflow.services.remote.client import Remote, Target, at, server_url
from strataflow.services.remote.problems import (
    Forbidden,
    NotUnderstood,
    ServerFailed,
    TooFast,
    Unauthenticated,
)
from strataflow.services.remote.records import duration, instant, moment, revive

Answer = httpx.Response | httpx.TransportError


class Server:
    """Gives answers in turn and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.asked: list[httpx.Request] = []
        self.slept: list[float] = []
        self._answers = iter(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = next(self._answers)
        if isinstance(answer, httpx.TransportError):
            raise answer
        return answer

    def remote(self, token: str | None = "t") -> Remote:
        target = Target("http://server", token)
        return Remote(target, transport=httpx.MockTransport(self), sleep=self.slept.append)


def problem(status: int, code: str, detail: str = "no", **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    return httpx.Response(status, json={"code": code, "detail": detail, **more}, headers=headers)


def ok(value: Any = None, **more: Any) -> httpx.Response:
    return httpx.Response(200, json=value, **more)


def keys(server: Server) -> set[str | None]:
    return {each.headers.get("idempotency-key") for each in server.asked}


# --- what is sent


def test_a_call_carries_the_token_and_reaches_the_interface() -> None:
    server = Server(ok({"a": 1}))
    found = server.remote().get(
        at("instances", "a/b ü#"), {"name": "x", "none": None, "many": ["1", "2"], "flag": True}
    )
    (asked,) = server.asked
    assert found == {"a": 1}
    assert str(asked.url) == "http://server/api/v1/instances/a%2Fb%20%C3%BC%23?name=x&many=1&many=2&flag=true"
    assert asked.headers["authorization"] == "Bearer t"


def test_without_a_token_nothing_is_claimed() -> None:
    server = Server(ok({}))
    server.remote(None).get("/version")
    assert "authorization" not in server.asked[0].headers


def test_the_token_is_in_no_text_of_the_target() -> None:
    assert "secret" not in repr(Target("http://server", "secret"))


def test_pages_are_followed_to_the_limit() -> None:
    server = Server(ok({"items": [{"n": 1}, {"n": 2}], "next": "c"}), ok({"items": [{"n": 3}], "next": None}))
    assert [each["n"] for each in server.remote().pages("/list", {"name": "x"}, limit=3)] == [1, 2, 3]
    assert [dict(each.url.params) for each in server.asked] == [
        {"name": "x", "limit": "3"},
        {"name": "x", "limit": "3", "after": "c"},
    ]


def test_what_is_no_json_is_refused_before_it_is_sent() -> None:
    server = Server()
    with pytest.raises(errors.RequestError, match="no JSON"):
        server.remote().send("POST", "/x", {"n": float("nan")})
    assert not server.asked


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://host:8080", "http://host:8080"),
        ("https://host/flows/", "https://host/flows"),
        ("https://host/api/v1", "https://host"),
        ("https://host/flows/api/v1/", "https://host/flows"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    assert server_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host:80",
        "ftp://host",
        "http://",
        "http://host:99999",
        "http://host?x=1",
        "sqlite:///a.db",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(errors.RequestError, match="no address"):
        server_url(text)


def test_an_address_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(errors.RequestError) as refused:
        server_url("https://me:hidden@host")
    assert "hidden" not in str(refused.value)


# --- what is tried again


def test_a_read_is_tried_again_while_nobody_answers() -> None:
    server = Server(httpx.ConnectError("refused"), httpx.ReadError("gone"), ok({}))
    assert server.remote().get("/x", patience_s=60) == {}
    assert server.slept == [0.1, 0.2]


def test_whoever_has_no_patience_is_told_at_once() -> None:
    server = Server(httpx.ConnectError("refused"))
    with pytest.raises(errors.DatabaseUnavailable, match="http://server does not answer: refused"):
        server.remote().get("/x", patience_s=0)
    assert not server.slept


def test_a_write_is_tried_again_under_one_key_and_two_writes_have_two() -> None:
    server = Server(httpx.ReadTimeout("slow"), ok({"id": 1}), ok({"id": 2}))
    remote = server.remote()
    assert remote.send("POST", "/x", {"a": 1}) == {"id": 1}
    first, second = server.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.content == second.content
    remote.send("POST", "/x", {"a": 1})
    assert len(keys(server)) == 2


def test_an_answer_with_a_secret_is_asked_for_once() -> None:
    server = Server(httpx.ReadTimeout("slow"))
    with pytest.raises(errors.DatabaseUnavailable):
        server.remote().send("POST", "/keys", {}, keyed=False)
    assert keys(server) == {None}
    server = Server(httpx.ConnectError("refused"), ok({}))  # it cannot have arrived
    assert server.remote().send("POST", "/keys", {}, keyed=False) == {}


@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "too_many_requests"), (503, "stopped"), (503, "database"), (409, "in_progress")],
)
def test_who_is_told_to_come_later_comes_later(status: int, code: str) -> None:
    server = Server(problem(status, code, headers={"Retry-After": "7"}), ok({}))
    assert server.remote().send("POST", "/x") == {}
    assert server.slept == [7.0]
    assert len(keys(server)) == 1


def test_patience_with_a_busy_server_ends() -> None:
    server = Server(*(problem(429, "too_many_requests", headers={"Retry-After": "9000"}) for _ in range(5)))
    with pytest.raises(TooFast):
        server.remote().get("/x")
    assert server.slept == [30.0] * 4


@pytest.mark.parametrize(
    ("status", "code"), [(429, "queue_full"), (409, "conflict"), (500, "internal"), (404, "not_found")]
)
def test_what_will_not_change_is_told_at_once(status: int, code: str) -> None:
    server = Server(problem(status, code, headers={"Retry-After": "1"} if status == 429 else {}))
    with pytest.raises(EngineError):
        server.remote().get("/x")
    assert not server.slept


def test_a_balancer_without_a_server_is_asked_again() -> None:
    gone = [httpx.Response(status, text="<html>") for status in (502, 503, 504)]
    server = Server(*gone, ok({}))
    assert server.remote().send("POST", "/x") == {}
    with pytest.raises(errors.DatabaseUnavailable, match="it answers 502"):
        Server(httpx.Response(502)).remote().get("/x", patience_s=0)


def test_a_redirect_is_not_followed() -> None:
    server = Server(httpx.Response(307, headers={"Location": "http://elsewhere/"}))
    with pytest.raises(NotUnderstood, match="307"):
        server.remote().get("/x")
    assert len(server.asked) == 1


# --- what answers mean


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "not_found", errors.NotFound),
        (409, "conflict", errors.Conflict),
        (409, "illegal_transition", errors.IllegalTransition),
        (429, "queue_full", errors.QueueFull),
        (422, "payload", errors.PayloadError),
        (422, "expression", errors.ExpressionError),
        (422, "request", errors.RequestError),
        (422, "cursor", errors.RequestError),
        (413, "too_large", errors.RequestError),
        (504, "wait_timeout", errors.WaitTimeout),
        (403, "forbidden", Forbidden),
        (401, "unauthenticated", Unauthenticated),
        (500, "internal", ServerFailed),
    ],
)
def test_problems_become_the_errors_of_the_engine(status: int, code: str, kind: type[EngineError]) -> None:
    server = Server(problem(status, code, "it is so.", hint="Do that."))
    with pytest.raises(kind) as raised:
        server.remote().get("/x")
    assert "it is so." in str(raised.value)
    assert isinstance(raised.value, kind)


def test_a_refused_definition_has_all_its_problems() -> None:
    wrong = [
        {"pointer": "/nodes/a", "code": "cycle", "detail": "a waits for itself", "hint": "cut it"},
        {"pointer": "", "code": "x", "detail": "y"},
    ]
    server = Server(problem(422, "definition", "definition 'one' has 2 problems:", errors=wrong))
    with pytest.raises(errors.DefinitionError) as raised:
        server.remote().get("/x")
    here = errors.DefinitionError(
        [errors.Problem("/nodes/a", "cycle", "a waits for itself", "cut it"), errors.Problem("", "x", "y")],
        name="one",
    )
    assert (str(raised.value), raised.value.problems) == (str(here), here.problems)


def test_refused_inputs_have_their_pointers() -> None:
    wrong = [{"pointer": "/n", "code": "wrong_type", "detail": "no number"}]
    server = Server(problem(422, "inputs", "the inputs do not fit the definition:", errors=wrong))
    with pytest.raises(errors.InputError, match="/n: no number"):
        server.remote().get("/x")


def test_a_form_that_is_refused_says_where() -> None:
    wrong = [{"pointer": "/body/inputs", "code": "missing", "detail": "Field required"}]
    server = Server(problem(422, "request", "the request does not have the form.", errors=wrong))
    with pytest.raises(errors.RequestError, match="/body/inputs: Field required"):
        server.remote().get("/x")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, text="<html>nothing here</html>"),
        httpx.Response(200, text="<html>welcome</html>"),
        httpx.Response(404, json=["a list"]),
        httpx.Response(404, json={"detail": "Not Found"}),
    ],
    ids=["page", "welcome", "list", "another"],
)
def test_another_service_is_told_as_such(answer: httpx.Response) -> None:
    with pytest.raises(NotUnderstood, match=r"not as Strataflow does.*without /api/v1"):
        Server(answer).remote().get("/x")


def test_a_call_that_the_server_does_not_know() -> None:
    with pytest.raises(NotUnderstood, match="older release"):
        Server(problem(404, "not_found", "Not Found")).remote().get("/x")


def test_an_unknown_error_of_the_server_names_where_its_log_has_it() -> None:
    with pytest.raises(ServerFailed, match="r-1"):
        Server(problem(500, "internal", "a defect.", request_id="r-1")).remote().get("/x")


# --- records


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Inner:
    n: int


@dataclass(frozen=True, slots=True)
class Outer:
    at: int
    colour: Colour
    inner: Inner | None
    many: tuple[Inner, ...]
    text: str
    until: int | None = None
    more: dict[str, Any] = field(default_factory=dict[str, Any])


def test_records_come_back_as_they_were() -> None:
    given = {
        "at": "2026-11-21T13:23:39.967983Z",
        "colour": "red",
        "inner": {"n": 1},
        "many": [{"n": 2}],
        "text": "2026-11-21T13:23:39Z",
        "until": None,
        "stranger": 1,
    }
    found = revive(Outer, given)
    assert found == Outer(1_795_267_419_967_983, Colour.RED, Inner(1), (Inner(2),), "2026-11-21T13:23:39Z")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"at": "never", "colour": "red"},
        {"at": 1, "colour": "blue", "inner": None, "many": [], "text": ""},
    ],
)
def test_an_answer_of_another_release_is_told_as_such(given: dict[str, Any]) -> None:
    with pytest.raises(NotUnderstood, match="no Outer"):
        revive(Outer, given)


@pytest.mark.parametrize("at_us", [0, 1, 1_795_267_419_967_983, 999_999])
def test_instants_keep_their_microseconds(at_us: int) -> None:
    assert instant(moment(at_us)) == at_us


def test_durations_keep_their_microseconds() -> None:
    from strataflow.engine.durations import parse_duration

    for seconds in (0.0, 0.25, 3600.0, 0.000001, 86_400 * 365.0):
        assert parse_duration(duration(seconds)) == round(seconds * 1_000_000)
