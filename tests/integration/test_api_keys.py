"""API keys: a token is shown once, holds until its end, and nothing of its secret is stored."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from strataflow.engine.errors import InputError, NotFound
from strataflow.engine.membership import new_id
from strataflow.repositories import access_store
from strataflow.repositories.access_tables import API_KEYS
from strataflow.repositories.database import Database
from strataflow.services.access.keys import KeyService, Principal, read_token
from strataflow.services.access.scopes import RESOURCES, VERBS, Need, allows, checked_scopes


@pytest.fixture
def keys(db_url: str) -> Iterator[KeyService]:
    database = Database(db_url)
    yield KeyService(database, "main")
    database.close()


def whose(keys: KeyService, text: str) -> Principal | None:
    token = read_token(text)
    assert token is not None
    return keys.authenticate(token)


def test_a_key_from_its_making_to_its_end(keys: KeyService, db_url: str) -> None:
    made = keys.create("ci", ["start:instances", "read:*"])
    secret = made.token.rpartition(".")[2]
    assert whose(keys, made.token) == Principal("main", made.key.id, "ci", ("read:*", "start:instances"))
    database = Database(db_url)
    with database.read() as connection:
        stored = str(connection.execute(select(API_KEYS)).all())
    database.close()
    assert secret not in stored
    assert [view.state for view in keys.list()] == ["active"]
    assert keys.revoke(made.key.id).state == "revoked"
    assert keys.revoke(made.key.id).state == "revoked"
    assert whose(keys, made.token) is None


def test_what_is_no_token_of_this_namespace(keys: KeyService) -> None:
    made = keys.create("ci", ["read:*"])
    head, _, secret = made.token.rpartition(".")
    other = keys.create("other", ["*:*"]).token
    assert whose(keys, f"{head}.{'A' * len(secret)}") is None
    assert whose(keys, f"{other.rpartition('.')[0]}.{secret}") is None, "the secret belongs to one key"
    assert whose(keys, f"sf1.main.{'0' * 32}.{secret}") is None
    for text in (
        "",
        "sf1",
        made.token + "x",
        made.token.replace("sf1", "sf2"),
        "sf1.UPPER." + made.token[9:],
    ):
        assert read_token(text) is None


def test_a_key_expires(keys: KeyService) -> None:
    made = keys.create("short", ["read:*"], lifetime_s=0.05)
    assert made.key.expires_at is not None
    while whose(keys, made.token) is not None:
        time.sleep(0.01)
    assert keys.get(made.key.id).state == "expired"


def test_rotation_overlaps(keys: KeyService) -> None:
    old = keys.create("ci", ["read:*"], lifetime_s=3600)
    new = keys.rotate(old.key.id, overlap_s=60)
    assert (new.key.name, new.key.scopes, new.key.expires_at) == ("ci", ("read:*",), None)
    assert whose(keys, old.token) is not None
    assert whose(keys, new.token) is not None
    assert keys.get(old.key.id).successor == new.key.id
    with pytest.raises(InputError, match="has a successor"):
        keys.rotate(old.key.id, overlap_s=60)
    final = keys.rotate(new.key.id, overlap_s=0)
    assert whose(keys, new.token) is None
    assert whose(keys, final.token) is not None


def test_what_is_refused(keys: KeyService) -> None:
    with pytest.raises(InputError, match=r"no scope 'reed:instances'.*read:instances"):
        keys.create("ci", ["reed:instances"])
    with pytest.raises(InputError, match="needs a scope"):
        keys.create("ci", [])
    with pytest.raises(InputError, match="1 to 100 characters"):
        keys.create(" ", ["read:*"])
    with pytest.raises(InputError, match="more than 0"):
        keys.create("ci", ["read:*"], lifetime_s=0)
    for unknown in ("nonsense", "0" * 32):
        with pytest.raises(NotFound, match="there is no key"):
            keys.get(unknown)


def test_scopes_cover_what_they_name_and_nothing_else() -> None:
    need = Need("start", "instances")
    assert [
        scope
        for verb in (*VERBS, "*")
        for resource in (*RESOURCES, "*")
        if allows([scope := f"{verb}:{resource}"], need)
    ] == [
        "start:instances",
        "start:*",
        "*:instances",
        "*:*",
    ]
    assert not allows([], need)
    assert checked_scopes(["read:*", "read:*"]) == ("read:*",)
    with pytest.raises(ValueError, match="no scope"):
        Need("start", "everything")


def test_what_is_remembered_of_calls_goes_in_time(keys: KeyService, db_url: str) -> None:
    database = Database(db_url)
    entry = {
        "key_id": None,
        "who": "ci",
        "action": "read:keys",
        "target": "GET /keys",
        "outcome": "denied",
        "status": 403,
        "request_id": "1",
    }
    access_store.write_audit(database, [entry] * 3)
    begun = access_store.begin_request(database, "-", "k", "print", made=new_id(), abandoned_us=60_000_000)
    access_store.answer_request(database, "-", "k", status=201, headers="{}", body="x" * 3_000_000)
    long_ago, soon = 0, time.time_ns() // 1_000 + 60_000_000
    assert not access_store.delete_old(database, requests_before=long_ago, audit_before=long_ago)
    assert len(access_store.audit_entries(database, 10)) == 3
    again = access_store.begin_request(database, "-", "k", "print", made=new_id(), abandoned_us=60_000_000)
    assert (again.mine, again.made, again.status, len(again.body or "")) == (
        False,
        begun.made,
        201,
        3_000_000,
    )
    assert not access_store.delete_old(database, requests_before=soon, audit_before=soon)
    assert access_store.audit_entries(database, 10) == []
    new = access_store.begin_request(database, "-", "k", "print", made=new_id(), abandoned_us=60_000_000)
    assert new.mine
    database.close()
