"""Webhooks on both databases: signed, retried, given up, redelivered; each event once, by whatever engine."""

from __future__ import annotations

import logging
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from strataflow.engine import webhooks as module
from strataflow.engine.errors import Conflict, InputError, NotFound, RequestError
from strataflow.engine.feed import EventFeed
from strataflow.engine.vault import VaultError, new_master_key
from strataflow.engine.webhook_sending import Sender
from strataflow.executors.egress import Egress
from strataflow.repositories import webhook_store
from strataflow.repositories.webhook_tables import DELIVERIES, WEBHOOKS
from strataflow.services.secrets import SecretService
from strataflow.services.webhooks import NewWebhook, WebhookService, WebhookSpec
from tests.integration.kit import Doc, Flow, until
from tests.integration.webhook_kit import Got, Receiver, receiving
from tests.support.cli import Cli

OLD, NEW = new_master_key("old"), new_master_key("new")
NODES: Doc = {"a": {"run": "t.echo", "with": 1}}
LOOPBACK = ("127.0.0.0/8",)


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", OLD)
    monkeypatch.setenv("STRATAFLOW_EGRESS_ALLOW", "127.0.0.0/8")
    monkeypatch.setattr(module, "_IDLE_S", 0.05)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.01, 0.01, 0.01))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def service(flow: Flow) -> WebhookService:
    return WebhookService(flow.database)


def hook(
    service: WebhookService, receiver: Receiver, *events: str, name: str = "hook", **more: Any
) -> NewWebhook:
    wanted = events or ("instance.completed",)
    return service.create(WebhookSpec(name, f"{receiver.url}/{name}", wanted, **more), "ana")


def settled(service: WebhookService, count: int, name: str = "hook") -> list[Any]:
    """Wait until so many deliveries have ended; gives them, the oldest first."""

    def ended() -> list[Any]:
        found = [each for each in service.deliveries(name) if each.state != "pending"]
        return found[::-1] if len(found) >= count else []

    found: list[Any] = until(ended)
    return found


# --- what comes


def test_an_event_comes_signed_with_all_it_tells(
    flow: Flow, service: WebhookService, receiver: Receiver
) -> None:
    made = hook(service, receiver, "instance.completed", "task.*")
    assert made.secret.startswith("whsec_")
    instance_id = flow.start(NODES)
    flow.wait(instance_id)
    (got,) = receiver.wait(1, "instance.completed")
    assert got.signed_by(made.secret)
    assert (got.path, got.headers["content-type"]) == ("/hook", "application/json")
    (event,) = [e for e in EventFeed(flow.database).read(0).events if e.name == "instance.completed"]
    assert got.json["data"] == event.as_dict()
    assert set(got.json) == {"type", "timestamp", "data"}
    delivery = until(lambda: service.delivery("hook", got.id).ended_at and service.delivery("hook", got.id))
    assert (delivery.id, delivery.seq, delivery.status, delivery.attempts) == (got.id, event.seq, 200, 1)
    assert service.delivery("hook", got.id).body == got.json
    assert {each.type for each in receiver.got} <= {
        "instance.completed",
        "task.running",
        "task.completed",
        "task.queued",
    }
    assert "strataflow" in got.headers["user-agent"]
    assert not {"cookie", "authorization"} & set(got.headers)


def test_only_what_fits_comes(flow: Flow, service: WebhookService, receiver: Receiver) -> None:
    before = flow.start(NODES)
    flow.wait(before)
    hook(service, receiver, name="all")
    hook(service, receiver, "instance.failed", name="failures")
    hook(service, receiver, name="mine", definition="mine")
    hook(service, receiver, "instance.*", name="off")
    service.disable("off")
    flow.wait(flow.start(NODES, name="mine"))
    flow.wait(flow.start(NODES, name="other"))
    assert len(settled(service, 2, "all")) == 2
    (only,) = settled(service, 1, "mine")
    assert service.delivery("mine", only.id).body["data"]["definition"] == "mine"
    assert (list(service.deliveries("failures")), list(service.deliveries("off"))) == ([], [])
    assert Counter(got.path for got in receiver.got) == {"/all": 2, "/mine": 1}


