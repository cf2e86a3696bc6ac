"""What starts by itself at a server: schedules and triggers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ...engine.payload import encode
from ...engine.triggers import Emitted
from ...repositories.schedule_rows import FiringRow, ScheduleRow, TriggerRow
from ..schedules import ScheduleSpec
from ..triggers import TriggerSpec
from .client import Remote, at
from .records import instant, revive

__all__ = ["RemoteSchedules", "RemoteTriggers"]


class RemoteSchedules:
    """As `SchedulerService`, through a server."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    # --- looking

    def list(self) -> list[ScheduleRow]:
        """Every schedule, by name."""
        return [_schedule(each) for each in self._remote.pages("/schedules")]

    def get(self, name: str) -> ScheduleRow:
        """One schedule. Raises NotFound."""
        return _schedule(self._remote.get(at("schedules", name)))

    def history(self, name: str, *, limit: int = 100) -> list[FiringRow]:
        """What became of its instants, newest first."""
        return [_firing(each) for each in self._remote.pages(at("schedules", name, "history"), limit=limit)]

    def preview(self, spec: ScheduleSpec | str, count: int = 10) -> list[int]:
        """When it fires next. Raises NotFound, RequestError."""
        if isinstance(spec, str):
            found = self._remote.get(at("schedules", spec, "upcoming"), {"count": count})
        else:
            found = self._remote.send("POST", "/schedules/preview", _wish(spec), query={"count": count})
        return [when for each in found["instants"] if (when := instant(each)) is not None]

    # --- changing

    def create(self, spec: ScheduleSpec) -> ScheduleRow:
        """Save a schedule. Raises Conflict, RequestError."""
        return _schedule(self._remote.send("POST", "/schedules", _wish(spec)))

    def update(self, spec: ScheduleSpec) -> ScheduleRow:
        """Replace what a schedule says. Raises NotFound, RequestError."""
        body = {name: value for name, value in _wish(spec).items() if name != "name"}
        return _schedule(self._remote.send("PUT", at("schedules", spec.name), body))

    def remove(self, name: str) -> None:
        """Delete a schedule with its history. Raises NotFound."""
        self._remote.send("DELETE", at("schedules", name))

    def pause(self, name: str, reason: str | None = None) -> ScheduleRow:
        """Fire nothing until it is resumed. Raises NotFound, Conflict."""
        return _schedule(self._remote.send("POST", at("schedules", name, "pause"), {"reason": reason}))

    def resume(self, name: str) -> ScheduleRow:
        """Fire again, from now on. Raises NotFound, Conflict."""
        return _schedule(self._remote.send("POST", at("schedules", name, "resume")))

    # --- firing by hand

    def trigger(self, name: str, *, force: bool = False) -> FiringRow:
        """Fire now, under the overlap policy unless forced. Raises NotFound."""
        return _firing(self._remote.send("POST", at("schedules", name, "trigger"), {"force": force}))

    def backfill(self, name: str, start: datetime, end: datetime) -> list[FiringRow]:
        """Fire the instants of a range that have not fired; of very many the first. Raises NotFound, RequestError."""
        body = {"start": start.isoformat(), "end": end.isoformat()}
        found = self._remote.send("POST", at("schedules", name, "backfill"), body)
        return [_firing(each) for each in found["items"]]


class RemoteTriggers:
    """As `TriggerService`, through a server."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def list(self) -> list[TriggerRow]:
        """Every trigger, by name."""
        return [_trigger(each) for each in self._remote.pages("/triggers")]

    def create(self, spec: TriggerSpec) -> TriggerRow:
        """Save a trigger. Raises Conflict, RequestError."""
        return _trigger(self._remote.send("POST", "/triggers", asdict(spec)))

    def remove(self, name: str) -> None:
        """Delete a trigger. Raises NotFound."""
        self._remote.send("DELETE", at("triggers", name))

    def pause(self, name: str) -> TriggerRow:
        """Let events pass. Raises NotFound."""
        return _trigger(self._remote.send("POST", at("triggers", name, "pause")))

    def resume(self, name: str) -> TriggerRow:
        """Take events again. Raises NotFound."""
        return _trigger(self._remote.send("POST", at("triggers", name, "resume")))

    def emit(self, name: str, payload: Any = None, *, event_id: str | None = None) -> list[Emitted]:
        """Tell an event; gives what it came to at each trigger that takes its name."""
        body = {"name": name, "payload": payload, "id": event_id}
        found = self._remote.send("POST", "/events", body)["items"]
        return [revive(Emitted, each, instance_id=each["instance"]) for each in found]


def _wish(spec: ScheduleSpec) -> dict[str, Any]:
    values = asdict(spec)
    moments = {name: value.isoformat() for name, value in values.items() if isinstance(value, datetime)}
    return values | moments


def _schedule(found: Mapping[str, Any]) -> ScheduleRow:
    every: float | None = found["every_s"]
    return revive(
        ScheduleRow,
        found,
        id="",
        **_reference(found),
        every=None if every is None else round(every * 1_000_000),
        jitter=round(found["jitter_s"] * 1_000_000),
        cooldown=round(found["cooldown_s"] * 1_000_000),
        inputs=_text(found["inputs"]),
        fired_until=0,
    )


def _trigger(found: Mapping[str, Any]) -> TriggerRow:
    return revive(
        TriggerRow,
        found,
        id="",
        **_reference(found),
        match=_text(found["match"]),
        inputs=_text(found["inputs"]),
    )


def _firing(found: Mapping[str, Any]) -> FiringRow:
    return revive(FiringRow, found, schedule_id="", instance_id=found["instance"])


def _reference(found: Mapping[str, Any]) -> dict[str, Any]:
    name, _, version = str(found["definition"]).partition("@")
    return {"definition": name, "version": int(version) if version else None}


def _text(value: Any) -> str | None:
    return None if value is None else encode(value)
