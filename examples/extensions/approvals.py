"""A node type, a scheduling strategy, a metric and hooks from outside the engine.

    python examples/extensions/approvals.py

The node type `acme.approve` lets definitions say `{"acme.approve": {"by": "cfo", "within": "4h"}}`; the engine sees a
wait for a signal with a timeout. The strategy takes short paths first, the metric counts how runs ended, the hooks keep
what they are told.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strataflow import EngineConfig, ExecutorDomain, RunHooks, TaskContext, WorkflowEngine
from strataflow.engine.telemetry import MetricsCollector
from strataflow.executors import default_registry
from strataflow.repositories.records import InstanceRow, TaskRow

acme = ExecutorDomain("acme")


@acme.node_type("approve")
def approve(spec: Any) -> dict[str, Any]:
    """`by` names who approves, `within` how long that may take; the output says whether it was approved."""
    return {
        "wait": {
            "signal": f"approved-by-{spec['by']}",
            "timeout": spec.get("within", "24h"),
            "on_timeout": {"output": {"approved": False, "why": "nobody answered"}},
        },
        "description": f"{spec['by']} approves",
    }


@acme.executor("work")
def work(ctx: TaskContext, config: dict[str, Any]) -> dict[str, Any]:
    """Do something that takes as long as its priority says."""
    ctx.log(f"working on {config['name']}")
    return config


class Smallest:
    """A scheduling strategy: short executor names first, whatever has waited longer."""

    window = 50

    def order(self, ready: Sequence[TaskRow]) -> Sequence[TaskRow]:
        """The same tasks in another order."""
        return sorted(ready, key=lambda row: (-row.priority, len(row.path)))


class Ends(MetricsCollector):
    """A metric of our own: how runs ended, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def record_workflow_metrics(self, instance: InstanceRow) -> None:
        """An instance ended."""
        super().record_workflow_metrics(instance)
        self.seen[f"{instance.name} {instance.state.value}"] += 1


class Told(RunHooks):
    """Hooks that keep what they were told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def before_task_run(self, ctx: TaskContext) -> None:
        """An attempt begins."""
        self.calls.append(f"before {ctx.path}")

    def after_task_success(self, ctx: TaskContext, result: Any) -> None:
        """It went well."""
        self.calls.append(f"success {ctx.path}")

    def after_task_run(self, ctx: TaskContext) -> None:
        """It is over."""
        self.calls.append(f"after {ctx.path}")


FLOW = {
    "dsl": "1",
    "name": "purchase",
    "nodes": {
        "prepare": {"run": "acme.work", "with": {"name": "the offer"}},
        "approval": {"acme.approve": {"by": "cfo", "within": "4h"}, "needs": ["prepare"]},
        "order": {
            "run": "acme.work",
            "when": "{{ nodes.approval.output.approved }}",
            "with": {"name": "the order"},
        },
    },
    "output": "{{ nodes.order.state }}",
}


def main() -> dict[str, Any]:
    """Run a purchase, approve it, and tell what the extensions saw."""
    registry = default_registry(entry_points=False)
    registry.register_executor_domain(acme)
    told, ends = Told(), Ends()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'purchase.db'}"
        config = EngineConfig(strategy=Smallest(), hooks=told)
        with WorkflowEngine(url, registry=registry, config=config, metrics=ends) as engine:
            run = engine.start_now(FLOW)
            asyncio.run(engine.signal_workflow(run, "approved-by-cfo", {"approved": True}))
            output = engine.wait_now(run, 30).output
    return {"output": output, "hooks": told.calls, "metric": dict(ends.seen)}


if __name__ == "__main__":
    print(main())
