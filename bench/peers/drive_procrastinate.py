"""Procrastinate: an asynchronous worker in one process, jobs deferred in batches, finished jobs kept."""

from __future__ import annotations

import asyncio
import time
from importlib import import_module
from typing import Any, Final

from bench.peers.report import Report, Request

#: Not a dependency: it is there in the environment of this driver alone.
procrastinate: Final[Any] = import_module("procrastinate")
_POOL: Final = 10
_POLL_S: Final = 0.002


class Bench:
    """One app with one task, and what its handler has seen."""

    def __init__(self, request: Request) -> None:
        self.report = Report(request, ("procrastinate", "psycopg", "uvloop"))
        connector = procrastinate.PsycopgConnector(conninfo=request.url, min_size=_POOL, max_size=_POOL)
        self.app = procrastinate.App(connector=connector)
        self.called = asyncio.Event()
        self.noop: Any = self.app.task(name="noop")(self._noop)

    async def _noop(self, n: int) -> int:
        self.called.set()
        return n

    async def throughput(self) -> None:
        """Put all in, then drain."""
        request = self.report.request
        await self.noop.defer_async(n=0)
        await self._work(wait=False)
        with self.report.phase("submit"):
            for batch in request.batches():
                await self.noop.batch_defer_async(*[{"n": n} for n in batch])
        with self.report.phase("run"):
            await self._work(wait=False)

    async def latency(self) -> None:
        """One job at a time, with a worker that waits for it."""
        worker = asyncio.create_task(self._work(wait=True))
        await self._once()
        began, ended = zip(*[await self._once() for _ in range(self.report.request.count)], strict=True)
        self.report.times("called", list(began))
        self.report.times("done", list(ended))
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)

    async def _once(self) -> tuple[float, float]:
        """Seconds until the handler was called, and until the job's status says so."""
        self.called.clear()
        begun = time.perf_counter()
        job = await self.noop.defer_async(n=1)
        await self.called.wait()
        called = time.perf_counter() - begun
        while (await self.app.job_manager.get_job_status_async(job)).value != "succeeded":  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(_POLL_S)
        return called, time.perf_counter() - begun

    async def _work(self, *, wait: bool) -> None:
        await self.app.run_worker_async(
            wait=wait, concurrency=self.report.request.concurrency, install_signal_handlers=False
        )

    async def main(self) -> None:
        """Make the tables, then do what was asked for."""
        async with self.app.open_async():
            await self.app.schema_manager.apply_schema_async()
            await (self.throughput() if self.report.request.what == "throughput" else self.latency())
        self.report.send()


async def _main() -> None:
    await Bench(Request.read()).main()


if __name__ == "__main__":
    import_module("uvloop").run(_main())
