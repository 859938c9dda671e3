"""Alembic's environment of the ledger.

A new revision is a file in ``versions`` and the ``HEAD`` here; the declared tables change with it.
"""

from pathlib import Path
from typing import Final

from adserver.migrating import Migrations

BASELINE: Final = "0001"
"""A ledger with rollups, statements and leases; what is older gets there by ``sqlite`` and ``older``."""
HEAD: Final = "0002"
"""Who serves from it stands in it."""

MIGRATIONS: Final = Migrations(Path(__file__).parent, BASELINE, HEAD, read=(BASELINE,))
