"""What a forked child does: an engine on a database, with a fault that kills it at a chosen place.

The specification is JSON:

| key | meaning |
|---|---|
| `url`, `effects` | the database, and the file of the effect log |
| `engine` | settings of `EngineConfig`; `ttl_s` and `margin_s` make its lease |
| `start` | definitions to start, with `inputs` and `key`; each acknowledged start is noted |
| `cancel` | instances to cancel; each acknowledged one is noted |
| `mode` | `drain` until nothing is unfinished, `hold` until killed, `client` starts only |
| `fault` | see `faults.py` |
| `elsewhere` | pretend to run on another machine: another boot id, so that only the lease tells |
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from pathlib import Path
from typing import Any

from strataflow.engine import membership, status, workflow_engine
from strataflow.engine.config import EngineConfig
from strataflow.engine.events import CancelInstance
from strataflow.engine.membership import Lease
from tests.checker.effects import EffectLog
from tests.recovery import faults, lab

__all__ = ["engine_config", "run"]

#: Loaded before the fork, so that no child has to.
PRELOADED = (status, workflow_engine, lab)


def engine_config(values: dict[str, Any]) -> EngineConfig:
    """Settings from JSON, quick ones where nothing is said: tests have no time to wait."""
    settings = {"recovery_s": 0.1, "poll_s": 0.1, "grace_s": 2.0, "slots": 20, "threads": 4} | values
    lease = Lease(settings.pop("ttl_s", 30.0), settings.pop("margin_s", 0.3))
    return EngineConfig(lease=lease, **settings)


def run(spec: dict[str, Any], folder: Path) -> None:
    """Do what the specification says, and note it."""
    logging.basicConfig(level=logging.WARNING, format="%(relativeCreated)d %(name)s %(message)s")
    notes = os.open(folder / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(kind: str, **values: Any) -> None:
        os.write(notes, json.dumps({"note": kind, "at": time.monotonic(), **values}).encode() + b"\n")

    log = EffectLog(spec["effects"])
    if spec.get("elsewhere"):
        boot = str(uuid.uuid4())
        membership.boot_id = lambda: boot
    fault = faults.install(spec["fault"]) if "fault" in spec else None
    mode = spec["mode"]
    config = engine_config({**spec.get("engine", {}), "executes": mode != "client"})
    with workflow_engine.WorkflowEngine(spec["url"], registry=lab.registry(log), config=config) as engine:
        note("up", engine=engine.parts.engine_id)
        for start in spec.get("start", []):
            instance_id = engine.start_now(start["definition"], start.get("inputs"), key=start.get("key"))
            note("started", id=instance_id)
        for instance_id in spec.get("cancel", []):
            engine.state_manager.apply_now(CancelInstance(instance_id, "asked by the test"))
            note("cancelled", id=instance_id)
        if mode == "hold":
            _hold(engine, note)
        elif mode == "drain":
            note("drained", done=engine.drain(spec.get("timeout_s", 40.0)))
        if fault is not None:
            note("fault", reached=fault.count)
    note("ended")


def _hold(engine: workflow_engine.WorkflowEngine, note: Any) -> None:
    known = engine.parts.engine_id
    while True:
        time.sleep(0.02)
        if engine.parts.engine_id != known:
            known = engine.parts.engine_id
            note("renewed", engine=known)
