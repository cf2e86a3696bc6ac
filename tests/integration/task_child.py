"""A process with a task system, for tests that kill it: `python -m tests.integration.task_child SPEC`.

The specification is JSON: `url`, `effects` (a file), `submit` (lists of name, payload, options), `chain`, `chord`,
`group`, `start` (execute, until killed), `concurrency`. It prints the ids of what it submitted, then waits.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from strataflow import TaskContext, TaskSystem
from tests.integration.task_kit import quick


def equip(system: TaskSystem, effects: str, *, stuck: bool) -> None:
    """Register handlers that leave a trace; `stuck` ones never end."""

    def note(text: str) -> None:
        handle = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, (text + "\n").encode())
        os.close(handle)

    def work(ctx: TaskContext, payload: Any) -> Any:
        """Note its number; number 0 hangs."""
        number = payload["number"] if isinstance(payload, dict) else payload
        note(f"begin:{number}")
        while stuck and number == 0:
            time.sleep(0.05)
        note(f"done:{number}")
        return number

    def step(ctx: TaskContext, payload: Any) -> Any:
        """Add one; hang where the payload says so."""
        result = payload["_chain_result"] if "_chain_result" in payload else payload["start"]
        note(f"step:{result}")
        while stuck and payload.get("hang"):
            time.sleep(0.05)
        return result + 1

    def saved(ctx: TaskContext, payload: Any) -> Any:
        """Save a checkpoint and hang; give it back the next time."""
        before = ctx.load_checkpoint()
        if before is None:
            ctx.save_checkpoint({"at": 7})
            note("saved")
            while stuck:
                time.sleep(0.05)
        ctx.save_checkpoint(None)
        return {"before": before, "after": ctx.load_checkpoint(), "attempt": ctx.attempt}

    for name, handler in {"work": work, "step": step, "saved": saved, "total": _total}.items():
        system.register(name, handler)


def _total(payload: Any) -> Any:
    return payload


def main(spec: dict[str, Any]) -> None:
    """Do what the specification says, then wait."""
    system = TaskSystem(spec["url"], config=quick(), concurrency=spec.get("concurrency", 1))
    equip(system, spec["effects"], stuck=True)
    ids = [system.submit(name, payload, **options).id for name, payload, options in spec.get("submit", [])]
    if "chain" in spec:
        ids.append(system.chain([tuple(each) for each in spec["chain"]]).id)
    if "chord" in spec:
        tasks, callback = spec["chord"]
        ids.append(system.chord([tuple(each) for each in tasks], tuple(callback)).id)
    if "group" in spec:
        ids.append(system.group([tuple(each) for each in spec["group"]]).id)
    if spec.get("start"):
        system.start()
    print(json.dumps(ids), flush=True)
    if not spec.get("start"):
        system.stop()
        return
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
