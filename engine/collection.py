"""Garbage collection held back while a large structure is built.

A definition of 20,000 nodes makes over a million objects that all stay alive. Python's collector walks them
again and again as they grow in number, which took two thirds of the time (3.3 s against 1.2 s); nothing of it
is garbage.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["uncollected"]


@contextmanager
def uncollected() -> Generator[None]:
    """Run the block without cyclic collection.

    Safe in threads: whoever found the collector on switches it on again, so it is never left off; at worst
    another thread's block runs with it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
