"""What the resolvers of one operation share: who asks, the time that is left, and reads that are put together."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import strawberry
from starlette.concurrency import run_in_threadpool
from strawberry.dataloader import DataLoader

from ...services.access.keys import Principal
from ...services.container import Services
from ...services.relations import Relations
from ..rest.gate import Caller
from ..rest.problems import Refused

__all__ = ["Context", "Info", "TimeOver"]

#: Statements of one operation that may wait for a connection at once: others want some, too.
_AT_ONCE: Final = 2
Row = TypeVar("Row")


class TimeOver(Refused):
    """The time of an operation is over."""

    def __init__(self, seconds: float) -> None:
        detail = f"the operation took longer than {seconds:g} seconds."
        super().__init__(
            422, "timeout", detail, hint="Ask for smaller pages, or for fewer relations at once."
        )
        self.allowed = seconds


class Context:
    """One operation of one caller."""

    def __init__(self, caller: Caller, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.caller: Final = caller
        self._seconds, self._clock = seconds, clock
        self._ends = clock() + seconds
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._loaders: dict[tuple[Any, ...], DataLoader[Any, Any]] = {}
        services = caller.services
        self.relations: Final = Relations(services.database, services.catalog, self.check_time)

    @property
    def principal(self) -> Principal:
        """Who asks."""
        return self.caller.principal

    @property
    def services(self) -> Services:
        """The use cases of the caller's namespace."""
        return self.caller.services

    def check_time(self) -> None:
        """Give up when the time is over: called between any two reads. Raises TimeOver."""
        if self._clock() > self._ends:
            raise TimeOver(self._seconds)

    def stop(self) -> None:
        """Let reads that still run be the last ones."""
        self._ends = -1.0

    async def run(self, work: Callable[[], Row]) -> Row:
        """Do something that waits for the database in a thread; few things at a time."""
        async with self._turns:
            self.check_time()
            return await run_in_threadpool(work)

    async def load(self, read: Callable[..., Sequence[Row]], key: object, *more: Any) -> Row:
        """One of many answers that `read` gives for many keys: those asked for together are read together."""
        name = (read.__name__, *more)
        loader = self._loaders.get(name)
        if loader is None:

            async def together(keys: list[Any]) -> Sequence[Any]:
                return await self.run(lambda: read(keys, *more))

            loader = self._loaders[name] = DataLoader(load_fn=together, max_batch_size=1_000)
        found: Row = await loader.load(key)
        return found

    def made_id(self, place: str) -> str:
        """The id of a run that this request makes at a place of its document; the same when it is repeated."""
        first = uuid.UUID(self.caller.new_id)
        rest = hashlib.sha256(first.bytes + place.encode()).digest()
        number = int.from_bytes(first.bytes[:6] + rest[:10])
        number = number & ~(0xF << 76) | (7 << 76)
        return str(uuid.UUID(int=number & ~(0x3 << 62) | (0x2 << 62)))


Info = strawberry.Info[Context, None]
