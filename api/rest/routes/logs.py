"""What tasks have logged: searched, exported, deleted."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import islice
from typing import Annotated, Any, Final, Literal, TextIO

from fastapi import Path, Query
from starlette.responses import Response

from ....engine.outputs import iso
from ....repositories.readmodels import LogEntry
from ....repositories.records import InstanceState
from ....services.log_retention import delete_logs, purge_logs
from ..models.common import Deleted
from ..models.instances import LogLine
from ..routing import Called, Page, Seq, Size, instant_of, needs, page_of, router_of, seconds_of
from ..spooling import LINES, spooled

__all__ = ["router"]

router: Final = router_of("logs")
Id = Annotated[str, Path(alias="id", description="An instance's id.")]
LogPath = Annotated[str | None, Query(alias="path", description="Only of this task.")]
Level = Annotated[
    Literal["debug", "info", "warning", "error", "critical"] | None,
    Query(description="This level or a more severe one."),
]
Search = Annotated[
    str | None, Query(min_length=1, max_length=200, description="A text that the line has, in any case.")
]
Since = Annotated[datetime | None, Query(description="Logged at this instant or later.")]
Until = Annotated[datetime | None, Query(description="Logged at this instant or before.")]
#: Transactions of one call that deletes.
_BATCHES: Final = 20


@router.get("/instances/{id}/logs", openapi_extra=needs("read:logs"))
def list_logs(
    instance_id: Id,
    caller: Called,
    *,
    size: Size = 100,
    path: LogPath = None,
    level: Level = None,
    search: Search = None,
    since: Since = None,
    until: Until = None,
    after: Seq = 0,
) -> Page[LogLine]:
    """List what a run's tasks have logged, in order, also while it runs: go on behind the last `seq` seen."""
    executions = caller.services.executions
    found = executions.logs(
        executions.known(instance_id),
        path=path,
        level=level,
        search=search,
        since=instant_of(since),
        until=instant_of(until),
        after=after,
    )
    return page_of(found, size, _line, lambda each: str(each.seq))


@router.get(
    "/instances/{id}/logs/export",
    openapi_extra=needs("read:logs"),
    response_class=Response,
    responses=LINES,
)
def export_logs(
    instance_id: Id,
    caller: Called,
    *,
    path: LogPath = None,
    level: Level = None,
    search: Search = None,
    since: Since = None,
    until: Until = None,
) -> Response:
    """Give all of a run's log lines that fit, as lines of JSON."""
    executions = caller.services.executions
    known = executions.known(instance_id)

    found = executions.logs(
        known, path=path, level=level, search=search, since=instant_of(since), until=instant_of(until)
    )

    def write(out: TextIO) -> None:
        out.writelines(
            json.dumps(_line(each), ensure_ascii=False, separators=(",", ":")) + "\n" for each in found
        )

    return spooled(write, f"{known}-logs.jsonl")


@router.delete("/instances/{id}/logs", openapi_extra=needs("admin:logs"), response_model=Deleted)
def delete_instance_logs(
    instance_id: Id,
    caller: Called,
    until: Annotated[datetime | None, Query(description="Only lines before this instant.")] = None,
) -> dict[str, Any]:
    """Delete a run's log lines, some thousands in one call; the run stays. Ask again while `more` is true."""
    known = caller.services.executions.known(instance_id)
    done = list(islice(delete_logs(caller.services.database, known, instant_of(until)), _BATCHES))
    return {"deleted": sum(done), "more": len(done) == _BATCHES}


@router.delete("/logs", openapi_extra=needs("admin:logs"), response_model=Deleted)
def purge_all_logs(
    caller: Called,
    older: Annotated[str, Query(description="Written longer ago than this.", examples=["30d"])],
    state: Annotated[list[InstanceState] | None, Query(description="Only of runs in these states.")] = None,
    name: Annotated[str | None, Query(description="Only of runs of this definition.")] = None,
) -> dict[str, Any]:
    """Delete old log lines of all runs, live ones too; nothing else. Ask again while `more` is true."""
    age = seconds_of(older, "/query/older")
    batches = purge_logs(caller.services.database, age, states=state or (), name=name)
    done = list(islice(batches, _BATCHES))
    return {"deleted": sum(done), "more": len(done) == _BATCHES}


def _line(each: LogEntry) -> dict[str, Any]:
    return {
        "seq": each.seq,
        "at": iso(each.at),
        "path": each.path,
        "attempt": each.attempt,
        "level": each.level,
        "message": each.message,
    }
