"""The secrets store on both databases: engines use what it holds, and it is readable nowhere."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import select, update

from strataflow.engine.errors import InputError, NotFound
from strataflow.engine.stored_secrets import StoredSecrets
from strataflow.engine.tracing import Tracing
from strataflow.engine.vault import Vault, VaultError, new_master_key
from strataflow.repositories.secret_tables import SECRETS
from strataflow.services.secrets import LONGEST, SecretService
from tests.integration.kit import Flow, until
from tests.integration.test_secrets import CANARY, SECRET, Lines, error_of, places, take
from tests.integration.test_secrets import Vault as Takers
from tests.support.cli import Cli

OLD, NEW = new_master_key("old"), new_master_key("new")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", OLD)


@pytest.fixture
def takers(flow: Flow) -> Takers:
    made = Takers()
    made.register(flow)
    return made


@pytest.fixture
def store(flow: Flow) -> SecretService:
    return SecretService(flow.database)


@pytest.fixture
def logged() -> Iterator[Lines]:
    logger, handler = logging.getLogger("strataflow"), Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


# --- the use cases


def test_a_secret_is_listed_without_its_value(flow: Flow, store: SecretService) -> None:
    first = store.put("bank", CANARY, "ana")
    again = store.put("bank", CANARY + "2", "bob")
    store.put("a.other-1", "x", "ana")
    assert (first.version, again.version) == (1, 2)
    assert (again.created_by, again.updated_by, again.created_at) == ("ana", "bob", first.created_at)
    assert [(e.name, e.version, e.key_id) for e in store.list()] == [
        ("a.other-1", 1, "old"),
        ("bank", 2, "old"),
    ]
    assert [each.name for each in store.list("a.other-1")] == ["bank"]
    assert store.get("bank") == again
    assert not any(CANARY in str(each) for each in (first, again, *store.list()))
    assert places(flow) == []
    store.delete("bank")
    for call in (store.delete, store.get):
        with pytest.raises(NotFound):
            call("bank")


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a" * 129, "a/b", "é", "a\0", "\ud800"])
def test_a_name_that_no_definition_could_read_is_refused(store: SecretService, name: str) -> None:
    with pytest.raises(InputError):
        store.put(name, "x", "ana")
    for call in (store.get, store.delete):
        with pytest.raises(NotFound):
            call(name)


@pytest.mark.parametrize("value", ["", "x" * (LONGEST + 1), "é" * (LONGEST // 2 + 1), "\ud800" + CANARY])
def test_a_value_that_cannot_be_kept_is_refused_and_not_repeated(store: SecretService, value: str) -> None:
    with pytest.raises(InputError) as caught:
        store.put("bank", value, "ana")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("value", ["x", "\0", "x" * LONGEST, "a\r\nb\n"])
def test_any_other_text_is_kept_as_it_is(
    flow: Flow, takers: Takers, store: SecretService, value: str
) -> None:
    store.put("bank", value, "ana")
    secrets = StoredSecrets()
    with flow.database.read() as session:
        secrets.load(session, ["bank"])
    assert secrets("bank") == value


def test_without_a_master_key_nothing_is_stored(
    store: SecretService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRATAFLOW_MASTER_KEYS")
    with pytest.raises(VaultError, match="there is no master key"):
        store.put("bank", CANARY, "ana")
    assert list(store.list()) == []
    with pytest.raises(VaultError):
        store.rewrap()


def test_writers_of_one_name_take_turns(store: SecretService) -> None:
    ready = threading.Barrier(4)

    def put(number: int) -> None:
        ready.wait()
        store.put("bank", str(number), "ana")

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("bank").version == 4


def test_rewrapping_brings_everything_under_the_newest_key(
    flow: Flow, store: SecretService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(205):
        store.put(f"s{number}", f"value {number}", "ana")
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", f"{NEW},{OLD}")
    store.put("newest", "value", "ana")
    assert (store.rewrap(), store.rewrap()) == (205, 0)
    assert {each.key_id for each in store.list()} == {"new"}
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", NEW)
    secrets = StoredSecrets()
    with flow.database.read() as session:
        secrets.load(session, ["s0", "s204"])
    assert (secrets("s0"), secrets("s204")) == ("value 0", "value 204")


# --- engines


def test_an_attempt_reads_the_store_and_the_value_is_readable_nowhere(
    flow: Flow, takers: Takers, store: SecretService, logged: Lines
) -> None:
    store.put("bank", CANARY, "ana")
    nodes = {
        "ok": take({"auth": "Bearer " + SECRET}),
        "log": {"run": "vault2.say", "with": SECRET, "on_error": [{"continue": True}]},
        "strict": {"run": "vault.strict", "with": {"amount": SECRET}, "on_error": [{"continue": True}]},
    }

    def say(ctx: Any, config: str) -> None:
        ctx.log("info", f"I have {config}")
        raise RuntimeError(f"no luck with {config}")

    flow.registry.register_executor_domain("vault2", {"say": say})
    instance_id = flow.start(nodes)
    flow.wait(instance_id)
    assert takers.taken["ok"] == {"auth": f"Bearer {CANARY}"}
    assert flow.states(instance_id)["log"] == "failed"
    shown = [
        str(flow.engine.status(instance_id)),
        str(flow.history(instance_id)),
        str(flow.tasks(instance_id)),
    ]
    flow.shut()
    assert places(flow, *logged.texts, *shown) == []


def test_no_span_has_a_value(flow: Flow, takers: Takers, store: SecretService) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    store.put("bank", CANARY, "ana")

    def say(ctx: Any, config: str) -> None:
        ctx.log("info", f"I have {config}")
        raise RuntimeError(f"no luck with {config}")

    flow.registry.register_executor_domain("vault2", {"say": say})
    flow.open(tracing=Tracing(provider), log_attempts=True)
    flow.run({"a": take(SECRET), "b": {"run": "vault2.say", "with": SECRET}})
    flow.shut()
    spans = [span.to_json() for span in exporter.get_finished_spans()]
    provider.shutdown()
    assert any("no luck with ***" in span for span in spans)
    assert places(flow, *spans) == []


def test_the_store_goes_before_the_environment_and_a_function_before_both(
    flow: Flow, takers: Takers, store: SecretService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRATAFLOW_SECRET_BANK", "from the environment")
    monkeypatch.setenv("STRATAFLOW_SECRET_OTHER", "from the environment")
    store.put("bank", "from the store", "ana")
    flow.run({"a": take(SECRET), "b": take("{{ secrets.other }}")})
    assert takers.taken == {"a": "from the store", "b": "from the environment"}
    flow.shut()
    flow.open(secret=lambda name: f"function {name}")
    flow.run({"a": take(SECRET)})
    assert takers.taken["a"] == "function bank"


def test_a_new_value_holds_soon_without_a_restart(flow: Flow, takers: Takers, store: SecretService) -> None:
    store.put("bank", "one", "ana")
    flow.run({"a": take(SECRET)})
    assert takers.taken["a"] == "one"
    store.put("bank", "two", "ana")

    def seen() -> bool:
        flow.run({"a": take(SECRET)})
        return takers.taken["a"] == "two"

    until(seen)
    store.delete("bank")
    until(lambda: flow.run({"a": take(SECRET)}).state == "failed")


def test_a_secret_that_cannot_be_opened_fails_the_attempt_names_the_key_and_may_come_later(
    flow: Flow, takers: Takers, store: SecretService, monkeypatch: pytest.MonkeyPatch, logged: Lines
) -> None:
    store.put("bank", CANARY, "ana")
    monkeypatch.setenv("STRATAFLOW_SECRET_BANK", "not this")
    for keys in (NEW, ""):
        monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", keys)
        instance_id = flow.start({"a": take(SECRET)})
        assert flow.wait(instance_id).state == "failed"
        error = error_of(flow, instance_id)
        assert (error["code"], "master key 'old'" in error["message"]) == ("vault", True)
    retrying = flow.start({"a": take(SECRET, retry={"max": 200, "delay": "50ms"})})
    until(lambda: "retrying" in flow.moves(retrying, "a"))
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", f"{NEW},{OLD}")
    assert flow.wait(retrying).state == "completed"
    assert takers.taken == {"a": CANARY}
    flow.shut()
    assert places(flow, *logged.texts) == []


def test_malformed_keys_fail_the_attempt_and_are_not_told(
    flow: Flow, takers: Takers, store: SecretService, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("bank", "x", "ana")
    monkeypatch.setenv("STRATAFLOW_MASTER_KEYS", "nonsense-that-nobody-may-see")
    instance_id = flow.start({"a": take(SECRET)})
    assert flow.wait(instance_id).state == "failed"
    message = error_of(flow, instance_id)["message"]
    assert ("STRATAFLOW_MASTER_KEYS" in message, "nonsense" in message) == (True, False)


def test_a_value_moved_to_another_name_does_not_open_and_is_not_tried_again(
    flow: Flow, takers: Takers, store: SecretService
) -> None:
    store.put("bank", CANARY, "ana")
    store.put("mine", "x", "eve")
    with flow.database.write() as session:
        stolen = session.execute(select(SECRETS.c.sealed).where(SECRETS.c.name == "bank")).scalar_one()
        session.execute(update(SECRETS).where(SECRETS.c.name == "mine").values(sealed=stolen))
    instance_id = flow.start({"a": take("{{ secrets.mine }}", retry={"max": 3, "delay": "1ms"})})
    assert flow.wait(instance_id).state == "failed"
    assert (error_of(flow, instance_id)["code"], error_of(flow, instance_id)["attempt"]) == ("vault", 1)
    assert takers.taken == {}


# --- command line


def test_the_command_line_sets_lists_and_never_shows(db_url: str, tmp_path: Path) -> None:
    flow = Flow(db_url)
    with closing(Cli(db_url, tmp_path)) as cli, closing(flow.database):
        key = cli("secrets", "new-master-key", "--id", "k1")
        env = {"STRATAFLOW_MASTER_KEYS": key.out.strip()}
        assert Vault.from_environment(env).key_id == "k1"
        set_ = cli("secrets", "set", "bank", "--json", env=env, stdin=f"{CANARY}\n")
        assert (set_.json["name"], set_.json["version"], set_.json["key_id"]) == ("bank", 1, "k1")
        nodes = {
            "a": {"run": "shell.run", "with": {"command": 'printf %s "$T" | wc -c', "env": {"T": SECRET}}}
        }
        ran = cli("run", cli.flow(nodes, output="{{ nodes.a.output.stdout | trim }}"), "--json", env=env)
        assert ran.json["output"] == str(len(CANARY.encode())), "the line's end is no part of it"
        newer = cli("secrets", "new-master-key", "--id", "k2").out.strip()
        both = {"STRATAFLOW_MASTER_KEYS": f"{newer},{key.out.strip()}"}
        shown = [
            *(cli("secrets", "rewrap", "--json", env=both), cli("secrets", "rewrap", env=both)),
            *(cli("secrets", "list"), cli("secrets", "list", "--json"), cli("secrets", "delete", "bank")),
        ]
        assert shown[0].json == {"rewrapped": 1}
        assert shown[3].json[0]["key_id"] == "k2"
        refused = cli("secrets", "set", "bank", code=2, stdin=CANARY, env={"STRATAFLOW_MASTER_KEYS": ""})
        assert "new-master-key" in refused.err
        cli("secrets", "set", "b/d", code=2, env=env, stdin=CANARY)
        cli("secrets", "set", "bank", code=2, env=env, stdin="")
        cli("secrets", "delete", "bank", code=2)
        texts = [text for each in (set_, ran, refused, *shown) for text in (each.out, each.err)]
        assert places(flow, *texts) == []


def test_a_value_is_never_an_argument(db_url: str, tmp_path: Path) -> None:
    with closing(Cli(db_url, tmp_path)) as cli:
        assert "unexpected" in cli("secrets", "set", "bank", CANARY, code=2).err
