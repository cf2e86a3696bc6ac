"""What tasks came to: counted, and counted anew."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Query

from ..models import statistics as models
from ..routing import Called, needs, router_of, seconds_of

__all__ = ["router"]

router: Final = router_of("statistics")


@router.get("/statistics", openapi_extra=needs("read:statistics"), response_model=models.Statistics)
def get_statistics(
    caller: Called,
    *,
    queue: Annotated[str | None, Query(description="Only of this queue.")] = None,
    since: Annotated[
        str | None, Query(description="Only what began within this time.", examples=["24h"])
    ] = None,
) -> dict[str, Any]:
    """Count what tasks came to, per queue and in all."""
    window = None if since is None else seconds_of(since, "/query/since")
    return caller.services.statistics.read(queue=queue, window_s=window).as_json()


@router.post("/statistics/reset", openapi_extra=needs("admin:statistics"), response_model=models.Restarted)
def reset_statistics(caller: Called) -> dict[str, Any]:
    """Count from now on; nothing is deleted."""
    return {"since": caller.services.statistics.reset()}
