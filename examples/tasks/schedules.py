"""A report every second, with the instant that it is about in its payload; shown, fired by hand, and removed.

Run it: `python examples/tasks/schedules.py`. It leaves `tasks-example.db` in the current folder.
"""

from __future__ import annotations

import time

from strataflow import TaskSystem

system = TaskSystem("sqlite:///tasks-example.db")


@system.handler("report")
def report(payload: dict[str, str]) -> str:
    """Say which report it is."""
    return f"{payload['of']} at {payload['at']}"


def main() -> None:
    """Make two schedules, wait for two runs, fire one by hand."""
    at = "{{ instance.scheduled_for }}"
    nightly = system.schedule(
        "report", {"of": "the day", "at": at}, name="nightly", cron="30 2 * * *", timezone="Europe/Paris"
    )
    print("nightly comes next", *(f"{when:%H:%M} UTC" for when in nightly.upcoming(1)))
    often = system.schedule("report", {"of": "the second", "at": at}, name="often", every_s=1)
    with system:
        while len(often.runs()) < 2:
            time.sleep(0.1)
        often.disable()
        for task in reversed(often.runs()):
            print("by itself:", task.get(timeout=30))
        print("by hand:", nightly.trigger_now().get(timeout=30))
    for schedule in system.schedules():
        print(schedule.name, "has run", schedule.info.run_count, "times")
        schedule.remove()


if __name__ == "__main__":
    main()
