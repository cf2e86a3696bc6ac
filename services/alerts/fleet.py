"""Looks at queues, engines, and the database's room: once for all processes."""

from __future__ import annotations

import shutil
from typing import Any, Final

from ...repositories import alert_reads
from ...repositories.alert_reads import LostEngine, ServerLoad
from ...repositories.gaugeviews import QueueGauge, queue_gauges
from .kinds import seconds_of
from .looking import Look, fits
from .model import Finding, Rule, lasting

__all__ = ["look_at_engines", "look_at_queues", "look_at_server"]

#: Queues that one look takes in, and engines.
_QUEUES: Final = 200
_ENGINES: Final = 500
#: How long a lease may be over before its engine counts as gone, where no rule says it.
_OVERDUE_US: Final = 30_000_000
_MB: Final = 1_000_000
_US: Final = 1_000_000
_DATABASE: Final = "database"


# --- queues


def look_at_queues(look: Look) -> None:
    """Queues that are old, or deep."""
    old, deep = look.of("queue_age"), look.of("queue_depth")
    if not old and not deep:
        return
    most = max([1, *(rule.settings["depth"] for rule in deep)])
    with look.database.read() as session:
        gauges = queue_gauges(session, most=most, queues=_QUEUES)
        paused = alert_reads.paused_queues(session, [each.queue for each in gauges]) if gauges else set[str]()
        engines = alert_reads.engines_that_execute(session, look.now - _OVERDUE_US)
    for rule in old:
        wait = seconds_of(rule.settings, "age")
        look.found[rule.name] = [
            _old(each, seconds, _advice(each.queue, each.queue in paused, engines))
            for each in gauges
            if fits(rule, each.queue) and (seconds := _age(look, each)) >= wait
        ]
    for rule in deep:
        look.found[rule.name] = [
            _deep(each, _advice(each.queue, each.queue in paused, engines))
            for each in gauges
            if fits(rule, each.queue) and each.ready >= rule.settings["depth"]
        ]


def _age(look: Look, gauge: QueueGauge) -> float:
    return 0.0 if gauge.oldest_ready_at is None else (look.now - gauge.oldest_ready_at) / _US


def _advice(queue: str, paused: bool, engines: int) -> str:  # noqa: FBT001 - one of three sentences
    if paused:
        return f"The queue is paused: `strataflow queues resume {queue}` lets it go on."
    if not engines:
        return "No engine runs: `strataflow worker` starts one."
    many = "One engine runs" if engines == 1 else f"{engines} engines run"
    return f"{many}: start more (`strataflow worker`), or look what they do (`strataflow stats`)."


def _old(gauge: QueueGauge, seconds: float, advice: str) -> Finding:
    text = (
        f"A task of queue {gauge.queue} has been ready for {lasting(seconds)}, and nobody takes it. {advice}"
    )
    return Finding(gauge.queue, text, {"queue": gauge.queue, "seconds": seconds, "ready": gauge.ready})


def _deep(gauge: QueueGauge, advice: str) -> Finding:
    text = f"{gauge.ready:,} tasks or more of queue {gauge.queue} are ready. {advice}"
    return Finding(gauge.queue, text, {"queue": gauge.queue, "ready": gauge.ready})


# --- engines


def look_at_engines(look: Look) -> None:
    """Engines that were lost, and work that nobody is there to do."""
    for rule in look.of("engine_offline"):
        since, overdue = look.ago(rule, "window"), look.ago(rule, "overdue")
        with look.database.read() as session:
            lost = alert_reads.lost_engines(session, since, overdue, _ENGINES)
            alive = alert_reads.engines_that_execute(session, overdue)
        look.found[rule.name] = [_lost(each, alive) for each in lost]
    for rule in look.of("no_engine"):
        with look.database.read() as session:
            idle = not alert_reads.engines_that_execute(session, look.now - _OVERDUE_US)
            waiting = idle and alert_reads.has_work(session)
        look.found[rule.name] = [_nobody()] if waiting else []


def _lost(engine: LostEngine, alive: int) -> Finding:
    how = "does not renew its lease" if engine.ended_at is None else "ended without signing off"
    left = f"{alive} others run" if alive > 1 else "another one runs" if alive else "no other one runs"
    text = (
        f"Engine {engine.id} on {engine.host} (process {engine.pid}) {how}; {left}. What it had taken is run again by "
        f"others. Look at that machine's log for why, and start another: `strataflow worker`."
    )
    details: dict[str, Any] = {
        "engine": engine.id,
        "host": engine.host,
        "pid": engine.pid,
        "release": engine.release,
        "alive": alive,
    }
    return Finding(engine.id, text, details, engine.ended_at or engine.lease_until)


def _nobody() -> Finding:
    text = "There is work to do, and no engine runs on this database. `strataflow worker` starts one."
    return Finding(_DATABASE, text)


# --- the database's room


def look_at_server(look: Look) -> None:
    """Connections and open transactions of a Postgres server; room on the disk of an SQLite file."""
    if look.database.url.path is not None:
        for rule in look.of("disk_space"):
            look.found[rule.name] = _disk(look, rule)
        return
    full, long = look.of("db_connections"), look.of("long_transaction")
    if not full and not long:
        return
    with look.database.read() as session:
        load = alert_reads.server_load(session)
    for rule in full:
        used = load.connections / max(1, load.most)
        look.found[rule.name] = [_full(load, used)] if used >= rule.settings["share"] else []
    for rule in long:
        over = load.oldest_s is not None and load.oldest_s >= seconds_of(rule.settings, "age")
        look.found[rule.name] = [_long(load)] if over else []


def _disk(look: Look, rule: Rule) -> list[Finding]:
    path = look.database.url.path
    if path is None:
        return []
    free = shutil.disk_usage(path.parent).free
    if free >= rule.settings["free_mb"] * _MB:
        return []
    text = (
        f"{free / _MB:,.0f} MB are free where the database is. Without room every run stops: make room, or delete "
        f"what has ended (`strataflow purge --older 30d`)."
    )
    return [Finding(_DATABASE, text, {"free_mb": free // _MB})]


def _full(load: ServerLoad, used: float) -> Finding:
    text = (
        f"{load.connections} of {load.most} connections of the Postgres server are in use ({used:.0%}). Close what is "
        f"idle (`pg_stat_activity`), put a pooler between, or raise `max_connections`."
    )
    return Finding(_DATABASE, text, {"connections": load.connections, "most": load.most})


def _long(load: ServerLoad) -> Finding:
    whose = f" ({load.oldest_application})" if load.oldest_application else ""
    text = (
        f"A transaction of the database has been open for {lasting(load.oldest_s or 0)}: process {load.oldest_pid}"
        f"{whose}. It holds back the event feed, webhooks and vacuum. End it there, or by "
        f"`select pg_terminate_backend({load.oldest_pid})`."
    )
    details = {"seconds": load.oldest_s, "pid": load.oldest_pid, "application": load.oldest_application}
    return Finding(_DATABASE, text, details)
