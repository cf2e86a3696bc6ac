"""The use cases wherever they are: on a database of one's own, or behind a server.

Whoever writes for both names these types, and the type checker compares every call with both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ..engine.feed import EventFeed
    from .container import Services
    from .execution_service import ExecutionService
    from .live import LiveView
    from .operations import Operations
    from .remote.container import RemoteServices
    from .remote.executions import RemoteExecutions, RemoteLive
    from .remote.feed import RemoteFeed
    from .remote.operations import RemoteOperations
    from .remote.workflows import RemoteWorkflows
    from .workflow_service import WorkflowService

__all__ = ["Executions", "Feed", "Looks", "Operates", "UseCases", "Workflows"]

UseCases: TypeAlias = "Services | RemoteServices"
Executions: TypeAlias = "ExecutionService | RemoteExecutions"
Looks: TypeAlias = "LiveView | RemoteLive"
Workflows: TypeAlias = "WorkflowService | RemoteWorkflows"
Operates: TypeAlias = "Operations | RemoteOperations"
Feed: TypeAlias = "EventFeed | RemoteFeed"
