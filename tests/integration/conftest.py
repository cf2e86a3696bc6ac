"""One fixture: `flow`, engines with the executors of `kit.py` on a new database of either kind, judged at the end."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.integration.kit import Flow


@pytest.fixture
def flow(db_url: str) -> Iterator[Flow]:
    """Give engines and executors; afterwards everything is stopped and the invariants are checked."""
    made = Flow(db_url)
    yield made
    for gate in list(made.probe._gates.values()):
        gate.set()
    made.close()
    made.database.close()
    if importlib.util.find_spec("tests.checker") is not None:
        from tests.checker import check

        assert check(db_url, made.started) == []
