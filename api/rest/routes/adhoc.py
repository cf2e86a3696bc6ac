"""Runs of definitions that nobody has registered: `POST /tasks/run/ad_hoc` gives a `task_id` at once.

The same routes stand at the root (`root`) for callers that know no prefix.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from ....engine.starts import StartOptions
from ....services.access.scopes import Need
from ....services.adhoc import record_of, run_ad_hoc
from ..models.tasks import AdHoc, AdHocRecord, AdHocStarted
from ..problems import Refused
from ..routing import Called, located, needs, router_of
from ..waiting import Wait, wait_for_instance
from .instances import DEFINE

__all__ = ["root", "router"]

router: Final = router_of("ad-hoc")
#: The same without a prefix.
root: Final = router_of("ad-hoc")
_SEEN: Final = Need("read", "definitions")
TaskId = Annotated[str, Path(description="What `POST /tasks/run/ad_hoc` gave.")]
_RUN: Final[dict[str, Any]] = {
    "status_code": 202,
    "openapi_extra": needs("start:instances"),
    "response_model": AdHocStarted,
}
_RECORD: Final[dict[str, Any]] = {"openapi_extra": needs("read:instances"), "response_model": AdHocRecord}


@router.post("/tasks/run/ad_hoc", **_RUN)
@root.post("/tasks/run/ad_hoc", include_in_schema=False, **_RUN)
def run_ad_hoc_task(body: AdHoc, caller: Called) -> JSONResponse:
    """Run a definition, or a list of steps, once. It is durable when this answers, and nothing of it has run.

    It needs the scope `define:definitions` too.
    """
    caller.require(DEFINE)
    engine = caller.services.engine
    if engine is None:
        raise Refused(503, "stopped", "this process has no engine.")
    with located(document="/body/task_spec"):
        task_id = run_ad_hoc(engine, body.task_spec, body.inputs, options=StartOptions(id=caller.new_id))
    return JSONResponse({"task_id": task_id}, 202, {"Location": f"tasks/{task_id}"})


@router.get("/tasks/{task_id}", **_RECORD)
@root.get("/tasks/{task_id}", include_in_schema=False, **_RECORD)
async def get_ad_hoc_task(task_id: TaskId, caller: Called, wait: Wait = None) -> dict[str, Any]:
    """Give a task's record: definition, id, inputs, state, steps. Every run has one.

    The definition is in it: it needs the scope `read:definitions` too.
    """
    services = caller.services
    await run_in_threadpool(services.executions.known, task_id)
    caller.require(_SEEN)
    if wait is not None:
        await wait_for_instance(caller, task_id, wait)
    return await run_in_threadpool(record_of, services.executions, services.workflows, task_id)
