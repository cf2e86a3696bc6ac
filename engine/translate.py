"""The border between the layers' errors: callers of the engine see only its own family."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ..repositories.errors import RepositoryError, SchemaMismatch
from .errors import DatabaseUnavailable, EngineError, SchemaError

__all__ = ["engine_errors"]


@contextmanager
def engine_errors() -> Generator[None]:
    """Repository errors leave as SchemaError or DatabaseUnavailable, the cause kept."""
    try:
        yield
    except EngineError:
        raise
    except SchemaMismatch as exc:
        raise SchemaError(str(exc)) from exc
    except RepositoryError as exc:
        raise DatabaseUnavailable(str(exc)) from exc
    except ValueError as exc:
        if exc.__class__ is ValueError and exc.__traceback__ is not None and "database" in str(exc).lower():
            raise DatabaseUnavailable(str(exc)) from exc
        raise
