"""Extract, transform, load: each step gets the result of the one before, and a step that fails names itself.

Run it: `python examples/tasks/chain.py`. It leaves `tasks-example.db` in the current folder.
"""

from __future__ import annotations

from typing import Any

from strataflow import TaskContext, TaskFailed, TaskSystem

system = TaskSystem("sqlite:///tasks-example.db")


@system.handler("extract")
def extract(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Read the rows of a day."""
    return [{"day": payload["day"], "amount": amount} for amount in (20, 5, -1)]


@system.handler("transform")
def transform(ctx: TaskContext, payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Keep what fits. The rows come as `_chain_result`, beside what the step was given itself."""
    rows = payload["_chain_result"]
    kept = [row for row in rows if row["amount"] >= payload["least"]]
    ctx.log(f"{len(kept)} of {len(rows)} rows kept")
    return kept


@system.handler("load")
def load(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Add up. This step was given nothing, so the result itself is its payload."""
    if not rows:
        raise ValueError("there is nothing to load")
    return {"rows": len(rows), "total": sum(row["amount"] for row in rows)}


def main() -> None:
    """Run the chain twice: once well, once into an error."""
    with system:
        good = system.chain([("extract", {"day": "2027-01-31"}), ("transform", {"least": 0}), "load"])
        print("loaded", good.get(timeout=30))
        once = {"retries": 0}
        bad = system.chain(
            [("extract", {"day": "2027-02-01"}), ("transform", {"least": 99}), ("load", None, once)]
        )
        try:
            bad.get(timeout=30)
        except TaskFailed as error:
            print("failed in", error.failure.step if error.failure else "?", "-", error.failure)


if __name__ == "__main__":
    main()
