"""The states, as enumerations of the schema."""

from __future__ import annotations

from enum import StrEnum

import strawberry

from ...repositories.records import DefinitionState, InstanceState, TaskState

__all__ = [
    "DefinitionState",
    "Duplicate",
    "EntryState",
    "GraphForm",
    "InstanceState",
    "LogLevel",
    "TaskState",
]

strawberry.enum(DefinitionState, description="`ACTIVE` is what a name alone means.")
strawberry.enum(InstanceState, description="Where a run stands.")
strawberry.enum(TaskState, description="Where a task stands.")


@strawberry.enum(description="How severe a log line is, least first.")
class LogLevel(StrEnum):
    """How severe a log line is, least first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


@strawberry.enum(description="How a definition is drawn.")
class GraphForm(StrEnum):
    """How a definition is drawn."""

    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"


@strawberry.enum(description="What a start does when its key or its mutex is taken.")
class Duplicate(StrEnum):
    """What a start does when its key or its mutex is taken."""

    RETURN_EXISTING = "return_existing"
    REJECT = "reject"
    QUEUE = "queue"


@strawberry.enum(description="Which tasks of a queue.")
class EntryState(StrEnum):
    """Which tasks of a queue."""

    READY = "ready"
    BLOCKED = "blocked"
    RUNNING = "running"
    DELAYED = "delayed"
