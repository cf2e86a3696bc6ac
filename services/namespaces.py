"""The namespaces that one process serves: each is a Postgres schema or an SQLite file, with an engine of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

from ..engine.errors import EngineStopped, InputError, Problem
from .container import Options, Services, running

if TYPE_CHECKING:
    from types import TracebackType

    from .access.keys import KeyService

__all__ = ["DEFAULT_NAMESPACE", "Namespaces"]

#: The name of the only one, where nobody gives names.
DEFAULT_NAMESPACE: Final = "main"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Namespaces:
    """Opens the databases of `urls`, by name, when it is entered; with `options` for everything but the URL.

    Whoever has a key sends definitions: without `local_code` they never use `shell` and `python.call`, whatever the
    options say.
    """

    def __init__(self, urls: Mapping[str, str], options: Options, *, local_code: bool = False) -> None:
        problems = [
            Problem(
                f"/namespaces/{name}",
                "wrong_value",
                f"{name!r} is no name of a namespace",
                "Such as: main, team-a.",
            )
            for name in urls
            if not _NAME.fullmatch(name)
        ]
        if not urls:
            problems.append(
                Problem("/namespaces", "required", "there is no namespace to serve", "Such as main=URL.")
            )
        if problems:
            raise InputError(problems)
        self._urls = dict(urls)
        self._options = replace(options, allow_local_code=options.allow_local_code and local_code)
        self._stack = ExitStack()
        self._open: dict[str, Services] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted(self._urls))

    @property
    def is_open(self) -> bool:
        """Have they been entered, and not left?"""
        return bool(self._open)

    def stop_claiming(self) -> None:
        """Take nothing new; what runs goes on until they are left. A signal's handler may call it."""
        for services in tuple(self._open.values()):
            if services.engine is not None:
                services.engine.parts.scheduler.stop_claiming()

    def __enter__(self) -> Self:
        """Open them all, or none. Raises NotFound, SchemaError, DatabaseUnavailable."""
        opened: dict[str, Services] = {}
        with ExitStack() as stack:
            for name, url in self._urls.items():
                named = name if len(self._urls) > 1 else None
                options = replace(self._options, url=url, namespace=named)
                opened[name] = stack.enter_context(running(options))
            self._stack = stack.pop_all()
        self._open = opened
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = {}
        self._stack.close()

    def services(self, name: str) -> Services:
        """The use cases of one. Raises EngineStopped when it is not open."""
        found = self._open.get(name)
        if found is None:
            raise EngineStopped(f"the namespace {name!r} is not served by this process now.")
        return found

    def serves(self, name: str) -> bool:
        """Is it one of these, and open?"""
        return name in self._open

    def keys(self, name: str) -> KeyService:
        """The API keys of one."""
        from .access.keys import KeyService

        return KeyService(self.services(name).database, name)