def test_two_engines_deliver_each_event_once(flow: Flow, service: WebhookService, receiver: Receiver) -> None:
    hook(service, receiver, "instance.*", "task.*")
    flow.open()
    flow.open()
    ids = [flow.start(NODES) for _ in range(20)]
    for instance_id in ids:
        flow.wait(instance_id)
    wanted = [
        e for e in EventFeed(flow.database).read(0).events if e.name.partition(".")[0] in {"instance", "task"}
    ]
    until(lambda: len(settled(service, 1)) == len(wanted))
    assert sorted(got.json["data"]["seq"] for got in receiver.got) == [event.seq for event in wanted]
    assert len({got.id for got in receiver.got}) == len(wanted)


# --- what does not come through


@pytest.mark.usefixtures("quick")
def test_a_failure_is_tried_again_under_the_same_id_and_signed_anew(
    flow: Flow, service: WebhookService, receiver: Receiver
) -> None:
    answers = iter([500, 302, 200])
    receiver.answer = lambda _: (next(answers), {"location": f"{receiver.url}/elsewhere"})
    made = hook(service, receiver)
    flow.wait(flow.start(NODES))
    (delivery,) = settled(service, 1)
    assert (delivery.state, delivery.attempts, delivery.status) == ("delivered", 3, 200)
    assert {(got.id, got.body, got.path) for got in receiver.got} == {
        (delivery.id, receiver.got[0].body, "/hook")
    }, "no redirect is followed"
    assert all(got.signed_by(made.secret) for got in receiver.got)
    assert service.get("hook").failing_since is None


@pytest.mark.usefixtures("quick")
def test_what_is_given_up_is_kept_and_can_be_sent_again(
    flow: Flow, service: WebhookService, receiver: Receiver
) -> None:
    receiver.answer = lambda _: 500
    hook(service, receiver)
    for _ in range(3):
        flow.wait(flow.start(NODES))
    dead = settled(service, 3)
    assert [(each.state, each.attempts, each.status) for each in dead] == [("dead", 4, 500)] * 3
    assert [each.id for each in service.deliveries("hook", state="dead")] == [e.id for e in dead[::-1]]
    found = service.get("hook")
    assert (found.state, found.dead, found.pending) == ("enabled", 3, 0)
    assert found.failing_since is not None
    receiver.answer = lambda _: 200
    assert service.redeliver("hook", dead[0].id).state == "pending"
    until(lambda: service.delivery("hook", dead[0].id).state == "delivered")
    assert service.delivery("hook", dead[0].id).attempts == 1
    assert service.redeliver_dead("hook") == 2
    until(lambda: [each.state for each in service.deliveries("hook")] == ["delivered"] * 3)
    by_id: dict[str, set[bytes]] = {}
    for got in receiver.got:
        by_id.setdefault(got.id, set()).add(got.body)
    assert set(by_id) == {each.id for each in dead}
    assert all(len(bodies) == 1 for bodies in by_id.values())
    service.redeliver("hook", dead[1].id)  # one that arrived may be sent again too
    until(lambda: Counter(got.id for got in receiver.got)[dead[1].id] == 6)


def test_410_disables_it_and_tells(flow: Flow, service: WebhookService, receiver: Receiver) -> None:
    receiver.answer = lambda _: 410
    hook(service, receiver, "instance.*")
    hook(service, receiver, "*", name="other")
    flow.wait(flow.start(NODES))
    until(lambda: service.get("hook").state == "disabled")
    assert "410" in (service.get("hook").problem or "")
    until(lambda: service.get("other").state == "disabled")
    told = [e for e in EventFeed(flow.database).read(0).events if e.name == "webhook.disabled"]
    assert sorted((e.data or {})["webhook"] for e in told) == ["hook", "other"]
    count = len(receiver.got)
    flow.wait(flow.start(NODES))
    assert not any(each.event.startswith("webhook.") for each in service.deliveries("other"))
    receiver.answer = lambda _: 200
    again = service.enable("hook")
    assert (again.state, again.problem, again.failing_since) == ("enabled", None, None)
    last = flow.start(NODES)
    flow.wait(last)
    until(
        lambda: any(g.type == "instance.completed" and last in g.body.decode() for g in receiver.got[count:])
    )


