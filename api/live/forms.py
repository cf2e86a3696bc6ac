"""How what a stream says is written: as lines of server-sent events, or as JSON messages of a WebSocket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from .tail import Item, Sent

__all__ = ["Form", "Lines", "Messages"]


class Form(Protocol):
    """Writes each thing as one text."""

    def item(self, item: Item | Sent) -> str:
        """An event or a log line, with its cursor."""
        ...

    def notice(self, kind: str, body: Mapping[str, Any]) -> str:
        """`begin`, `gap`, `reset`, `end`, `error`."""
        ...

    def heartbeat(self, cursor: int) -> str:
        """The stream is alive, and stands here."""
        ...


class Lines:
    """Server-sent events: `id` is the cursor, an event has no `event` field, everything else has its kind there."""

    def item(self, item: Item | Sent) -> str:
        """An event."""
        return f"id: {item.seq}\ndata: {item.text}\n\n"

    def notice(self, kind: str, body: Mapping[str, Any]) -> str:
        """One with a name; where it has a cursor, a reader that reconnects goes on from there."""
        place = f"id: {body['cursor']}\n" if "cursor" in body else ""
        return f"{place}event: {kind}\ndata: {_json(body)}\n\n"

    def heartbeat(self, cursor: int) -> str:
        """A comment, and the cursor: what has no data makes no event, but its id counts."""
        return f": heartbeat\nid: {cursor}\n\n"


class Messages:
    """Objects with a `type` and a `cursor`."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def item(self, item: Item | Sent) -> str:
        """An event."""
        return f'{{"type":"{self._kind}","cursor":{item.seq},"{self._kind}":{item.text}}}'

    def notice(self, kind: str, body: Mapping[str, Any]) -> str:
        """Everything else."""
        return _json({"type": kind, **body})

    def heartbeat(self, cursor: int) -> str:
        """A message, for programs that cannot see a ping."""
        return _json({"type": "heartbeat", "cursor": cursor})


def _json(body: Mapping[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"))
