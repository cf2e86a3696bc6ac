"""Tasks that start by themselves: a thin facade over the schedules of the engine, which fire in every process.

A schedule starts the one-node definition of a task, so that its runs are tasks like any other, each with an id of its
own. It stands in the database and outlives every process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ...engine.errors import Conflict, EngineError, NotFound, WaitTimeout
from ...engine.outputs import iso
from ...engine.payload import decode, encode
from ...engine.schedules import rendered
from ...engine.translate import engine_errors
from ..schedules import SchedulerService, ScheduleSpec
from .config import PRIORITIES, Execution, Task, TaskConfig, configured
from .definitions import PREFIX, TaskDefinitions
from .room import tries

if TYPE_CHECKING:
    from ...engine.workflow_engine import WorkflowEngine
    from ...repositories.schedule_rows import FiringRow, ScheduleRow
    from .async_result import AsyncResult

__all__ = ["ScheduleInfo", "TaskSchedule", "TaskSchedules", "split"]

_KINDS: Final = ("cron", "every_s", "at")
#: What of a task's options a schedule can say.
_OPTIONS: Final = frozenset({"retries", "queue", "priority", *Execution.__slots__})
#: What else a schedule can be told; see `ScheduleSpec`.
_TIMES: Final = frozenset(
    {
        "catch_up",
        "cooldown_s",
        "end_at",
        "jitter_s",
        "misfire",
        "overlap",
        "start_at",
        "timezone",
        *_KINDS,
    }
)
_RECENT: Final = 200
_CENTURY_S: Final = 100 * 365 * 86_400.0
#: How long the start of a run by hand is waited for.
_START_S: Final = 30.0
_KEEP: Final = object()


@dataclass(slots=True, frozen=True)
class ScheduleInfo:
    """A schedule as it stands; one of `cron`, `every_s` and `at` is not None."""

    name: str
    #: Name of the task that it starts.
    task: str
    payload: Any
    config: TaskConfig
    cron: str | None
    every_s: float | None
    at: datetime | None
    timezone: str
    overlap: str
    misfire: str
    enabled: bool
    #: None while it is disabled, and when its times are over.
    next_run: datetime | None
    #: Instant of the last firing that started a task.
    last_run: datetime | None
    run_count: int
    #: Firings that were left out, by its overlap or misfire policy or because nothing could start.
    skip_count: int
    #: Why it is disabled, or why its last firing started nothing.
    problem: str | None


class TaskSchedule:
    """A handle on one schedule; it keeps nothing but the name. Every method raises NotFound when it is gone."""

    __slots__ = ("_schedules", "name")

    def __init__(self, name: str, schedules: TaskSchedules) -> None:
        self.name: Final = name
        self._schedules = schedules

    def __repr__(self) -> str:
        return f"TaskSchedule({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskSchedule) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def info(self) -> ScheduleInfo:
        """How it stands now."""
        return self._schedules.info(self.name)

    def disable(self, reason: str | None = None) -> None:
        """Start nothing until it is enabled; tasks that it started go on."""
        self._schedules.service(self.name).pause(self.name, reason)

    def enable(self) -> None:
        """Start tasks again from now on; what its times passed meanwhile is not caught up."""
        self._schedules.service(self.name).resume(self.name)

    def remove(self) -> None:
        """Delete it and its history; tasks that it started stay."""
        self._schedules.service(self.name).remove(self.name)

    def trigger_now(self, *, force: bool = False) -> AsyncResult:
        """Start its task now, also while it is disabled; gives the task.

        Raises Conflict when the overlap policy forbids it, which `force` does not ask, or nothing could start.
        """
        return self._schedules.trigger(self.name, force=force)

    def update(self, *, payload: Any = _KEEP, **changes: Any) -> ScheduleInfo:
        """Change its payload, times or options, each as in `TaskSystem.schedule`; what is not named stays.

        Raises Conflict for a time of another kind: an interval is no cron text.
        """
        self._schedules.update(self.name, payload, changes)
        return self.info

    def runs(self, limit: int = 100) -> list[AsyncResult]:
        """Tasks that it started, the newest first."""
        return self._schedules.runs(self.name, limit)

    def upcoming(self, count: int = 5) -> list[datetime]:
        """When it will fire next, if it is enabled."""
        return [_moment(at) for at in self._schedules.service(self.name).preview(self.name, count)]


class TaskSchedules:
    """Makes and finds the schedules of tasks."""

    def __init__(
        self,
        engine: Callable[[], WorkflowEngine],
        definitions: TaskDefinitions,
        result: Callable[[str], AsyncResult],
        exists: Callable[[str], bool],
    ) -> None:
        self._engine = engine
        self._definitions = definitions
        self._result = result
        self._exists = exists

    def create(self, task: Task, name: str | None, times: Mapping[str, Any]) -> TaskSchedule:
        """Save a schedule. Raises InvalidSchedule, PayloadError, TypeError, ValueError, Conflict for a taken name."""
        spec = self._spec(name or task.name, task, times)
        self._all().create(spec)
        return TaskSchedule(spec.name, self)

    def list(self) -> list[TaskSchedule]:
        """Every schedule of a task, by name."""
        return [TaskSchedule(row.name, self) for row in self._all().list() if _is_ours(row)]

    def service(self, name: str) -> SchedulerService:
        """The engine's schedules, for one that there is. Raises NotFound."""
        found = self._all()
        self._row(found, name)
        return found

    def info(self, name: str) -> ScheduleInfo:
        """How one stands."""
        service = self._all()
        row = self._row(service, name)
        task = self._task(row)
        last = next((each.at for each in service.history(name, limit=_RECENT) if each.instance_id), None)
        return ScheduleInfo(
            name=row.name,
            task=task.name,
            payload=task.payload,
            config=task.config,
            cron=row.cron,
            every_s=None if row.every is None else row.every / 1_000_000,
            at=None if row.at is None else _moment(row.at),
            timezone=row.timezone,
            overlap=row.overlap,
            misfire=row.misfire,
            enabled=row.state == "active",
            next_run=None if row.next_at is None else _moment(row.next_at),
            last_run=None if last is None else _moment(last),
            run_count=row.runs,
            skip_count=row.skips,
            problem=row.problem,
        )

    def trigger(self, name: str, *, force: bool) -> AsyncResult:
        """Start the task of one now, and wait until it is there."""
        fired: FiringRow = self.service(name).trigger(name, force=force)
        if fired.instance_id is None:
            raise Conflict(
                f"schedule {name!r} started nothing: {fired.reason}.", hint="`force` starts it anyway."
            )
        for _ in tries(_START_S):
            if self._exists(fired.instance_id):
                return self._result(fired.instance_id)
        raise WaitTimeout(
            f"the task {fired.instance_id} of schedule {name!r} has not begun to exist within {_START_S:g} s.",
            hint="It was asked for and comes as soon as the database is free.",
        )

    def update(self, name: str, payload: Any, changes: Mapping[str, Any]) -> None:
        """Change one."""
        service = self._all()
        row = self._row(service, name)
        _known(changes)
        kind = next(each for each in _KINDS if _times_of(row)[each] is not None)
        for other in _KINDS:
            if other != kind and changes.get(other) is not None:
                raise Conflict(
                    f"schedule {name!r} is told by {kind!r}, not by {other!r}.",
                    hint="Remove it and make a new one of the other kind.",
                )
        old = self._task(row)
        options = {key: value for key, value in changes.items() if key in _OPTIONS}
        task = Task(old.name, old.payload if payload is _KEEP else payload, configured(old.config, options))
        times = {key: value for key, value in changes.items() if key in _TIMES}
        service.update(self._spec(name, task, _times_of(row) | times))

    def runs(self, name: str, limit: int) -> list[AsyncResult]:
        """Tasks that one started."""
        found: list[AsyncResult] = []
        service, before = self.service(name), None
        while True:
            page = service.history(name, limit=_RECENT, before=before)
            found += [self._result(each.instance_id) for each in page if each.instance_id is not None]
            if len(page) < _RECENT or len(found) >= limit:
                return found[:limit]
            before = page[-1].at

    # --- between a task and a row

    def _all(self) -> SchedulerService:
        engine = self._engine()
        return SchedulerService(engine.database, engine.parts.catalog, engine)

    @staticmethod
    def _row(service: SchedulerService, name: str) -> ScheduleRow:
        try:
            row = service.get(name)
        except NotFound:
            row = None
        if row is None or not _is_ours(row):
            raise NotFound(f"there is no schedule {name!r} of a task.", hint="`schedules()` lists them.")
        return row

    def _spec(self, name: str, task: Task, times: Mapping[str, Any]) -> ScheduleSpec:
        _known(times)
        engine = self._engine()
        inputs = {"payload": task.payload}
        text = encode(inputs)
        try:
            rendered(text, {"instance": {"scheduled_for": iso(1_000_000)}})
        except EngineError as exc:
            raise EngineError(
                f"the payload's templates cannot be filled in: {exc}",
                hint="They may read `instance.scheduled_for`; braces that are text are written {{ '{{' }}.",
            ) from exc
        definition = self._definitions.plain(engine, task.name, task.config)
        return ScheduleSpec(
            name=name,
            definition=f"{definition.name}@{definition.version}",
            inputs=inputs,
            queue=task.config.queue,
            priority=task.config.engine_priority,
            **times,
        )

    def _task(self, row: ScheduleRow) -> Task:
        engine = self._engine()
        with engine_errors():
            definition = engine.parts.catalog.find(f"{row.definition}@{row.version}")
        described = self._definitions.described(engine, definition.id)
        options = {each: getattr(described.execution, each) for each in Execution.__slots__}
        config = TaskConfig(
            **options, queue=row.queue or "default", priority=(row.priority or 0) + PRIORITIES["normal"]
        )
        payload = decode(row.inputs)["payload"] if row.inputs else None
        return Task(described.name, payload, config)


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Times of a schedule, and options of its task. Raises TypeError for anything else, ValueError."""
    _known(options)
    times = {key: value for key, value in options.items() if key in _TIMES}
    return times, {key: value for key, value in options.items() if key in _OPTIONS}


def _known(given: Mapping[str, Any]) -> None:
    if other := sorted(set(given) - _TIMES - _OPTIONS):
        known = ", ".join(sorted(_TIMES | _OPTIONS))
        raise TypeError(f"{other[0]!r} cannot be said of a scheduled task; there are {known}")
    kinds: dict[str, Any] = {
        "cron": str | None,
        "timezone": str,
        "overlap": str,
        "misfire": str,
        "catch_up": int,
    }
    kinds |= dict.fromkeys(("every_s", "jitter_s", "cooldown_s"), int | float | None)
    kinds |= dict.fromkeys(("at", "start_at", "end_at"), datetime | None)
    for name, kind in kinds.items():
        if name in given and (not isinstance(given[name], kind) or isinstance(given[name], bool)):
            raise ValueError(f"{name} cannot be {given[name]!r}")
    for name in ("every_s", "jitter_s", "cooldown_s"):
        if given.get(name) is not None and not 0 <= given[name] <= _CENTURY_S:
            raise ValueError(f"{name} is a number of seconds, 0 or more, not {given[name]!r}")


def _is_ours(row: ScheduleRow) -> bool:
    return row.definition.startswith(PREFIX) and row.version is not None and row.origin == "api"


def _times_of(row: ScheduleRow) -> dict[str, Any]:
    return {
        "cron": row.cron,
        "every_s": None if row.every is None else row.every / 1_000_000,
        "at": None if row.at is None else _moment(row.at),
        "timezone": row.timezone,
        "overlap": row.overlap,
        "misfire": row.misfire,
        "catch_up": row.catch_up,
        "jitter_s": row.jitter / 1_000_000,
        "cooldown_s": row.cooldown / 1_000_000,
        "start_at": None if row.start_at is None else _moment(row.start_at),
        "end_at": None if row.end_at is None else _moment(row.end_at),
    }


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1_000_000, UTC)
