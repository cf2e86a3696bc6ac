"""The document's pace: `limits`, which bound what runs at once, and `schedule`, which starts runs by itself.

Beside `definition_parts`: small objects without nodes, which `definition` takes as fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from .definition_parts import TAG_MARK, Model
from .field_texts import CounterKey, CounterName, PlainText
from .fields import Count, Delay, Moment, RateText

__all__ = ["Limits", "Schedule", "TotalLimits"]


def _mutex_tag(value: Any) -> str:
    return TAG_MARK + ("list" if isinstance(value, (list, tuple)) else "text")


_Mutex = Annotated[
    Annotated[CounterKey, Tag(TAG_MARK + "text")]
    | Annotated[tuple[CounterKey, ...], Field(strict=False, min_length=1), Tag(TAG_MARK + "list")],
    Discriminator(_mutex_tag),
]


class TotalLimits(Model):
    """How many tasks run at once and how fast they begin, over all runs of the definition's name."""

    concurrency: Count | None = Field(default=None, description="Most tasks that run at once.")
    rate: RateText | None = Field(
        default=None, description="How many begin in a time, spread evenly: `50/s`, `100/10s`."
    )
    burst: Count = Field(default=1, description="With `rate`: how many may begin at once after a pause.")


class Limits(TotalLimits):
    """How many tasks of a node run at once, how fast they begin, and what they share with others."""

    key: CounterKey | None = Field(
        default=None,
        description="Text or whole number: `concurrency` and `rate` hold for each one by itself.",
    )
    group: CounterName | None = Field(
        default=None, description="Nodes that name the same group, in any definition, are counted together."
    )
    mutex: _Mutex | None = Field(
        default=None, description="One text or several: of all tasks that name one, only one runs at a time."
    )
    pools: dict[CounterName, Count] | None = Field(
        default=None, description="How much of which resource pool a task holds while it runs, by name."
    )


class Schedule(Model):
    """When the active version starts by itself: exactly one of `cron` and `every`."""

    cron: PlainText | None = Field(
        default=None, description="Minute, hour, day of month, month and weekday: `15 2 * * *`."
    )
    every: Delay | None = Field(
        default=None, description="Real time from one firing to the next; a second at least."
    )
    timezone: PlainText = Field(default="UTC", description="Zone whose clock `cron` means: `Europe/Paris`.")
    overlap: Literal["allow", "skip", "queue", "cancel"] = Field(
        default="allow",
        description="While an earlier run is unfinished: start beside it, do not start, wait, or cancel it.",
    )
    misfire: Literal["skip", "latest", "all"] = Field(
        default="latest", description="Firings that were missed: none, the last one, or all start late."
    )
    catch_up: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100, description="With `misfire` `all`: most firings that start late."
    )
    jitter: Delay = Field(default="0s", description="Each firing starts up to so much later.")
    start_at: Moment | None = Field(default=None, description="No firing before this instant.")
    end_at: Moment | None = Field(default=None, description="No firing after this instant.")
    inputs: dict[str, Any] | None = Field(
        default=None, description="Inputs of the runs; reads `instance.scheduled_for`."
    )
