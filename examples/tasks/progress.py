"""A task that says how far it is, saves what it has done, fails half-way, and goes on there in its next attempt.

Run it: `python examples/tasks/progress.py`. It leaves `tasks-example.db` in the current folder.
"""

from __future__ import annotations

import time

from strataflow import TaskContext, TaskSystem

system = TaskSystem("sqlite:///tasks-example.db")


@system.handler("import")
def import_rows(ctx: TaskContext, total: int) -> dict[str, int]:
    """Import rows one by one; the connection breaks once."""
    begun_at = done = ctx.load_checkpoint() or 0
    while done < total:
        if ctx.attempt == 1 and done == total // 2:
            raise ConnectionError("the line is dead")
        time.sleep(0.02)
        done += 1
        ctx.save_checkpoint(done)
        ctx.progress(done / total, f"{done} of {total} rows")
    return {"rows": total, "begun_at": begun_at}


def main() -> None:
    """Watch it from outside."""
    with system:
        task = system.submit("import", 20, retry_delay=0.2)
        seen = ""
        while not task.ready():
            now = task.progress
            text = f"{now.fraction:.0%} {now.message or ''} ({task.state})"
            if text != seen:
                print(text)
                seen = text
            time.sleep(0.05)
        print("result", task.get())
        print("reports", len(system.progress_history(task.id)))


if __name__ == "__main__":
    main()
