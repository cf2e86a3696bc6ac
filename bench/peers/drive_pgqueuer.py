"""PgQueuer: one queue manager on asyncpg, jobs put in by batches, taken by batches, tables logged (`durable`)."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta
from importlib import import_module
from typing import Any, Final

from bench.peers.report import Report, Request

# "durable" is the default of these tables; it is said here so that no environment variable changes it.
os.environ["PGQUEUER_DURABILITY"] = "durable"
#: Not dependencies: they are there in the environment of this driver alone.
asyncpg: Final[Any] = import_module("asyncpg")
pgqueuer: Final[Any] = import_module("pgqueuer")
completion: Final[Any] = import_module("pgqueuer.core.completion")
modes: Final[Any] = import_module("pgqueuer.types").QueueExecutionMode


class Bench:
    """One queue manager with one entrypoint, and what its handler has seen."""

    def __init__(self, request: Request, queries: Any, manager: Any, watching: Any) -> None:
        self.report = Report(request, ("pgqueuer", "asyncpg", "uvloop"))
        self.queries = queries
        self.manager = manager
        self.watching = watching
        self.called = asyncio.Event()
        manager.entrypoint("noop")(self._noop)

    async def _noop(self, job: Any) -> None:
        self.called.set()

    async def throughput(self) -> None:
        """Put all in, then drain."""
        request = self.report.request
        with self.report.phase("submit"):
            for batch in request.batches():
                some = len(batch)
                await self.queries.enqueue(["noop"] * some, [str(n).encode() for n in batch], [0] * some)
        with self.report.phase("run"):
            await self.manager.run(mode=modes.drain, batch_size=request.concurrency)

    async def latency(self) -> None:
        """One job at a time, with a worker that waits for it."""
        worker = asyncio.create_task(self.manager.run(batch_size=self.report.request.concurrency))
        async with completion.CompletionWatcher(
            self.watching, queries=pgqueuer.Queries(self.watching), debounce=timedelta(milliseconds=1)
        ) as watcher:
            await self._once(watcher)
            seen = [await self._once(watcher) for _ in range(self.report.request.count)]
        began, ended = zip(*seen, strict=True)
        self.report.times("called", list(began))
        self.report.times("done", list(ended))
        self.manager.shutdown.set()
        await worker

    async def _once(self, watcher: Any) -> tuple[float, float]:
        """Seconds until the handler was called, and until the watcher of finished jobs knows the end."""
        self.called.clear()
        begun = time.perf_counter()
        [job] = await self.queries.enqueue("noop", b"1")
        await self.called.wait()
        called = time.perf_counter() - begun
        await watcher.wait_for(job)
        return called, time.perf_counter() - begun


async def _warm(url: str) -> None:
    """One job from end to end, with a manager that is not used again: a drained one has shut down."""
    manager = pgqueuer.QueueManager(pgqueuer.Queries(pgqueuer.AsyncpgDriver(await asyncpg.connect(url))))

    @manager.entrypoint("warm")
    async def warm(job: Any) -> None:  # pyright: ignore[reportUnusedFunction] - the manager calls it
        """Do nothing."""

    await manager.queries.enqueue("warm", b"1")
    await manager.run(mode=modes.drain)


async def _main() -> None:
    request = Request.read()
    drivers = [pgqueuer.AsyncpgDriver(await asyncpg.connect(request.url)) for _ in range(3)]
    queries = pgqueuer.Queries(drivers[0])
    await queries.install()
    await _warm(request.url)
    bench = Bench(request, queries, pgqueuer.QueueManager(pgqueuer.Queries(drivers[1])), drivers[2])
    await (bench.throughput() if request.what == "throughput" else bench.latency())
    bench.report.send()


if __name__ == "__main__":
    import_module("uvloop").run(_main())
