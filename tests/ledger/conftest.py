"""Where the ledger of a test is: in a file, or in a schema of a real PostgreSQL."""

from pathlib import Path

import pytest

from adserver.databases import Database, Place
from adserver.ledger.place import LEDGER, SCHEMA


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return tmp_path / LEDGER
    return Database(request.getfixturevalue("database"), SCHEMA)


@pytest.fixture
def server(database: str) -> Database:
    return Database(database, SCHEMA)
