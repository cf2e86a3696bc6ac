"""The one door of commands to the use cases: a database of one's own, or the server that `--server` names."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .target import at_server

if TYPE_CHECKING:
    from ...services.container import Options
    from ...services.ports import UseCases
    from ...services.remote.client import Target

__all__ = ["reading", "running"]


@contextmanager
def reading(options: Options) -> Generator[UseCases]:
    """The use cases without an engine of this process. Raises NotFound, SchemaError, DatabaseUnavailable."""
    from ...services import container

    target = at_server()
    if target is not None:
        with _server(target) as services:
            yield services
    else:
        with container.reading(options) as services:
            yield services


@contextmanager
def running(options: Options) -> Generator[UseCases]:
    """The use cases with an engine, of this process or of the server.

    Raises NotFound, SchemaError, DatabaseUnavailable.
    """
    from ...services import container

    target = at_server()
    if target is not None:
        with _server(target) as services:
            yield services
    else:
        with container.running(options) as services:
            yield services


@contextmanager
def _server(target: Target) -> Generator[UseCases]:
    from ...services.remote.container import connected

    with connected(target) as services:
        yield services
