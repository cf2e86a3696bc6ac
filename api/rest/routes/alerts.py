"""Alerts of the caller's namespace, and the rules that raise them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Path, Query
from starlette.responses import Response

from ..models import alerts as models
from ..routing import (
    After,
    Called,
    IfMatch,
    Page,
    Size,
    cursor_of,
    json_answer,
    located,
    needs,
    page_of,
    place_of,
    require_match,
    router_of,
)

__all__ = ["router"]

router: Final = router_of("alerts")
AlertId = Annotated[str, Path(alias="id", description="An alert's id.", max_length=100)]
Name = Annotated[str, Path(description="A rule's name.", max_length=100, examples=["run_failed"])]
State = Literal["raised", "acknowledged", "resolved"]


@router.get("/alerts", openapi_extra=needs("read:alerts"))
def list_alerts(
    caller: Called,
    *,
    state: Annotated[
        list[State] | None, Query(description="Open ones are `raised` or `acknowledged`.")
    ] = None,
    rule: Annotated[str | None, Query(description="Only of this rule.", max_length=100)] = None,
    subject: Annotated[str | None, Query(description="Only of this subject.", max_length=1_000)] = None,
    severity: Annotated[models.Severity | None, Query(description="Only so bad.")] = None,
    size: Size = 100,
    after: After = None,
) -> Page[models.Alert]:
    """List alerts, the newest first; without `state` those that are resolved too."""
    place = place_of(after, UUID)
    found = caller.services.alerts.list(
        states=state or (), rule=rule, subject=subject, severity=severity, before=place[0] if place else None
    )
    return page_of(found, size, lambda each: each.as_json(), lambda each: cursor_of(each.id))


@router.get("/alerts/rules", openapi_extra=needs("read:alerts"))
def list_alert_rules(caller: Called) -> Page[models.Rule]:
    """List every rule by name, those that nobody has touched too."""
    return Page(items=[_rule(each) for each in caller.services.alerts.rules.list()])


@router.get("/alerts/rules/{name}", openapi_extra=needs("read:alerts"), response_model=models.Rule)
def get_alert_rule(name: Name, caller: Called) -> Response:
    """Give one rule."""
    return json_answer(_rule(caller.services.alerts.rules.get(name)))


@router.put("/alerts/rules/{name}", openapi_extra=needs("admin:alerts"), response_model=models.Rule)
def put_alert_rule(name: Name, body: models.RuleWish, caller: Called, if_match: IfMatch = None) -> Response:
    """Set a rule, all of it; a new name needs a kind. It counts from the next evaluation on."""
    rules = caller.services.alerts.rules
    require_match(if_match, lambda: _rule(rules.get(name)))
    with located():
        rule = rules.put(
            name,
            caller.principal.who,
            kind=body.kind,
            enabled=body.enabled,
            severity=body.severity,
            settings=body.settings,
        )
    return json_answer(_rule(rule))


@router.delete("/alerts/rules/{name}", openapi_extra=needs("admin:alerts"), status_code=204)
def reset_alert_rule(name: Name, caller: Called) -> None:
    """Make a shipped rule what it was; delete one that was added. Its open alerts resolve themselves."""
    caller.services.alerts.rules.reset(name)


@router.get("/alerts/{id}", openapi_extra=needs("read:alerts"), response_model=models.Alert)
def get_alert(alert_id: AlertId, caller: Called) -> dict[str, Any]:
    """Give one alert."""
    return caller.services.alerts.get(alert_id).as_json()


@router.post("/alerts/{id}/acknowledge", openapi_extra=needs("operate:alerts"), response_model=models.Alert)
def acknowledge_alert(alert_id: AlertId, caller: Called) -> dict[str, Any]:
    """Say that somebody sees to it: it stays open and is not raised anew. 409 when it is resolved."""
    return caller.services.alerts.acknowledge(alert_id, caller.principal.who).as_json()


@router.post("/alerts/{id}/resolve", openapi_extra=needs("operate:alerts"), response_model=models.Alert)
def resolve_alert(alert_id: AlertId, caller: Called) -> dict[str, Any]:
    """Say that it is over; while its cause goes on it is raised anew. 409 when it is resolved."""
    return caller.services.alerts.resolve(alert_id, caller.principal.who).as_json()


def _rule(rule: Any) -> models.Rule:
    return models.Rule(**rule.as_json())
