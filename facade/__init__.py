"""Strataflow: durable workflows on SQL. Everything a user imports is imported from here."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
