"""Where a ledger is: an SQLite file, or a schema of a PostgreSQL database."""

from pathlib import Path
from typing import Final

from msgspec import Struct

LEDGER: Final = "ledger.sqlite"
"""The file's name, in a data folder."""


class Server(Struct, frozen=True):
    """``url``: of the database, ``postgresql://user@host/name``; ``schema``: a plain lower-case name."""

    url: str
    schema: str = "ledger"


Place = Path | Server


def place_of(data: Path, database: str | None) -> Place:
    """Of the ledger of the data folder ``data``, where a ``database`` may be given by its URL."""
    return Server(database) if database else data / LEDGER
