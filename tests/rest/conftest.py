"""A server in this process, on both databases: an application, keys, and clients that use them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from strataflow.api.rest.app import ServerLimits, create_app
from strataflow.repositories.database import Database
from strataflow.repositories.migrate import upgrade
from strataflow.services.access.keys import KeyService
from strataflow.services.container import Options
from strataflow.services.namespaces import Namespaces
from tests.integration.kit import until

API = "/api/v1"
HELLO: dict[str, Any] = {
    "dsl": "1",
    "name": "hello",
    "inputs": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}},
    "nodes": {"a": {"run": "core.noop", "with": "{{ inputs.n }}"}},
    "output": "{{ nodes.a.output }}",
}
GATED: dict[str, Any] = {"dsl": "1", "name": "gated", "nodes": {"w": {"wait": {"signal": "go"}}}}


class Served:
    """An application that runs, its namespaces' URLs, and ways to call it."""

    def __init__(self, client: httpx.Client, urls: dict[str, str]) -> None:
        self.client = client
        self.urls = urls

    def token(self, *scopes: str, namespace: str = "main", lifetime_s: float | None = None) -> str:
        database = Database(self.urls[namespace])
        try:
            return KeyService(database, namespace).create("tests", scopes or ("*:*",), lifetime_s).token
        finally:
            database.close()

    def __call__(
        self, method: str, path: str, *, token: str | None = None, status: int | None = None, **more: Any
    ) -> Any:
        """Call it and expect a status; gives the response."""
        headers = dict(more.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        found = self.client.request(method, API + path, headers=headers, **more)
        if status is not None:
            assert found.status_code == status, f"{method} {path}: {found.status_code}\n{found.text}"
        return found


Serve = Callable[..., Any]


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """Serve an application on a free port of this machine; gives its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="websockets-sansio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        assert server.started, "the server did not start"
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def serve(db_url: str, tmp_path: Path) -> Serve:
    """Give the way to run an application with other settings."""

    @contextmanager
    def run(
        *,
        namespaces: tuple[str, ...] = ("main",),
        limits: ServerLimits | None = None,
        executes: bool = True,
        options: dict[str, Any] | None = None,
        **more: Any,
    ) -> Iterator[Served]:
        urls = {name: f"sqlite:///{tmp_path / name}.db" for name in namespaces[1:]} | {namespaces[0]: db_url}
        for url in urls.values():
            upgrade(url)
        made = Options(executes=executes, allow_local_code=False, create=True, grace_s=1.0, **options or {})
        app = create_app(Namespaces(urls, made), limits=limits or ServerLimits(rate=0), **more)
        with listening(app) as address, httpx.Client(base_url=address, timeout=60) as client:
            yield Served(client, urls)

    return run


@pytest.fixture
def api(serve: Serve) -> Iterator[Served]:
    """Give an application with one namespace and no rates."""
    with serve() as served:
        yield served


@pytest.fixture
def token(api: Served) -> str:
    """Give a key that may do everything."""
    return api.token()
