"""Alembic's environment of the catalog.

A new revision is a file in ``versions`` and the ``HEAD`` here; the declared tables (``tables``) change with
it. Where programs before it must not open a file, it also raises SQLite's ``user_version``.
"""

from pathlib import Path
from typing import Final

from adserver.migrating import Migrations

BASELINE: Final = "0001"
"""Version 2 of the file."""
HEAD: Final = "0002"

MIGRATIONS: Final = Migrations(Path(__file__).parent, BASELINE, HEAD)
