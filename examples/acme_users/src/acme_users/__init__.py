"""The users of an application as executors of the domain `user`, found by Strataflow through an entry point."""

from acme_users.executors import user

__all__ = ["user"]
