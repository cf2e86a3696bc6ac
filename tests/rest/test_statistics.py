"""Statistics through HTTP: of a span of time, and counted anew."""

from __future__ import annotations

from tests.rest.conftest import HELLO, Served


def started(api: Served, token: str, **query: str) -> int:
    found = api("GET", "/statistics", token=token, status=200, params=query).json()
    return int(found["total"]["started"])


def test_statistics_of_a_span_and_begun_anew(api: Served, token: str) -> None:
    api("POST", "/instances?wait=30s", token=token, status=201, json={"definition": HELLO})
    assert started(api, token) == 1
    assert started(api, token, since="1h") == 1
    assert started(api, token, queue="other") == 0
    since = api("POST", "/statistics/reset", token=token, status=200).json()["since"]
    found = api("GET", "/statistics", token=token, status=200).json()
    assert (found["since"], found["total"]["started"]) == (since, 0)


def test_a_span_that_is_none_is_refused(api: Served, token: str) -> None:
    problem = api("GET", "/statistics", token=token, status=422, params={"since": "soon"}).json()
    assert problem["errors"][0]["pointer"] == "/query/since"


def test_counting_anew_needs_its_scope(api: Served) -> None:
    reader = api.token("read:*")
    problem = api("POST", "/statistics/reset", token=reader, status=403).json()
    assert "admin:statistics" in problem["hint"]
