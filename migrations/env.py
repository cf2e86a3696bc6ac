"""Alembic's entry: runs the versions on the connection that `repositories/migrate.py` opened.

That connection is inside the one transaction of the whole upgrade, with its lock taken and its search path set; nothing
here connects, commits or knows a URL.
"""

from __future__ import annotations

from alembic import context


def run() -> None:
    """Run the wanted versions on the connection handed over in `Config.attributes`."""
    attributes = context.config.attributes
    if "connection" not in attributes:
        raise RuntimeError(
            "run the migrations with `strataflow db upgrade --db URL`, not with alembic itself"
        )
    context.configure(
        connection=attributes["connection"],
        version_table=attributes["version_table"],
        version_table_schema=attributes["schema"],
    )
    with context.begin_transaction():
        context.run_migrations()


run()