def test_no_success_for_days_disables_it(flow: Flow, service: WebhookService, receiver: Receiver) -> None:
    receiver.answer = lambda _: 500
    hook(service, receiver)
    long_ago = 1
    with flow.database.write() as session:
        session.execute(update(WEBHOOKS).values(failing_since=long_ago))
    flow.wait(flow.start(NODES))
    until(lambda: service.get("hook").state == "disabled")
    assert "5 days" in (service.get("hook").problem or "")


def test_the_pauses_grow_and_take_about_a_day() -> None:
    assert list(module.PAUSES_S) == sorted(module.PAUSES_S)
    assert 20 * 3600 < sum(module.PAUSES_S) < 26 * 3600
    answer = module.Answer(None, 500)  # pyright: ignore[reportArgumentType]
    drawn = [module._pause_s(1, answer) for _ in range(100)]
    assert len(set(drawn)) > 90
    assert all(4.4 < pause < 5.6 for pause in drawn)
    busy = module.Answer(None, 429, retry_after_s=3600)  # pyright: ignore[reportArgumentType]
    assert module._pause_s(1, busy) == 3600
    for_ever = module.Answer(None, 503, retry_after_s=1e9)  # pyright: ignore[reportArgumentType]
    assert module._pause_s(1, for_ever) == module.PAUSES_S[-1]


def test_a_receiver_that_never_answers_holds_up_nobody_else(
    flow: Flow, service: WebhookService, receiver: Receiver
) -> None:
    gate = threading.Event()

    def slow(got: Got) -> int:
        if got.path == "/slow":
            gate.wait()
        return 200

    receiver.answer = slow
    hook(service, receiver, "instance.*", "task.*", name="slow")
    hook(service, receiver, name="quick")
    try:
        for _ in range(10):
            flow.wait(flow.start(NODES))
        until(lambda: Counter(got.path for got in receiver.got)["/slow"] >= module._PER_WEBHOOK)
        assert len(settled(service, 10, "quick")) == 10
        assert Counter(got.path for got in receiver.got)["/slow"] == module._PER_WEBHOOK
    finally:
        gate.set()


# --- an engine goes


def test_what_an_engine_had_under_way_as_it_stopped_is_sent_by_another_at_once(
    flow: Flow, service: WebhookService, receiver: Receiver
) -> None:
    gate = threading.Event()
    receiver.answer = lambda _: gate.wait() and 200
    made = hook(service, receiver)
    flow.wait(flow.start(NODES))
    receiver.wait(1)
    flow.shut()
    (waiting,) = service.deliveries("hook")
    assert (waiting.state, waiting.attempts) == ("pending", 0)
    gate.set()
    flow.open()
    (delivery,) = settled(service, 1)
    assert (delivery.state, delivery.attempts) == ("delivered", 1)
    assert [got.id for got in receiver.got] == [delivery.id] * 2
    assert all(got.signed_by(made.secret) for got in receiver.got)


def test_an_answer_that_comes_after_the_claim_was_lost_is_dropped(
    flow: Flow, service: WebhookService, receiver: Receiver
) -> None:
    hook(service, receiver)
    with flow.database.write() as session:
        ((row, _),) = webhook_store.due(session)
        webhook_store.add_delivery(session, row.id, made={"id": row.id, "event": "x.y", "body": "{}"})
        (mine,) = webhook_store.claim(session, row.id, row.id, most=9, lease_us=-1)
        assert webhook_store.claim(session, row.id, row.id.replace("0", "1"), most=9, lease_us=10**9) != []
        assert not webhook_store.settle(session, row.id, mine.id, row.id, {"state": "delivered"})
        assert webhook_store.claim(session, row.id, row.id, most=9, lease_us=1) == [], "it is somebody's"


