"""Alembic environment and numbered versions of the schema.

`repositories/migrate.py` runs them. A version is frozen when it is released: it spells out what it makes and never
imports `repositories/tables.py`, which goes on changing. Files are named `NNNN_what.py`; the number is the revision.
"""
