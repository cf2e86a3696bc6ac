"""Real processes that start together: what threads in one process cannot show about locks on files."""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
import traceback
from collections.abc import Callable, Sequence
from typing import Any

#: Imported once by the process from which the others are forked, before any of them opens a database.
PRELOAD = [
    "strataflow.repositories.migrate",
    "strataflow.repositories.batch",
    "alembic.command",
    "alembic.autogenerate",
]

Gate = multiprocessing.synchronize.Barrier


def run_together(
    work: Callable[..., None], calls: Sequence[tuple[Any, ...]], timeout_s: float = 50.0
) -> list[str]:
    """Call `work(*args)` in a process for each element of `calls`, all at the same moment; give the tracebacks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    gate, failures = context.Barrier(len(calls)), context.SimpleQueue()
    processes = [
        context.Process(target=_child, args=(gate, failures, work, args), daemon=True) for args in calls
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout_s)
    found = list[str]()
    while not failures.empty():
        found.append(failures.get())
    for number, process in enumerate(processes):
        if process.exitcode != 0:
            process.kill()
            found.append(f"process {number} ended with {process.exitcode}")
    return found


def _child(gate: Gate, failures: Any, work: Callable[..., None], args: tuple[Any, ...]) -> None:
    try:
        gate.wait(30)
        work(*args)
    except BaseException:
        failures.put(traceback.format_exc())
        raise