# --- where it may go


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "[::ffff:127.0.0.1]", "2130706433"]
)
def test_a_private_address_is_not_connected_to(
    flow: Flow, service: WebhookService, receiver: Receiver, host: str
) -> None:
    hook(service, receiver)
    url = receiver.url.replace("127.0.0.1", host) + "/token-in-the-path"
    with flow.database.write() as session:
        session.execute(update(WEBHOOKS).values(url=url))
    flow.open(egress_allow=())
    flow.wait(flow.start(NODES))
    (delivery,) = settled(service, 1)
    assert (delivery.state, delivery.status) == ("dead", None)
    assert "not public" in (delivery.error or "") or "Error" in (delivery.error or "")
    assert "token" not in (delivery.error or "")
    assert receiver.got == []


@pytest.mark.parametrize(
    "url",
    [
        *("http://10.0.0.1/x", "http://169.254.169.254/latest", "http://[::1]/", "http://localhost:1/"),
        *("ftp://example.org/", "/x", "", "http://", "http://user:pw@example.org/", "http://example.org/#x"),
        *("http://example.org/\n", "http://exämple.org/", "http://example.org/" + "x" * 2000, "http://[x]/"),
        *("http://example.org:99999/", "http://example.org:0/", "javascript:alert(1)"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused(flow: Flow, url: str) -> None:
    service = WebhookService(flow.database, egress=Egress())
    with pytest.raises(InputError) as caught:
        service.create(WebhookSpec("a", url, ["instance.*"]), "ana")
    assert [problem.pointer for problem in caught.value.problems] == ["/url"]
    assert "pw" not in str(caught.value)


def test_the_address_that_was_looked_at_is_the_one_that_is_connected_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that means something else a moment later leads nowhere else; the host's name is sent all the same."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, *more: Any, **named: Any) -> Any:
        asked.append(host)
        name = host.decode() if isinstance(host, bytes) else host
        first = len([each for each in asked if each == host]) == 1
        return real(
            ("127.0.0.1" if first else "127.9.9.9") if name == "rebind.test" else host, *more, **named
        )

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    answers: list[Any] = []
    done = threading.Event()
    sender = Sender(Egress(LOOPBACK), lambda answer: (answers.append(answer), done.set())[0])
    port = receiver.url.rpartition(":")[2]
    secret = "whsec_" + "A" * 32
    sender.send(module.Message("w", "d", "t", 1, f"http://rebind.test:{port}/", (secret,), b'{"type": "x"}'))
    assert done.wait(20)
    sender.stop()
    assert [answer.status for answer in answers] == [200]
    assert receiver.got[0].headers["host"] == f"rebind.test:{port}"
    assert asked.count("rebind.test") == 1


def test_a_wrong_setting_is_refused_at_the_start(flow: Flow) -> None:
    with pytest.raises(RequestError, match="10/x"):
        flow.open(egress_allow=("10/x",))


# --- secrets


def test_rotation_signs_with_both_while_they_overlap(
    flow: Flow, service: WebhookService, receiver: Receiver
) -> None:
    first = hook(service, receiver)
    second = service.rotate("hook", 3600)
    assert second.secret != first.secret
    flow.wait(flow.start(NODES))
    (got,) = receiver.wait(1)
    assert (got.signed_by(first.secret), got.signed_by(second.secret)) == (True, True)
    third = service.rotate("hook", 0)
    flow.wait(flow.start(NODES))
    got = receiver.wait(2)[1]
    assert [got.signed_by(each.secret) for each in (first, second, third)] == [False, False, True]
    assert service.get("hook").secret_version == 3


def test_a_new_master_key_takes_over_signing_secrets_too(
    flow: Flow, service: WebhookService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hook(service, receiver)
    second = service.rotate("hook")
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", f"{NEW},{OLD}")
    secrets = SecretService(flow.database)
    assert (secrets.rewrap(), secrets.rewrap()) == (2, 0)
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", NEW)
    flow.wait(flow.start(NODES))
    (got,) = receiver.wait(1)
    assert (got.signed_by(first.secret), got.signed_by(second.secret)) == (True, True)


def test_an_engine_without_the_key_leaves_it_to_one_that_has_it(
    flow: Flow,
    service: WebhookService,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = hook(service, receiver)
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", NEW)
    with caplog.at_level(logging.WARNING, "strataflow.webhooks"):
        flow.wait(flow.start(NODES))
        until(lambda: "cannot be signed here" in caplog.text)
    assert "'old'" in caplog.text
    (waiting,) = service.deliveries("hook")
    assert (waiting.state, waiting.attempts) == ("pending", 0)
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", OLD)
    assert receiver.wait(1)[0].signed_by(made.secret)


def test_no_answer_and_no_row_has_a_secret(
    flow: Flow, service: WebhookService, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "strataflow")
    first = hook(service, receiver)
    second = service.rotate("hook")
    flow.wait(flow.start(NODES))
    settled(service, 1)
    with flow.database.read() as session:
        rows = [*session.execute(select(WEBHOOKS)), *session.execute(select(DELIVERIES))]
    shown = [
        *map(str, rows),
        *(str(asdict(each)) for each in (*service.list(), service.get("hook"), *service.deliveries("hook"))),
        *(repr(first), caplog.text),
    ]
    for made in (first, second):
        assert not any(made.secret.removeprefix("whsec_")[:12] in text for text in shown)


def test_without_a_master_key_none_is_made(
    flow: Flow, service: WebhookService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRATAFLOW_MASTER_KEYS")
    with pytest.raises(VaultError):
        hook(service, receiver)
    assert list(service.list()) == []


# --- use cases


def test_changing_listing_and_deleting(flow: Flow, service: WebhookService, receiver: Receiver) -> None:
    hook(service, receiver, name="b")
    hook(service, receiver, name="a", definition="x")
    with pytest.raises(Conflict):
        hook(service, receiver, name="a")
    assert [each.name for each in service.list()] == ["a", "b"]
    changed = service.update("a", url=f"{receiver.url}/new", events=["task.*"])
    assert (changed.url, changed.events, changed.definition) == (f"{receiver.url}/new", ("task.*",), "x")
    assert service.update("a", definition=None).definition is None
    wrong: dict[str, Any]
    for wrong in (
        {"url": "x"},
        {"events": []},
        {"events": ["webhook.*"]},
        {"events": ["x.y"]},
        {"definition": ""},
    ):
        with pytest.raises(InputError):
            service.update("a", **wrong)
    flow.wait(flow.start(NODES))
    settled(service, 1, "a")
    service.delete("a")
    with flow.database.read() as session:
        of = [row.webhook_id for row in session.execute(select(DELIVERIES))]
    assert set(of) == {service.get("b").id}
    for call in (service.delete, service.get, service.enable, service.disable, service.rotate, service.test):
        for name in ("a", "", "\0", "a b"):
            with pytest.raises(NotFound):
                call(name)
    for ident in ("x", "01a1fd7d-264a-7742-8ce2-6c26d5a9227e"):
        with pytest.raises(NotFound):
            service.delivery("b", ident)


def test_a_test_comes_whatever_the_patterns(flow: Flow, service: WebhookService, receiver: Receiver) -> None:
    made = hook(service, receiver, "instance.failed")
    delivery = service.test("hook")
    assert (delivery.event, delivery.seq, delivery.state) == ("webhook.test", None, "pending")
    flow.open()
    (got,) = receiver.wait(1)
    assert (got.type, got.id, got.signed_by(made.secret)) == ("webhook.test", delivery.id, True)
    service.test("hook")
    settled(service, 2)
    service.disable("hook")
    with pytest.raises(Conflict):
        service.test("hook")


def test_old_deliveries_go(
    flow: Flow, service: WebhookService, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook(service, receiver)
    flow.wait(flow.start(NODES))
    settled(service, 1)
    monkeypatch.setattr(module, "_TIDY_S", 0.0)
    flow.wait(flow.start(NODES))
    assert len(settled(service, 2)) == 2
    with flow.database.write() as session:
        oldest = select(DELIVERIES.c.id).order_by(DELIVERIES.c.id).limit(1).scalar_subquery()
        session.execute(update(DELIVERIES).where(DELIVERIES.c.id == oldest).values(created_at=1))
    until(lambda: len(list(service.deliveries("hook"))) == 1)


def test_without_webhooks_a_round_is_one_look(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE_S", 3.0)
    reads: list[int] = []
    loop = module.Webhooks(flow.database, Egress(), poll_s=0.05)
    real = flow.database.read
    monkeypatch.setattr(flow.database, "read", lambda: (reads.append(1), real())[1])
    assert loop.run_once() == 3.0
    assert len(reads) == 1
    loop.close()


# --- command line and document


def test_the_command_line_does_it_all(flow: Flow, receiver: Receiver, db_url: str, tmp_path: Path) -> None:
    with closing(Cli(db_url, tmp_path)) as cli:
        made = cli("webhooks", "create", "hook", receiver.url, "--event", "instance.completed", "--json").json
        cli("webhooks", "create", "hook", receiver.url, code=1)
        cli("webhooks", "create", "x", "ftp://x", code=2)
        flow.wait(flow.start(NODES))
        (got,) = receiver.wait(1)
        assert got.signed_by(made["secret"])
        settled(WebhookService(flow.database), 1)
        listed = cli("webhooks", "deliveries", "hook", "--json").json
        assert [(each["id"], each["state"]) for each in listed] == [(got.id, "delivered")]
        assert got.id in cli("webhooks", "deliveries", "hook").out
        assert cli("webhooks", "deliveries", "hook", "--state", "dead", "--json").json == []
        assert cli("webhooks", "redeliver", "hook", got.id, "--json").json == {"redelivered": 1}
        assert cli("webhooks", "redeliver", "hook", "--dead", "--json").json == {"redelivered": 0}
        assert [each.id for each in receiver.wait(2)] == [got.id] * 2
        for wrong in ([], [got.id, "--dead"], ["x"]):
            cli("webhooks", "redeliver", "hook", *wrong, code=2)
        assert cli("webhooks", "change", "hook", "--event", "task.*", "--json").json["events"] == ["task.*"]
        cli("webhooks", "change", "hook", code=2)
        rotated = cli("webhooks", "rotate", "hook")
        assert rotated.out.startswith("whsec_")
        assert cli("webhooks", "disable", "hook", "--json").json["state"] == "disabled"
        cli("webhooks", "test", "hook", code=1)
        cli("webhooks", "enable", "hook")
        assert cli("webhooks", "test", "hook", "--json").json["event"] == "webhook.test"
        receiver.wait(1, "webhook.test")
        shown = cli("webhooks", "show", "hook").out + cli("webhooks", "list").out
        assert receiver.url in shown
        assert made["secret"] not in shown
        cli("webhooks", "delete", "hook")
        cli("webhooks", "show", "hook", code=2)


def test_the_documented_verification_accepts_what_comes(
    flow: Flow, service: WebhookService, receiver: Receiver
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    made = hook(service, receiver)
    service.rotate("hook")
    flow.wait(flow.start(NODES))
    (got,) = receiver.wait(1)
    assert names["is_genuine"](made.secret, got.headers, got.body)
    assert not names["is_genuine"](made.secret, got.headers, got.body + b" ")
    assert not names["is_genuine"]("whsec_" + "A" * 32, got.headers, got.body)
    assert not names["is_genuine"](made.secret, got.headers | {"webhook-timestamp": "1"}, got.body)


def test_the_documented_pauses_are_the_ones_that_are_made() -> None:
    text = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("| next in")]
    cells = [cell.strip() for cell in line.strip("|").split("|")[1:]]
    units = {"s": 1, "min": 60, "h": 3600}
    assert cells.pop() == "given up"
    assert [int(n) * units[unit] for n, unit in map(str.split, cells)] == list(module.PAUSES_S)
