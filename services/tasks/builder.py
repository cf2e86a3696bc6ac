"""`task_builder("mail.send").payload(…).priority("high").build()`: a task put together step by step."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from .config import Task, TaskConfig, configured

__all__ = ["TaskBuilder", "task_builder"]


class TaskBuilder:
    """Collects what is said and checks it all in `build`; every method gives the builder itself."""

    def __init__(self, name: str) -> None:
        self._name: Final = name
        self._payload: Any = None
        self._options: dict[str, Any] = {}
        self._tags: list[str] = []

    def payload(self, value: Any) -> TaskBuilder:
        """What the handler receives: any JSON value."""
        self._payload = value
        return self

    def priority(self, value: str | int) -> TaskBuilder:
        """`lowest`, `low`, `normal`, `high`, `highest`, or a whole number."""
        return self._with("priority", value)

    def timeout(self, seconds: float | None) -> TaskBuilder:
        """Longest attempt; None is no limit."""
        return self._with("timeout", seconds)

    def heartbeat(self, seconds: float | None) -> TaskBuilder:
        """Longest silence of an attempt; None is no limit."""
        return self._with("heartbeat", seconds)

    def retries(self, count: int) -> TaskBuilder:
        """Attempts after the first."""
        return self._with("max_retries", count)

    def retry_delay(self, seconds: float) -> TaskBuilder:
        """Pause before the first retry."""
        return self._with("retry_delay", seconds)

    def backoff(self, factor: float, max_delay: float | None = None) -> TaskBuilder:
        """Each pause is `factor` times the one before, and none longer than `max_delay` seconds."""
        if max_delay is not None:
            self._with("max_delay", max_delay)
        return self._with("backoff", factor)

    def jitter(self, share: float) -> TaskBuilder:
        """Share of each pause, 0 to 1, that chance may add or take."""
        return self._with("jitter", share)

    def never_retry(self, *errors: str | type[BaseException]) -> TaskBuilder:
        """Exceptions, by class or name, after which it is not tried again."""
        return self._with("never", errors)

    def queue(self, name: str) -> TaskBuilder:
        """Queue it stands in."""
        return self._with("queue", name)

    def eta(self, when: datetime) -> TaskBuilder:
        """Begin no sooner than this instant."""
        return self._with("eta", when)

    def delay(self, seconds: float) -> TaskBuilder:
        """Begin no sooner than so long after it was submitted."""
        return self._with("delay", seconds)

    def expires_in(self, seconds: float) -> TaskBuilder:
        """Give it up when it has not begun so long after it was submitted."""
        return self._with("expires", seconds)

    def expires_at(self, when: datetime) -> TaskBuilder:
        """Give it up when it has not begun by this instant."""
        return self._with("expires", when)

    def tag(self, name: str) -> TaskBuilder:
        """One more word to find and cancel it by."""
        self._tags.append(name)
        return self

    def tags(self, names: Iterable[str]) -> TaskBuilder:
        """More words to find and cancel it by."""
        self._tags.extend(names)
        return self

    def key(self, text: str) -> TaskBuilder:
        """Submitting it again under the same key gives the first task."""
        return self._with("key", text)

    def build(self) -> Task:
        """The task. Raises ValueError for an empty name or an option out of bounds."""
        options = {**self._options, "tags": self._tags} if self._tags else self._options
        return Task(self._name, self._payload, configured(TaskConfig(), options))

    def _with(self, name: str, value: Any) -> TaskBuilder:
        self._options[name] = value
        return self


def task_builder(name: str) -> TaskBuilder:
    """Begin to build a task for the handler of this name."""
    return TaskBuilder(name)
