"""Settings of one engine process: units in the names, bounds checked here, defaults that suit a laptop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .hooks import RunHooks
from .membership import Lease
from .secrets import Secrets
from .strategy import ClaimStrategy

if TYPE_CHECKING:
    from .tracing import Tracing

__all__ = ["EngineConfig"]


@dataclass(slots=True, frozen=True)
class EngineConfig:
    """Everything an engine may be told. Raises ValueError with the field's name for a value out of bounds."""

    #: Executor attempts that run at a time in this process.
    slots: int = 100
    #: Threads for synchronous executors.
    threads: int = 32
    #: Queues this engine serves; None = every queue.
    queues: tuple[str, ...] | None = None
    #: False for processes that only write: command line, API.
    executes: bool = True
    lease: Lease = field(default_factory=Lease)
    #: How often an idle engine looks for work by itself; notifications are faster and may be lost.
    poll_s: float = 1.0
    #: How often recovery looks for engines that are gone.
    recovery_s: float = 2.0
    #: How long running tasks may go on after a stop was asked for.
    grace_s: float = 10.0
    #: A ready task whose executor no live engine has fails after this time; None = it waits for ever.
    missing_executor_s: float | None = 60.0
    #: Use LISTEN/NOTIFY on Postgres; switch off behind a transaction pooler (polling still works).
    notify: bool = True
    #: Make Python's garbage collector run later, in the whole process, unless somebody has set it.
    tune_gc: bool = True
    #: Gives the value of `secrets.NAME`; None = the database's store, else STRATAFLOW_SECRET_NAME.
    secret: Secrets | None = None
    #: Called around every attempt that this engine runs.
    hooks: RunHooks | None = None
    #: In which order ready tasks are taken; None = by priority, then by age.
    strategy: ClaimStrategy | None = None
    #: Private networks that webhooks may reach, such as `10.1.0.0/16`; None = STRATAFLOW_EGRESS_ALLOW, () = none.
    egress_allow: tuple[str, ...] | None = None
    #: Makes spans of runs, tasks and attempts; None = no tracing, at no cost.
    tracing: Tracing | None = None
    #: Log records know the attempt they belong to, and what executors say by `ctx.log` goes to the process's log too.
    log_attempts: bool = False

    def __post_init__(self) -> None:
        bounds = {
            "slots": (1, 100_000),
            "threads": (1, 10_000),
            "poll_s": (0.01, 3600),
            "recovery_s": (0.05, 3600),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must lie between {low} and {high}, not {value!r}")
        if self.lease.ttl_s <= self.lease.margin_s or self.lease.margin_s < 0:
            raise ValueError("lease.ttl_s must be larger than lease.margin_s")
        if self.queues is not None and not self.queues:
            raise ValueError("queues must name at least one queue, or be None for all")
