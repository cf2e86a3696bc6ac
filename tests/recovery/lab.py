"""Executors and definitions of the crash tests. Every execution is told to the effect log before anything else."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from strataflow.executors.base import TaskContext
from strataflow.executors.builtin import default_registry
from strataflow.executors.domain import ExecutorDomain
from strataflow.executors.registry import ExecutorRegistry
from tests.checker.effects import EffectLog

__all__ = ["FAN", "MIX", "MIX_OUTPUT", "definition", "fan", "registry"]


def registry(log: EffectLog) -> ExecutorRegistry:
    """The built-in executors and the domain `lab`."""
    lab = ExecutorDomain("lab")

    @lab.executor("work")
    async def work(ctx: TaskContext, config: Any) -> Any:
        """Take `ms` milliseconds, return `value`."""
        with log.around(ctx):
            await asyncio.sleep(config.get("ms", 0) / 1000)
            return config.get("value")

    @lab.executor("sync")
    def sync(ctx: TaskContext, config: Any) -> Any:
        """The same in a thread."""
        with log.around(ctx):
            time.sleep(config.get("ms", 0) / 1000)
            return config.get("value")

    @lab.executor("flaky")
    async def flaky(ctx: TaskContext, config: Any) -> Any:
        """Fail as long as fewer than `fails` failures are in the log, then return `value`."""
        with log.around(ctx):
            if ctx.attempt <= config.get("fails", 1):
                raise RuntimeError("not yet")
            return config.get("value")

    @lab.executor("suicide")
    async def suicide(ctx: TaskContext, config: Any) -> Any:
        """Kill this very process, in the first `attempts` attempts or always."""
        log.note("start", ctx)
        if ctx.attempt <= config.get("attempts", 1_000_000):
            os.kill(os.getpid(), signal.SIGKILL)
        log.note("end", ctx)
        return config.get("value")

    @lab.executor("gate")
    async def gate(ctx: TaskContext, config: Any) -> Any:
        """Wait until a file exists."""
        with log.around(ctx):
            deadline = time.monotonic() + 60
            while not Path(config["file"]).exists():  # noqa: ASYNC240 - a stat a hundred times a second
                if time.monotonic() > deadline:
                    raise TimeoutError(config["file"])
                await asyncio.sleep(0.01)
            return config.get("value")

    found = default_registry(entry_points=False)
    found.register_executor_domain(lab)
    return found


def definition(name: str, nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Write a definition of the DSL."""
    return {"dsl": "1", "name": name, "nodes": nodes, **more}


def _work(value: Any, **more: Any) -> dict[str, Any]:
    return {"run": "lab.work", "with": {"value": value, "ms": 1}, **more}


#: Every shape the engine has, in one small run: chain, diamond, nested map, retry, timer, variables, group, skip, loop,
#: switch, branches, handler, finally.
MIX = definition(
    "mix",
    {
        "one": _work(1),
        "two": {"run": "core.noop", "with": {"n": "{{ nodes.one.output + 1 }}"}},
        "three": {"run": "lab.sync", "with": {"value": "{{ nodes.two.output.n + 1 }}", "ms": 1}},
        "left": _work("{{ nodes.three.output * 10 }}"),
        "right": _work("{{ nodes.three.output * 100 }}"),
        "meet": _work("{{ nodes.left.output + nodes.right.output }}"),
        "items": _work(list(range(20)), needs=["one"]),
        "spread": {
            "map": "{{ nodes.items.output }}",
            "as": "n",
            "do": {
                "nodes": {
                    "a": {"run": "core.noop", "with": {"n": "{{ n }}"}},
                    "b": _work("{{ nodes.a.output.n * 2 }}"),
                },
                "output": "{{ nodes.b.output }}",
            },
        },
        "flaky": {
            "run": "lab.flaky",
            "with": {"value": "at last", "fails": 1},
            "retry": {"max": 10, "delay": "5ms", "backoff": "fixed"},
        },
        "nap": {"wait": {"for": "20ms"}, "needs": ["one"]},
        "keep": {"set": {"amount": "{{ nodes.meet.output }}"}, "needs": ["nap"]},
        "box": {
            "do": {
                "nodes": {
                    "inner": _work("{{ vars.amount }}"),
                    "outer": _work("{{ nodes.inner.output + 1 }}"),
                },
                "output": "{{ nodes.outer.output }}",
            }
        },
        "few": {
            "needs": ["one"],
            "map": [1, 2, 3, 4],
            "as": "n",
            "do": _work(
                "{{ n }}", limits={"key": "{{ 'odd' if n in [1, 3] else 'even' }}", "concurrency": 1}
            ),
        },
        "never": _work(0, when="{{ nodes.one.output > 5 }}"),
        "turns": {
            "needs": ["one"],
            "loop": {"until": "{{ loop.output >= 2 }}", "every": "1ms"},
            "do": _work("{{ loop.index }}"),
        },
        "branch": {
            "switch": [{"when": "{{ nodes.one.output == 1 }}", "do": _work("first")}],
            "else": _work("else"),
        },
        "both": {
            "needs": ["one"],
            "parallel": {"x": _work(1), "y": {"nodes": {"z": _work(2)}}},
            "join": "all",
        },
        "saved": {
            "run": "core.fail",
            "with": {"code": "Broken", "retryable": False},
            "needs": ["one"],
            "on_error": [{"do": _work("{{ error.code }}")}],
        },
        "sum": _work("{{ nodes.spread.output | sum }}"),
    },
    output={
        "meet": "{{ nodes.meet.output }}",
        "sum": "{{ nodes.sum.output }}",
        "flaky": "{{ nodes.flaky.output }}",
        "box": "{{ nodes.box.output }}",
        "never": "{{ nodes.never.state }}",
        "kept": "{{ vars.amount }}",
        "turns": "{{ nodes.turns.output }}",
        "branch": "{{ nodes.branch.output }}",
        "both": "{{ nodes.both.output }}",
        "saved": "{{ nodes.saved.output }}",
    },
    **{"finally": _work("done")},
)
MIX_OUTPUT: dict[str, Any] = {
    "meet": 330,
    "sum": 380,
    "flaky": "at last",
    "box": 331,
    "never": "skipped",
    "kept": 330,
}
MIX_OUTPUT |= {"turns": 2, "branch": "first", "both": {"x": 1, "y": {"z": 2}}, "saved": "core.Broken"}


