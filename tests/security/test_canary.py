"""One value for each kind of secret, put through every door there is, and looked for everywhere afterwards (R10)."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from strataflow.engine.errors import EngineError
from strataflow.engine.vault import new_master_key
from strataflow.services.container import Options
from strataflow.services.namespaces import Namespaces
from strataflow.services.telemetry import TelemetryOptions
from tests.graphql.conftest import asking
from tests.integration import test_secrets
from tests.integration.kit import Flow, until
from tests.integration.test_secrets import CANARY, Lines
from tests.live.conftest import sse
from tests.rest.conftest import Serve, Served
from tests.rest.test_gate import routes
from tests.rest.test_metrics import Watched, watched

__all__ = ["watched"]

PASSWORD = "p4ssw0rd-c4n4ry"
LEAKY = """
from strataflow import ExecutorDomain

domain = ExecutorDomain("leaky")

@domain.executor("say")
def say(ctx, config):
    ctx.log("info", f"I have {config}")
    raise RuntimeError(f"no luck with {config}")
"""
TOLD = {"on_error": [{"continue": True}]}
SPENDS: dict[str, Any] = {
    "dsl": "1",
    "name": "spends",
    "nodes": {
        "say": {"run": "leaky.say", "with": {"auth": "Bearer {{ secrets.bank }}"}, **TOLD},
        "env": {"run": "leaky.say", "with": "{{ secrets.vendor }}", **TOLD},
        "url": {"run": "http.request", "with": {"url": "http://127.0.0.1:9/{{ secrets.bank }}"}, **TOLD},
        "keep": {"run": "core.noop", "with": "{{ secrets.bank | length }}"},
    },
}
DEEP = """{ instances(first: 10) { nodes { id state error inputs output definition { document }
 tasks { nodes { path input output error logs { nodes { message } } } } history { nodes { reason } }
 logs { nodes { message } } events { nodes { name } } } } }"""


class Hunt:
    """What is not to be found, and everything that somebody was told."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {"a stored value": CANARY, "the database's password": PASSWORD}
        self.heard: list[str] = []

    def forms(self) -> dict[str, str]:
        """Each as it is and packed; a part of it is as bad."""
        found: dict[str, str] = {}
        for name, text in self.secrets.items():
            raw = text.encode()
            for form in (text[:12], text[-12:], raw.hex(), base64.b64encode(raw).decode()[:16]):
                found[form] = name
        return found

    def hits(self, texts: list[str]) -> list[str]:
        forms = self.forms()
        return [f"{name}: …{text[:200]}" for text in texts for form, name in forms.items() if form in text]


@pytest.fixture
def lines() -> Iterator[list[Lines]]:
    """Give everything that this process logs of itself and its server."""
    made = [(logging.getLogger(name), Lines()) for name in ("strataflow", "uvicorn")]
    levels = [logger.level for logger, _ in made]
    for logger, handler in made:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield [handler for _, handler in made]
    for (logger, handler), level in zip(made, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.fixture
def db_url(db_url: str) -> str:
    """Give a database whose address has a password, where it can have one."""
    parts = urlsplit(db_url)
    if parts.scheme == "sqlite":
        return db_url
    user, _, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0] or "postgres"
    return urlunsplit(parts._replace(netloc=f"{name}:{PASSWORD}@{host}"))


