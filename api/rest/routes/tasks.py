"""Tasks: across runs, and one with its course; tried again, cancelled. What waits and what runs, in its order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Path, Query
from starlette.concurrency import run_in_threadpool

from ....repositories.records import TaskState
from ....services.operations import Operations
from ....services.task_pages import TaskFilter, task_json
from ..models.common import Why
from ..models.instances import Done
from ..models.tasks import Task, TaskCancel, TaskRecord, TaskSummary
from ..routing import (
    After,
    Called,
    Page,
    Size,
    cursor_of,
    instant_of,
    needs,
    page_of,
    place_of,
    router_of,
    seconds_of,
)
from ..waiting import Wait, wait_for
from .instances import status_for
from .selecting import Label, Tag, labels_of, tags_of, why_of

__all__ = ["router"]

router: Final = router_of("tasks")
Id = Annotated[str, Path(alias="id", description="An instance's id.")]
TaskPath = Annotated[
    str,
    Path(
        alias="path",
        description='A task\'s path; an item of a map with `key` may be named by it: `settle["ACME"]`.',
        examples=["settle[3]"],
    ),
]


@router.get("/tasks", openapi_extra=needs("read:tasks"))
def list_tasks(
    caller: Called,
    *,
    size: Size = 100,
    state: Annotated[list[TaskState] | None, Query(description="Only in these states.")] = None,
    queue: Annotated[str | None, Query(description="Only of this queue.")] = None,
    executor: Annotated[str | None, Query(description="Only of this executor.")] = None,
    node: Annotated[str | None, Query(description="Only of nodes with this name, a map's items too.")] = None,
    instance: Annotated[str | None, Query(description="Only of this run.")] = None,
    definition: Annotated[str | None, Query(description="Only of runs of this definition.")] = None,
    label: Label = None,
    tag: Tag = None,
    executed: Annotated[bool, Query(description="Only what an executor runs.")] = False,
    created_after: Annotated[
        datetime | None, Query(description="Only of runs made at this instant or later.")
    ] = None,
    created_before: Annotated[
        datetime | None, Query(description="Only of runs made before this instant.")
    ] = None,
    after: After = None,
) -> Page[TaskSummary]:
    """List tasks of all runs: those of the newest run first, of a run in path order.

    Where few of very many runs have such a task, a page may be short, or empty, and still have a `next`.
    """
    where = TaskFilter(
        states=frozenset(state or ()),
        queue=queue,
        executor=executor,
        node=node,
        instance_id=instance,
        name=definition,
        labels=tuple(labels_of(label).items()),
        label_names=tags_of(tag),
        executed=executed,
        created_after=instant_of(created_after),
        created_before=instant_of(created_before),
    )
    place = place_of(after, int, UUID, str)
    found, following = caller.services.task_pages.page(
        where, limit=size, after=(place[0], place[1], place[2]) if place else None
    )
    items = [TaskSummary(**task_json(each)) for each in found]
    return Page(items=items, next=None if following is None else cursor_of(*following))


@router.get("/instances/{id}/tasks", openapi_extra=needs("read:tasks"))
def list_instance_tasks(
    instance_id: Id,
    caller: Called,
    *,
    size: Size = 100,
    state: Annotated[TaskState | None, Query(description="Only in this state.")] = None,
    under: Annotated[str | None, Query(description="Only inside this task.")] = None,
    after: Annotated[
        str, Query(max_length=4_000, description="`next` of the page before, which is a path.")
    ] = "",
) -> Page[Task]:
    """List a run's tasks in path order, each with what it got and what it gave."""
    found = caller.services.executions.tasks(
        instance_id, state=state, under=under, after=after, at_once=size + 1
    )
    return page_of(found, size, lambda each: each.as_json(), lambda each: each.path)


@router.get("/instances/{id}/tasks/{path:path}", openapi_extra=needs("read:tasks"), response_model=TaskRecord)
async def get_task(instance_id: Id, path: TaskPath, caller: Called, wait: Wait = None) -> dict[str, Any]:
    """Give one task: input, output, error, attempts, progress, checkpoint. With `wait` once it has ended."""
    pages = caller.services.task_pages
    if wait is not None:
        await wait_for(lambda: pages.has_ended(instance_id, path), wait)
    found = await run_in_threadpool(pages.get, instance_id, path)
    return found.as_json()


@router.post(
    "/instances/{id}/tasks/{path:path}/retry", openapi_extra=needs("operate:tasks"), response_model=Done
)
def retry_task(instance_id: Id, path: TaskPath, body: Why, caller: Called) -> dict[str, Any]:
    """Try a task again, and what follows from it. Its run has to have ended."""
    caller.services.task_pages.get(instance_id, path)  # says that there is none
    return _done(
        caller, instance_id, lambda ops: ops.retry(instance_id, why_of(caller, body.reason, "retried"), path)
    )


@router.post(
    "/instances/{id}/tasks/{path:path}/cancel", openapi_extra=needs("operate:tasks"), response_model=Done
)
def cancel_task(instance_id: Id, path: TaskPath, body: TaskCancel, caller: Called) -> dict[str, Any]:
    """Cancel a task that is its run's only one, queued or running, and with it the run. 409 for one of several."""
    grace = seconds_of(body.grace, "/body/grace") if body.grace is not None else None
    why = why_of(caller, body.reason, "cancelled")
    return _done(
        caller, instance_id, lambda _: caller.services.task_pages.cancel(instance_id, path, why, grace)
    )


def _done(caller: Called, instance_id: str, act: Callable[[Operations], str]) -> dict[str, Any]:
    answer = act(caller.services.operations)
    status = caller.services.executions.status(instance_id)
    return {"status": answer, "instance": status_for(caller, status)}
