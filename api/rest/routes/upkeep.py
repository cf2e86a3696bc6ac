"""Is everything well? The checks of `strataflow doctor`, on the caller's database, as this process sees it."""

from __future__ import annotations

from typing import Any, Final

from ....services.checks import worst
from ....services.doctor import diagnose
from ..models.upkeep import Diagnosis
from ..routing import Called, needs, router_of

__all__ = ["router"]

router: Final = router_of("system")


@router.get("/doctor", openapi_extra=needs("admin:engines"), response_model=Diagnosis)
def run_doctor(caller: Called) -> dict[str, Any]:
    """Look at plugins, database, clock, work and limits: how each stands, and what to do. Changes nothing."""
    services = caller.services
    checks = list(diagnose(services.database.url.text, services.registry))
    return {"status": worst(checks), "checks": [each.as_json() for each in checks]}
