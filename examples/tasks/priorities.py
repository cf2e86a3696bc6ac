"""Tasks wait in a queue while no worker runs; then the most urgent are taken first, equal ones in order of arrival.

Run it: `python examples/tasks/priorities.py`. It leaves `tasks-example.db` in the current folder.
"""

from __future__ import annotations

from strataflow import TaskSystem, task_builder

system = TaskSystem("sqlite:///tasks-example.db", concurrency=1)
order: list[str] = []


@system.handler("note")
def note(name: str) -> None:
    """Note in which order tasks come."""
    order.append(name)


def main() -> None:
    """Submit before anything runs, then start one worker."""
    results = [
        system.submit("note", "a newsletter", priority="lowest"),
        system.submit("note", "a report", priority="low"),
        system.submit("note", "an order"),
        system.submit(task_builder("note").payload("an alarm").priority("highest").build()),
        system.submit("note", "another order"),
        system.submit("note", "a payment", priority="high"),
    ]
    print("waiting:", system.statistics().pending)
    with system:
        for result in results:
            result.get(timeout=30)
    print(" > ".join(order))


if __name__ == "__main__":
    main()
