"""The routes of the REST interface, a module for each resource; `ROUTERS` is all of them, in the document's order."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from ...graphql.route import router as graphql
from ...live import routes as live
from . import (
    access,
    adhoc,
    alerts,
    definitions,
    instances,
    limits,
    logs,
    operations,
    queues,
    schedules,
    secrets,
    statistics,
    system,
    tasks,
    triggers,
    upkeep,
    webhooks,
)

__all__ = ["ROUTERS"]

ROUTERS: Final[tuple[APIRouter, ...]] = (
    definitions.router,
    instances.router,
    operations.router,
    tasks.router,
    adhoc.router,
    logs.router,
    queues.router,
    limits.router,
    schedules.router,
    triggers.router,
    upkeep.router,
    access.router,
    secrets.router,
    webhooks.router,
    alerts.router,
    system.router,
    statistics.router,
    graphql,
    live.router,
)
