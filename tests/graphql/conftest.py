"""The server of the REST tests, asked through GraphQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.rest.conftest import Served, api, serve, token

__all__ = ["Ask", "api", "asking", "gql", "serve", "token"]

Ask = Callable[..., Any]


def asking(api: Served, token: str | None) -> Ask:
    """Send a document; gives the data, or the whole answer where errors or a status are expected."""

    def ask(
        document: str,
        /,
        *,
        status: int = 200,
        errors: bool = False,
        headers: dict[str, str] | None = None,
        operation: str | None = None,
        **variables: Any,
    ) -> Any:
        body: dict[str, Any] = {"query": document}
        if variables:
            body["variables"] = variables
        if operation is not None:
            body["operationName"] = operation
        found = api("POST", "/graphql", token=token, status=status, json=body, headers=headers or {})
        answer = found.json()
        if errors or status != 200:
            return answer
        assert "errors" not in answer, answer
        return answer["data"]

    return ask


@pytest.fixture
def gql(api: Served, token: str) -> Ask:
    """Ask as who may do everything."""
    return asking(api, token)
