"""Where the ledger of a test is: in a file, or in a schema of a real PostgreSQL."""

from pathlib import Path

import pytest

from adserver.ledger.place import LEDGER, Place, Server


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return tmp_path / LEDGER
    return Server(request.getfixturevalue("database"))


@pytest.fixture
def server(database: str) -> Server:
    return Server(database)
