"""What streams may cost: how often they beat, how long they wait for a reader, how many there may be."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StreamLimits"]


@dataclass(slots=True, frozen=True, kw_only=True)
class StreamLimits:
    """Bounds of live streams; each is told in docs/events.md."""

    #: Seconds between heartbeats; as often a stream looks whether its key is still good.
    heartbeat_s: float = 15.0
    #: A reader that takes nothing for so long is let go; it may come back with its cursor.
    stall_s: float = 30.0
    #: Streams of one key, and of this process.
    per_key: int = 100
    per_process: int = 1_000
    #: Web pages that may open a WebSocket, as `https://flows.example`, beside those of the host that is called itself.
    origins: frozenset[str] = frozenset()
    #: Characters of a message that a client sends, and how many of them in a second.
    max_message: int = 1_024
    messages_per_s: float = 5.0

    def __post_init__(self) -> None:
        bounds = (self.heartbeat_s, self.stall_s, self.per_key, self.per_process, self.max_message)
        if min(bounds) <= 0 or self.messages_per_s <= 0:
            raise ValueError("the bounds of streams are more than 0")
