"""Four sources are asked side by side; when all have answered, a callback sums up what they said, in their order.

Run it: `python examples/tasks/chord.py`. It leaves `tasks-example.db` in the current folder.
"""

from __future__ import annotations

import asyncio
from typing import Any

from strataflow import TaskSystem

system = TaskSystem("sqlite:///tasks-example.db")
SOURCES = {"north": 0.2, "south": 0.05, "east": 0.1, "west": 0.0}


@system.handler("ask")
async def ask(payload: dict[str, Any]) -> dict[str, Any]:
    """Ask one source; some are slow."""
    await asyncio.sleep(SOURCES[payload["source"]])
    return {"source": payload["source"], "orders": len(payload["source"]) * 10}


@system.handler("sum_up")
def sum_up(payload: dict[str, Any]) -> str:
    """Put the answers together; they come as `_chord_results`."""
    answers = payload["_chord_results"]
    each = ", ".join(f"{answer['source']} {answer['orders']}" for answer in answers)
    return f"{payload['title']}: {each}; {sum(answer['orders'] for answer in answers)} in all"


def main() -> None:
    """Ask all of them."""
    with system:
        asked = [("ask", {"source": name}) for name in SOURCES]
        print(system.chord(asked, ("sum_up", {"title": "orders"})).get(timeout=30))


if __name__ == "__main__":
    main()
