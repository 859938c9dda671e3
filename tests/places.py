"""Where a catalog is in a test: a file of SQLite, or a schema of a real PostgreSQL."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

from sqlalchemy import select

from adserver.catalog.opening import FILE, open_to_read, reading
from adserver.catalog.tables import METADATA
from adserver.databases import Database, Place

STORES = ("sqlite", "postgresql")
Fresh = Callable[[], Place]
"""A place where nothing is yet."""

_NUMBERS = count(1)


def fresh_file(folder: Path) -> Place:
    """In a folder of its own."""
    made = folder / f"catalog-{next(_NUMBERS)}"
    made.mkdir()
    return made / FILE


def fresh_schema(url: str) -> Place:
    return Database(url, f"catalog_{next(_NUMBERS)}")


def held(place: Place) -> bytes:
    """Everything that is kept there, in bytes."""
    if isinstance(place, Path):
        return b"".join(path.read_bytes() for path in sorted(place.parent.iterdir()))
    engine = open_to_read(place)
    with reading(engine) as connection:
        rows = [row for table in METADATA.sorted_tables for row in connection.execute(select(table))]
    engine.dispose()
    values = [value for row in rows for value in row]
    return b"\0".join(value if isinstance(value, bytes) else str(value).encode() for value in values)