def test_no_secret_is_found_anywhere(
    serve: Serve,
    tmp_path: Path,
    lines: list[Lines],
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hunt, module = Hunt(), tmp_path / "leaky.py"
    module.write_text(LEAKY)
    master = new_master_key("k1")
    hunt.secrets["the master key"] = master.partition(":")[2]
    hunt.secrets["a variable"] = "v3ndor-c4n4ry-of-the-environment"
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", master)
    monkeypatch.setenv("STRATAFLOW_SECRET_VENDOR", hunt.secrets["a variable"])
    options = {
        "imports": (str(module),),
        "egress_allow": ("127.0.0.0/8",),
        "watches": True,
        "telemetry": TelemetryOptions(),
    }
    with serve(options=options, telemetry=watched.telemetry) as api:
        token = api.token()
        hunt.secrets["a key"] = token.rpartition(".")[2]
        ids = _use(api, token, hunt)
        _ask(api, token, hunt, ids)
        hunt.heard += [api.client.get("/metrics", headers={"Authorization": f"Bearer {token}"}).text]
    spans = [span.to_json() for span in watched.exporter.get_finished_spans()]
    logged = [text for each in lines for text in each.texts]
    assert any("no luck with" in text for text in hunt.heard)  # what is told is told, but for the value
    assert spans
    assert logged
    assert hunt.hits([*hunt.heard, *spans, *logged]) == []
    flow = Flow(api.urls["main"])
    monkeypatch.setattr(test_secrets, "FORMS", tuple(hunt.forms()))
    assert test_secrets.places(flow) == []
    flow.database.close()
    assert hunt.hits(["x" + next(iter(hunt.forms()))]) != []  # the search finds what it looks for


def _use(api: Served, token: str, hunt: Hunt) -> list[str]:
    """Put them in; gives the runs that had them."""
    said: list[Any] = [
        api("PUT", "/secrets/bank", token=token, json={"value": CANARY}, status=200),
        api("PUT", "/secrets/bank", token=token, json={"value": CANARY, "more": CANARY}, status=422),
        api("PUT", "/secrets/bank", token=token, json={"value": [CANARY]}, status=422),
    ]
    hook = {"name": "hook", "url": "http://127.0.0.1:9/hook", "events": ["instance.*"]}
    made = api("POST", "/webhooks", token=token, json=hook, status=201).json()
    hunt.secrets["a signing secret"] = made["secret"].removeprefix("whsec_")
    again = api("POST", "/webhooks/hook/rotate", token=token, json={}, status=201).json()
    hunt.secrets["its successor"] = again["secret"].removeprefix("whsec_")
    key = api("POST", "/keys", token=token, json={"name": "ci", "scopes": ["read:*"]}, status=201).json()
    hunt.secrets["a key made by a key"] = key["token"].rpartition(".")[2]
    wrong = token[:-4] + "AAAA"
    said += [
        api("GET", "/instances", token=wrong, status=401),
        api("GET", f"/instances?token={wrong}", status=401),
        api("POST", "/definitions", token=token, json={"definition": SPENDS}, status=201),
    ]
    run = api("POST", "/instances?wait=60s", token=token, json={"definition": "spends"}, status=201)
    said.append(run)
    assert run.json()["state"] == "completed", run.text
    until(lambda: api("GET", "/webhooks/hook/deliveries", token=token).json()["items"] != [])
    hunt.heard += [each.text for each in said]
    return [run.json()["id"]]


def _ask(api: Served, token: str, hunt: Hunt, ids: list[str]) -> None:
    """Read everything that can be read, in every way."""
    names = {"{version}": "1", "{path}": "say", "{operation}": "pause", "{task_id}": ids[0]}
    for method, path, _ in routes(api):
        if method != "GET" or path.endswith("/stream"):
            continue
        name = "hook" if path.startswith("/webhooks") else "default" if "/queues" in path else "spends"
        asked = path
        for placeholder, value in {**names, "{id}": ids[0], "{name}": name}.items():
            asked = asked.replace(placeholder, value)
        found = api("GET", asked, token=token)
        assert found.status_code != 500, asked
        hunt.heard.append(found.text)
    answer = asking(api, token)(DEEP, errors=True)
    assert answer["data"]["instances"]["nodes"], answer
    hunt.heard.append(str(answer))
    with sse(api.client.base_url, token, after="0") as stream:
        for frame in stream:
            hunt.heard.append(str(frame))
            if isinstance(frame.data, dict) and frame.data.get("name") == "instance.completed":
                break


def test_a_database_that_is_not_there_is_told_without_its_password() -> None:
    url = f"postgresql://flows:{PASSWORD}@127.0.0.1:9/flows"
    with pytest.raises(EngineError) as caught, Namespaces({"main": url}, Options()):
        pass
    said = f"{caught.value} {caught.value!r} {caught.value.message} {caught.value.hint}"
    assert PASSWORD not in said
    assert "127.0.0.1" in said
