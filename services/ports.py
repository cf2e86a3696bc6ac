"""The use cases wherever they are: on a database of one's own, or behind a server.

Whoever writes for both names these types, and the type checker compares every call with both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ..engine.feed import EventFeed
    from .access.keys import KeyService
    from .container import Services
    from .execution_service import ExecutionService
    from .limits import LimitService
    from .live import LiveView
    from .operations import Operations
    from .queues import QueueService
    from .remote.access import RemoteKeys, RemoteSecrets
    from .remote.container import RemoteServices
    from .remote.executions import RemoteExecutions, RemoteLive
    from .remote.feed import RemoteFeed
    from .remote.limits import RemoteLimits
    from .remote.operations import RemoteOperations
    from .remote.queues import RemoteQueues
    from .remote.schedules import RemoteSchedules, RemoteTriggers
    from .remote.webhooks import RemoteWebhooks
    from .remote.workflows import RemoteWorkflows
    from .schedules import SchedulerService
    from .secrets import SecretService
    from .triggers import TriggerService
    from .webhooks import WebhookService
    from .workflow_service import WorkflowService

__all__ = [
    "Executions",
    "Feed",
    "Keys",
    "Limits",
    "Looks",
    "Operates",
    "Queues",
    "Schedules",
    "Secrets",
    "Triggers",
    "UseCases",
    "Webhooks",
    "Workflows",
]

UseCases: TypeAlias = "Services | RemoteServices"
Executions: TypeAlias = "ExecutionService | RemoteExecutions"
Looks: TypeAlias = "LiveView | RemoteLive"
Workflows: TypeAlias = "WorkflowService | RemoteWorkflows"
Operates: TypeAlias = "Operations | RemoteOperations"
Feed: TypeAlias = "EventFeed | RemoteFeed"
Keys: TypeAlias = "KeyService | RemoteKeys"
Limits: TypeAlias = "LimitService | RemoteLimits"
Queues: TypeAlias = "QueueService | RemoteQueues"
Schedules: TypeAlias = "SchedulerService | RemoteSchedules"
Secrets: TypeAlias = "SecretService | RemoteSecrets"
Triggers: TypeAlias = "TriggerService | RemoteTriggers"
Webhooks: TypeAlias = "WebhookService | RemoteWebhooks"