def fan(width: int, *, ms: float = 0, executor: str = "lab.work") -> dict[str, Any]:
    """A map over `width` items, each `ms` long, and a join that adds them up."""
    return definition(
        "fan",
        {
            "items": {"run": "core.noop", "with": {"list": list(range(width))}},
            "each": {
                "map": "{{ nodes.items.output.list }}",
                "do": {"run": executor, "with": {"value": "{{ item }}", "ms": ms}},
            },
        },
        output="{{ nodes.each.output | sum }}",
    )


FAN = fan(300, ms=1)


def trouble() -> dict[str, Any]:
    """Make a run full of failures that are handled, tolerated, cancelled or skipped; it always ends `completed`."""
    broken = {"run": "core.fail", "with": {"code": "Broken", "retryable": False}}
    on_failed = [{"node": "bad", "on": ["failed"]}]
    item = {
        "nodes": {
            "a": {"run": "lab.work", "with": {"ms": "{{ n % 7 }}", "value": "{{ n }}"}},
            "b": {"when": "{{ n % 5 == 0 }}", "needs": ["a"], **broken},
            "c": {
                "run": "lab.work",
                "with": {"value": 1},
                "needs": [{"node": "b", "on": ["completed", "skipped"]}],
            },
        }
    }
    return definition(
        "trouble",
        {
            "bad": dict(broken),
            "saved": {"run": "lab.work", "with": {"value": "saved"}, "needs": on_failed},
            "unreached": {"run": "lab.work", "with": {}, "needs": ["bad"]},
            "below": {"run": "lab.work", "with": {}, "needs": ["unreached"]},
            "most": {"map": list(range(40)), "as": "n", "join": {"need": "all", "tolerate": 10}, "do": item},
            "some": {
                "map": list(range(60)),
                "concurrency": 7,
                "join": {"need": 5, "rest": "cancel"},
                "do": {"run": "lab.work", "with": {"ms": "{{ item }}", "value": "{{ item }}"}},
            },
            "kept": {
                "map": list(range(30)),
                "join": {"need": "any", "rest": "keep"},
                "do": {"run": "lab.work", "with": {"ms": "{{ item }}", "value": "{{ item }}"}},
            },
            "group": {
                "do": {
                    "nodes": {
                        "slow": {"run": "lab.work", "with": {"ms": 60}},
                        "after": {"run": "lab.work", "with": {}, "needs": ["slow"]},
                        "boom": dict(broken),
                        "nap": {"wait": {"for": "1h"}},
                    }
                }
            },
            "caught": {
                "run": "lab.work",
                "with": {"value": "caught"},
                "needs": [{"node": "group", "on": ["failed"]}, {"node": "some", "on": ["completed"]}],
            },
        },
        output={"saved": "{{ nodes.saved.output }}", "caught": "{{ nodes.caught.output }}"},
    )
