"""What a fold asks the database for beside rows: signals, waits, children, mutexes. One query each, rarely."""

from __future__ import annotations

from typing import Any

from ..repositories.batch import Batch
from .draft import SWEEP_LIMIT, Ask

__all__ = ["answer"]


def answer(batch: Batch, instance_id: str, question: Ask) -> Any:  # noqa: PLR0911 - one case a question
    """The answer to a question of a fold, read under the locks of its transaction."""
    match question:
        case ("signals", name):
            return batch.read_signals([(instance_id, name)])
        case ("signal", signal_id):
            return batch.signal_exists(instance_id, signal_id)
        case ("awaiting", name):
            return batch.read_awaiting([(instance_id, name)])
        case ("children", scope, states, after):
            return batch.read_children(instance_id, scope, states.split(","), after, SWEEP_LIMIT)
        case ("mutex", name, mutex):
            batch.insert_keys([(name, "mutex", mutex, instance_id)])
            return batch.key_owner(name, "mutex", mutex)
        case ("queued", name, mutex):
            return batch.first_queued(name, mutex)
        case ("blob", key):
            return batch.read_blob(instance_id, key)
        case _:
            raise LookupError(f"nobody answers {question!r}")
