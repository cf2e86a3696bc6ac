"""What a check found, and how much it looked at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Report", "Violation"]


@dataclass(slots=True, frozen=True)
class Violation:
    """One broken invariant at one place."""

    invariant: str
    instance_id: str
    path: str | None
    message: str

    def __str__(self) -> str:
        where = self.instance_id if self.path is None else f"{self.instance_id}/{self.path}"
        return f"{self.invariant} at {where}: {self.message}"


@dataclass(slots=True)
class Report:
    """Violations, and how often each invariant was evaluated."""

    violations: list[Violation] = field(default_factory=list)
    evaluations: Counter[str] = field(default_factory=Counter)

    def expect(self, invariant: str, holds: object, where: tuple[str, str | None], message: str) -> None:
        """Count one evaluation; keep a violation when it does not hold."""
        self.evaluations[invariant] += 1
        if not holds:
            self.violations.append(Violation(invariant, where[0], where[1], message))

    def ids(self) -> set[str]:
        """The invariants that are broken."""
        return {violation.invariant for violation in self.violations}

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.evaluations.items()))
        lines = [str(violation) for violation in self.violations[:40]]
        return "\n".join([f"{len(self.violations)} violations; evaluated: {counts}", *lines])
