"""Where a ledger is: an SQLite file in the data folder, or a schema of a PostgreSQL database."""

from pathlib import Path
from typing import Final

from adserver.databases import Database, Place

LEDGER: Final = "ledger.sqlite"
"""The file's name, in a data folder."""
SCHEMA: Final = "ledger"


def place_of(data: Path, url: str | None) -> Place:
    """Of the ledger of the data folder ``data``, where a database may be given by its ``url``."""
    return Database(url, SCHEMA) if url else data / LEDGER
