"""Watching an instance until it ends: a live table on a terminal, a calm line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ...services.checks import many
from .output import clean, console, short, state_text, took
from .stopping import Stop

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from ...services.live import NodeProgress, Snapshot
    from ...services.ports import Executions, Looks

__all__ = ["draw", "until_ended"]

_REFRESH_S: Final = 0.12
#: Drawing takes at most this share of the time, however large the definition.
_SHARE: Final = 0.2
_BAR: Final = 20
_MARKS: Final = {
    "completed": ("✔", "green"),
    "failed": ("✘", "red"),
    "expired": ("✘", "red"),
    "cancelled": ("■", "magenta"),
    "skipped": ("∅", "dim"),
    "running": ("▶", "cyan"),
    "waiting": ("◷", "cyan"),
    "retrying": ("↻", "yellow"),
    "paused": ("⏸", "yellow"),
}
#: Which nodes are shown when there is no room for all.
_FIRST: Final = ("failed", "running", "retrying", "waiting", "queued", "paused", "cancelled", "completed")


def until_ended(executions: Executions, instance_id: str, stop: Stop, limit_s: float | None = None) -> bool:
    """Wait until the instance has ended; False when asked to stop, or after the limit."""
    deadline = None if limit_s is None else time.monotonic() + limit_s
    if sys.stderr.isatty():
        return _live(executions, instance_id, stop, deadline)
    return _quiet(executions, instance_id, stop, deadline, 0.25)


def _quiet(
    executions: Executions, instance_id: str, stop: Stop, deadline: float | None, pause_s: float
) -> bool:
    while not stop.is_set():
        left = pause_s if deadline is None else min(pause_s, deadline - time.monotonic())
        if executions.wait(instance_id, max(0.0, left)):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False
    return False


def _live(executions: Executions, instance_id: str, stop: Stop, deadline: float | None) -> bool:
    from rich.live import Live

    view = executions.live(instance_id)
    out = console(stderr=True)
    with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            began = time.monotonic()
            live.update(_look(view, out.size.height), refresh=True)
            pause = max(_REFRESH_S, (time.monotonic() - began) / _SHARE)
            until = (
                min(time.monotonic() + pause, deadline) if deadline is not None else time.monotonic() + pause
            )
            ended = _quiet(executions, instance_id, stop, until, pause)
            if ended or stop.is_set() or (deadline is not None and time.monotonic() >= deadline):
                live.update(_look(view, out.size.height), refresh=True)
                return ended


def _look(view: Looks, height: int) -> RenderableType:
    return draw(view.read(), max_nodes=max(3, height - 5))


def draw(snapshot: Snapshot, *, max_nodes: int | None = None) -> RenderableType:
    """An instance as a heading and one line per top-level node."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    heading = Text.assemble(
        (f"{snapshot.name} v{snapshot.version}", "bold"),
        f"  {short(snapshot.id)}  ",
        state_text(snapshot.state),
        f"  {took(snapshot.created_at, snapshot.ended_at or snapshot.now)}",
    )
    table = Table.grid(padding=(0, 2, 0, 0))
    for style, ratio in (("", None), ("bold", None), ("dim", None), ("", None)):
        table.add_column(style=style, no_wrap=True, overflow="ellipsis", ratio=ratio)
    table.add_column(no_wrap=True, justify="right", style="dim")
    chosen = _chosen(snapshot.nodes, max_nodes)
    for node in chosen:
        _add_row(table, node, snapshot.now)
    hidden = sum(snapshot.counts.values()) - len(chosen)
    below = [_rest(snapshot.counts, chosen)] if hidden else []
    return Group(heading, table, *below, *_signals_wanted(snapshot))


def _signals_wanted(snapshot: Snapshot) -> list[RenderableType]:
    """What to type, in another terminal, for the signals it waits for."""
    from rich.text import Text

    names = dict.fromkeys(node.signal for node in snapshot.nodes if node.signal)
    return [
        Text(f"to go on: strataflow signal {short(snapshot.id)} {name}", style="yellow") for name in names
    ]


def _chosen(nodes: tuple[NodeProgress, ...], limit: int | None) -> list[NodeProgress]:
    """What fits: all, or what matters now, in the nodes' own order."""
    if limit is None or len(nodes) <= limit:
        return list(nodes)
    rank = {state: position for position, state in enumerate(_FIRST)}

    def weight(position: int) -> tuple[int, int]:
        node = nodes[position]
        late = -(node.ended_at or 0)  # of those that have ended, the last
        return rank.get(str(node.state), len(_FIRST)), late

    best = sorted(range(len(nodes)), key=weight)[:limit]
    return [nodes[position] for position in sorted(best)]


def _rest(counts: Mapping[Any, int], chosen: list[NodeProgress]) -> RenderableType:
    from collections import Counter

    from rich.text import Text

    left = Counter[str]()
    for state, count in counts.items():
        left[str(state or "pending")] += count
    left.subtract(str(node.state or "pending") for node in chosen)
    told = ", ".join(f"{count:,} {state}" for state, count in sorted(left.items()) if count > 0)
    return Text(f"… and {many(sum(left.values()), 'more node')}: {told}", style="dim")


def _add_row(table: Table, node: NodeProgress, now: int) -> None:
    from rich.text import Text

    mark, style = _MARKS.get(str(node.state), ("·", "dim"))
    what = node.executor if node.kind == "run" else " ".join(filter(None, (node.kind, node.executor)))
    time_taken = took(node.started_at, node.ended_at or now) if node.state and node.state != "pending" else ""
    table.add_row(Text(mark, style=style), node.name, what or "", _middle(node), time_taken)


def _middle(node: NodeProgress) -> RenderableType:
    """State, or how far it is."""
    from rich.text import Text

    if node.kind == "map" and node.total is not None:
        return _counts(node)
    if node.state == "running" and node.fraction is not None:
        message = f"  {clean(node.message)}" if node.message else ""
        return _bar(node.fraction, 1.0, f"{node.fraction:.0%}{message}")
    if node.state is None:
        return Text("")
    text = state_text(node.state)
    if node.attempt > 1:
        text.append(f", attempt {node.attempt}", style="dim")
    return text


def _counts(node: NodeProgress) -> RenderableType:
    from rich.text import Text

    total = node.total or 0
    ended = node.done + node.failed + node.skipped
    text = Text(f"{ended:,}/{total:,}")
    if node.failed:
        text.append(f", {node.failed:,} failed", style="red")
    if node.skipped:
        text.append(f", {node.skipped:,} skipped", style="dim")
    return _bar(ended, max(total, 1) if total else 0, text)


def _bar(done: float, total: float, text: str | Text) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=_BAR)
    grid.add_column(no_wrap=True)
    grid.add_row(ProgressBar(total=total or 1, completed=done if total else 1, width=_BAR), text)
    return grid
