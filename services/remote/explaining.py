"""Why a run of a server is not running."""

from __future__ import annotations

from ..explain_model import Explanation
from .client import Remote, at
from .records import revive

__all__ = ["RemoteExplainer"]


class RemoteExplainer:
    """As `Explainer`, through a server."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def explain(self, instance_id: str, path: str | None = None) -> Explanation:
        """Why it is where it is, or one of its tasks. Raises NotFound."""
        found = self._remote.get(at("instances", instance_id, "explain"), {"path": path})
        return revive(Explanation, found, instance_id=found["id"])
