"""Random definitions end in the engine as the documents say: its states, outputs and tasks are those of the reference.

STRATAFLOW_REFERENCE_CASES sets how many definitions are run on each database, STRATAFLOW_REFERENCE_SEED the first seed.
"""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest

from strataflow import ExecutorError, TaskContext
from strataflow.repositories.records import TaskRow
from tests.checker import examine
from tests.integration.kit import WAIT_S, Flow
from tests.reference.cases import INPUTS, Case, oracle_of
from tests.reference.grammar import make_case
from tests.reference.interpreter import predict
from tests.reference.rows import Prediction, World
from tests.reference.values import Error

CASES: Final = {
    kind: int(os.environ.get("STRATAFLOW_REFERENCE_CASES", count))
    for kind, count in (("sqlite", 300), ("postgres", 150))
}
FIRST: Final = int(os.environ.get("STRATAFLOW_REFERENCE_SEED", "0"))
#: Schedules that are asked at first, and those that a difference is held against before it counts.
SCHEDULES, MORE_SCHEDULES = 6, 400
ABSENT: Final = "(absent)"
#: Outputs that one of the two keeps in another row are not compared; the states of their tasks are.
OUTPUT: Final = "output of"

Facts = dict[str, Any]


class Warm(ExecutorError):
    pass


class Red(Warm):
    pass


class Orange(Warm):
    pass


class Blue(ExecutorError):
    pass


class Lost(ExecutorError):
    retryable = False


RAISES: Final = {f"ref.{kind.__name__}": kind for kind in (Red, Orange, Blue, Lost)}


def prediction_of(case: Case, schedule: int) -> Prediction:
    world = World(functools.partial(oracle_of, case), case.flows)
    return predict(case.document, INPUTS, world, schedule)


def executor_of(cases: dict[str, Case]) -> Any:
    """Give the executor that ends its attempts as the oracle of their case says."""

    async def work(ctx: TaskContext, config: Any) -> Any:
        error = oracle_of(cases[ctx.definition_name], ctx.definition_name, ctx.path, ctx.attempt)
        if error is not None:
            raise RAISES[error.code](f"attempt {ctx.attempt}")
        return {"got": config, "attempt": ctx.attempt}

    return work


# --- facts: what is compared


def predicted(prediction: Prediction) -> Facts:
    found: Facts = {
        "state": prediction.state,
        "error": prediction.error if prediction.state == "failed" else None,
        "output": text(prediction.output),
    }
    for path, row in prediction.rows.items():
        found[f"state of {path!r}"] = row.state
        if row.executor and row.state == "completed":
            found[f"{OUTPUT} {path!r}"] = text(row.output)
    return found


def observed(flow: Flow, instance_id: str) -> Facts:
    status = flow.wait(instance_id)
    found: Facts = {
        "state": status.state.value,
        "error": (status.error or {}).get("code") if status.state.value == "failed" else None,
        "output": text(status.output),
    }
    for path, row in flow.tasks(instance_id).items():
        found[f"state of {path!r}"] = row.state.value
        if row.executor is not None and row.state == "completed" and readable(row):
            found[f"{OUTPUT} {path!r}"] = text(json.loads(row.output or "null"))
    return found


def readable(row: TaskRow) -> bool:
    """Whether the output stands in the row itself."""
    return row.output_ref is None


def text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def differences(case: Case, found: Facts) -> tuple[dict[str, tuple[Any, Any]], int, int]:
    """Give what is certain and yet otherwise in the engine, and the numbers of certain and open facts.

    Certain is on what all schedules agree. A difference has to stand against many more of them before it counts.
    """
    certain: Facts = {}
    open_: set[str] = set()
    differ: dict[str, tuple[Any, Any]] = {}
    for number in range(MORE_SCHEDULES):
        run = predicted(prediction_of(case, number))
        certain = certain if number else dict(run)
        names = {*certain, *run} - open_
        open_ |= {name for name in names if certain.get(name, ABSENT) != run.get(name, ABSENT)}
        certain = {name: value for name, value in certain.items() if name not in open_}
        if number + 1 >= SCHEDULES:
            differ = {
                name: (certain.get(name, ABSENT), found.get(name, ABSENT)) for name in {*certain, *found}
            }
            differ = {
                name: both for name, both in differ.items() if name not in open_ and _differ(name, *both)
            }
            if not differ:
                break
    return differ, len(certain), len(open_)


def _differ(name: str, said: Any, seen: Any) -> bool:
    return said != seen and not (name.startswith(OUTPUT) and ABSENT in {said, seen})


def story(case: Case, differ: dict[str, tuple[Any, Any]]) -> str:
    lines = [f"seed {case.seed}: {json.dumps(case.document)}", f"flows: {json.dumps(case.flows)}"]
    fails = failing_attempts(case)
    lines += [f"attempts that fail: {fails}"]
    lines += [
        f"  {name}: the documents say {said}, the engine {found}" for name, (said, found) in differ.items()
    ]
    return "\n".join(lines)


def failing_attempts(case: Case) -> dict[str, str]:
    rows = prediction_of(case, 0).rows
    errors = {path: oracle_of(case, case.document["name"], path, 1) for path in rows}
    return {path: error.code for path, error in errors.items() if isinstance(error, Error)}


# --- the engine against the reference


@pytest.fixture
def flow(db_url: str) -> Iterator[Flow]:
    made = Flow(db_url)
    yield made
    made.close()
    made.database.close()


@pytest.mark.timeout(600)
def test_the_engine_agrees_with_the_reference(flow: Flow, db_url: str) -> None:
    count = CASES["sqlite" if db_url.startswith("sqlite") else "postgres"]
    cases = [make_case(seed) for seed in range(FIRST, FIRST + count)]
    flow.registry.register_executor_domain("ref", {"work": executor_of(by_name(cases))})
    started: list[tuple[Case, str]] = []
    for case in cases:
        for child in case.flows.values():
            if f"'{child['name']}'" in repr(case.document):
                flow.engine.register(child, activate=True)
        started.append((case, flow.engine.start_now(case.document, INPUTS)))
    wrong: list[str] = []
    numbers = Counter[str]()
    for case, instance_id in started:
        differ, agreed, open_ = differences(case, observed(flow, instance_id))
        numbers.update(certain=agreed, open=open_)
        if differ:
            wrong.append(story(case, differ))
    assert not wrong, f"{len(wrong)} of {count} cases differ\n\n" + "\n\n".join(wrong[:5])
    assert numbers["certain"] > 4 * numbers["open"], numbers
    assert flow.engine.drain(WAIT_S)
    flow.close()
    report = examine(db_url, [instance_id for _, instance_id in started])
    assert not report.violations, "\n".join(str(each) for each in report.violations[:40])


def by_name(cases: list[Case]) -> dict[str, Case]:
    return {name: case for case in cases for name in (case.document["name"], *case.flows)}
