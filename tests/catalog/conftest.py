"""One contract for every store: what asks for ``place`` or ``fresh`` is run over SQLite and PostgreSQL."""

from pathlib import Path

import pytest
from places import STORES, Fresh, fresh_file, fresh_schema

from adserver.databases import Place


@pytest.fixture(params=STORES)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Fresh:
    if request.param == "sqlite":
        return lambda: fresh_file(tmp_path)
    url = request.getfixturevalue("database")
    return lambda: fresh_schema(url)


@pytest.fixture
def place(fresh: Fresh) -> Place:
    return fresh()
