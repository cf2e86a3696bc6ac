"""The engines' rows on both databases: leases by the database's clock, and a death that is final."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update

from strataflow.repositories import engines
from strataflow.repositories.database import Database
from strataflow.repositories.engines import EngineRow
from strataflow.repositories.errors import BadRow
from strataflow.repositories.records import EngineRole
from strataflow.repositories.tables import ENGINES, INSTANCES, TASKS

TTL = 30_000_000
OVER = -1


def _engine() -> EngineRow:
    return EngineRow(id=str(uuid.uuid4()), role=EngineRole.ENGINE, host="here", pid=1, release="1")


def _registered(database: Database, ttl: int = TTL) -> str:
    engine = _engine()
    engines.register(database, engine, ttl)
    return engine.id


def _read(database: Database, engine_id: str) -> dict[str, object]:
    with database.read() as connection:
        row = connection.execute(select(*ENGINES.columns).where(ENGINES.c.id == engine_id)).mappings().one()
        return dict(row)


def test_a_registered_engine_is_alive_with_what_it_said(database: Database) -> None:
    engine = replace(_engine(), boot_id="boot", lock_file="/run/x", executors=("b.x", "a.x"), slots=4)
    engines.register(database, engine, TTL)
    row = _read(database, engine.id)
    assert (row["state"], row["role"], row["host"], row["pid"]) == ("alive", "engine", "here", 1)
    assert (row["boot_id"], row["lock_file"], row["slots"], row["release"]) == ("boot", "/run/x", 4, "1")
    assert row["executors"] == '["a.x", "b.x"]'
    assert (row["batch"], row["ended_at"]) == (0, None)


def test_an_id_registers_once(database: Database) -> None:
    engine = _engine()
    engines.register(database, engine, TTL)
    with pytest.raises(BadRow):
        engines.register(database, engine, TTL)


def test_a_heartbeat_moves_the_lease(database: Database) -> None:
    engine_id = _registered(database, 1_000_000)
    before = _read(database, engine_id)["lease_until"]
    assert engines.renew(database, engine_id, TTL)
    after = _read(database, engine_id)["lease_until"]
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert 28_000_000 < after - before < 60_000_000


def test_only_an_expired_lease_kills(database: Database) -> None:
    alive, expired = _registered(database), _registered(database, OVER)
    assert not engines.mark_dead_if_expired(database, alive)
    assert engines.mark_dead_if_expired(database, expired)
    assert not engines.mark_dead_if_expired(database, expired)
    assert not engines.mark_dead_if_expired(database, str(uuid.uuid4()))
    assert (_read(database, alive)["state"], _read(database, expired)["state"]) == ("alive", "dead")
    assert _read(database, expired)["ended_at"] is not None


@pytest.mark.parametrize("end", [engines.mark_dead, engines.stop])
def test_an_engine_ends_once_and_never_comes_back(database: Database, end: object) -> None:
    assert callable(end)
    engine_id = _registered(database)
    ended = [end(database, engine_id), end(database, engine_id)]
    assert ended == [True, False]
    assert not engines.renew(database, engine_id, TTL)
    assert not engines.advertise(database, engine_id, ["a.x"], 1)
    assert not engines.mark_dead(database, engine_id)
    assert not engines.stop(database, engine_id)


def test_the_expired_lease_of_an_engine_that_renewed_is_not_over(database: Database) -> None:
    engine_id = _registered(database, OVER)
    assert engines.renew(database, engine_id, TTL)
    assert not engines.mark_dead_if_expired(database, engine_id)


def test_one_of_many_declares_it_dead(database: Database) -> None:
    engine_id, start, said = _registered(database, OVER), threading.Barrier(4), list[bool]()

    def work() -> None:
        start.wait()
        said.append(engines.mark_dead_if_expired(database, engine_id))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(said) == 1
    assert _read(database, engine_id)["state"] == "dead"


def test_an_engine_in_the_middle_of_a_batch_is_left_alone(migrated_pg_url: str) -> None:
    database = Database(migrated_pg_url)
    engine_id = _registered(database, OVER)
    with database.write() as batch:
        batch.execute(update(ENGINES).where(ENGINES.c.id == engine_id).values(batch=1))
        assert not engines.mark_dead_if_expired(database, engine_id)
    assert engines.mark_dead_if_expired(database, engine_id)
    database.close()


def test_what_an_engine_executes_can_change(database: Database) -> None:
    engine_id = _registered(database)
    assert engines.advertise(database, engine_id, ["z.x", "a.x", "z.x"], 8)
    row = _read(database, engine_id)
    assert (row["executors"], row["slots"]) == ('["a.x", "z.x"]', 8)


def _hold(database: Database, engine_id: str) -> None:
    instance_id = str(uuid.uuid4())
    with database.write() as connection:
        connection.execute(
            insert(INSTANCES).values(
                id=instance_id, definition_id=instance_id, name="f", version=1, state="running", created_at=1
            )
        )
        connection.execute(
            insert(TASKS).values(
                instance_id=instance_id, path="a", scope="", state="running", engine=engine_id, attempt=1
            )
        )


def test_forgetting_spares_the_living_the_recent_and_those_with_running_tasks(database: Database) -> None:
    alive, stopped, dead, holder = (_registered(database) for _ in range(4))
    engines.stop(database, stopped)
    engines.mark_dead(database, dead)
    engines.mark_dead(database, holder)
    _hold(database, holder)
    assert engines.forget(database, timedelta(days=1)) == 0
    assert engines.forget(database, timedelta(microseconds=-1)) == 2
    with database.read() as connection:
        left = set(connection.scalars(select(ENGINES.c.id)))
    assert left == {alive, holder}
