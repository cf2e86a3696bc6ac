"""The engine that delivers is killed in the middle: another delivers the same again, under the same id."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from strataflow.engine.vault import new_master_key
from strataflow.repositories.webhook_tables import DELIVERIES
from strataflow.services.webhooks import WebhookService, WebhookSpec
from tests.integration.kit import Flow, until
from tests.integration.webhook_kit import Receiver, receiving
from tests.support.cli import Cli

NODES = {"a": {"run": "core.noop"}}


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", new_master_key("k1"))
    monkeypatch.setenv("STRATAFLOW_EGRESS_ALLOW", "127.0.0.0/8")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def cli(db_url: str, tmp_path: Path) -> Iterator[Cli]:
    made = Cli(db_url, tmp_path)
    yield made
    made.close()


@pytest.mark.long("sqlite")
@pytest.mark.crash
@pytest.mark.slow
def test_kill_in_the_middle_of_a_delivery(flow: Flow, cli: Cli, receiver: Receiver) -> None:
    gate = threading.Event()
    receiver.answer = lambda _: gate.wait() and 200
    service = WebhookService(flow.database)
    made = service.create(WebhookSpec("hook", receiver.url, ["instance.completed"]), "ana")
    ran = cli("start", cli.flow(NODES), "--json")
    worker = cli.spawn("worker")
    receiver.wait(1)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    gate.set()
    (waiting,) = service.deliveries("hook")
    assert (waiting.state, waiting.attempts) == ("pending", 1)
    with flow.database.write() as session:  # as if the claim's time were over
        session.execute(update(DELIVERIES).values(due_at=1))
    flow.open()
    until(lambda: service.delivery("hook", waiting.id).state == "delivered")
    assert service.delivery("hook", waiting.id).attempts == 2
    first, second = receiver.got
    assert (first.id, first.body) == (second.id, second.body)
    assert first.id == waiting.id
    assert all(got.signed_by(made.secret) for got in receiver.got)
    assert ran.json["id"] in first.body.decode()


@pytest.mark.long("sqlite")
@pytest.mark.crash
@pytest.mark.slow
def test_kill_again_and_again_and_every_event_comes(flow: Flow, cli: Cli, receiver: Receiver) -> None:
    """Engines die while they read the feed, claim and send: none is lost, and what comes twice has one id."""
    service = WebhookService(flow.database)
    service.create(WebhookSpec("hook", receiver.url, ["instance.completed"]), "ana")
    file = cli.flow(NODES)
    ids = [cli("start", file, "--json").json["id"] for _ in range(6)]
    for _ in range(2):
        before = len(receiver.got)
        worker = cli.spawn("worker")
        until(lambda: len(receiver.got) > before or worker.poll() is not None)  # noqa: B023 - called in this turn
        assert worker.poll() is None, worker.communicate()
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        if all(each.state == "delivered" for each in service.deliveries("hook")):
            break
        with flow.database.write() as session:
            pending = DELIVERIES.c.state == "pending"
            session.execute(update(DELIVERIES).where(pending).values(due_at=1))
    flow.open()
    until(lambda: len({got.id for got in receiver.got}) == len(ids))
    assert {got.json["data"]["instance_id"] for got in receiver.got} == set(ids)
    assert len(list(service.deliveries("hook"))) == len(ids)
