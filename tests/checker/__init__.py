"""Judges a database from outside the engine: does what is stored obey the invariants?

It reads with plain SQL in one read-only transaction and shares no rule with the engine: what it takes from it is the
compiled plan (which node waits for which) and the published transition tables. `examine(url)` gives every violation
and how often each invariant was evaluated: an invariant that was never evaluated proves nothing.
"""

from __future__ import annotations

from .invariants import INVARIANTS, check, examine
from .report import Report, Violation

__all__ = ["INVARIANTS", "Report", "Violation", "check", "examine"]
