"""The routes of the REST interface, a module for each resource; `ROUTERS` is all of them, in the document's order."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from . import access, adhoc, definitions, instances, logs, operations, secrets, system, tasks

__all__ = ["ROUTERS"]

ROUTERS: Final[tuple[APIRouter, ...]] = (
    definitions.router,
    instances.router,
    operations.router,
    tasks.router,
    adhoc.router,
    logs.router,
    access.router,
    secrets.router,
    system.router,
)
