"""Servers as fixtures. Each worker of pytest starts its own, when a test first asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.postgresql import Postgres
from servers.redis_server import Redis
from servers.server import ground


@pytest.fixture
def server_ground() -> Iterator[Path]:
    """A folder for servers of one test. Any user may enter it, while ``tmp_path`` is root's alone."""
    with ground() as path:
        yield path


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL for all tests that leave it running as it is; others start their own."""
    with ground() as path, Postgres(path / "postgres") as server:
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database."""
    url = postgres.create()
    yield url
    postgres.drop(url)


@pytest.fixture(scope="session")
def _redis() -> Iterator[Redis]:
    with ground() as path, Redis(path / "redis") as server:
        yield server


@pytest.fixture
def redis_server(_redis: Redis) -> Redis:
    """An empty Redis, for tests that leave it running as it is; others start their own."""
    _redis.ask("FLUSHALL")
    return _redis
