"""Servers as fixtures: each worker of pytest starts its own, when a test first asks for one. And what a run
says of servers: their logs where a test failed, and loudly what was not tested because there are none."""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import pytest

from servers.postgresql import Postgres
from servers.programs import NOT_TESTED
from servers.redis_cluster import RedisCluster
from servers.redis_server import Redis
from servers.server import Server, ground


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


@pytest.fixture(scope="session")
def _cluster() -> Iterator[RedisCluster]:
    with ground() as path, RedisCluster(path / "cluster") as cluster:
        yield cluster


@pytest.fixture
def redis_cluster(_cluster: RedisCluster) -> RedisCluster:
    """An empty Redis Cluster, for tests that leave it running as it is; others start their own."""
    _cluster.empty()
    return _cluster


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        report.sections += [(server.name, server.told()) for server in _servers(item.funcargs.values())]
    return report


def _servers(arguments: Iterable[object]) -> Iterator[Server]:
    for argument in arguments:
        if isinstance(argument, Server):
            yield argument
        elif isinstance(argument, RedisCluster):
            yield from argument.nodes


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.getreports("skipped")
    reasons = Counter(str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple))
    missing = {reason: number for reason, number in reasons.items() if NOT_TESTED in reason}
    if missing:
        terminalreporter.section("NOT EVERYTHING WAS TESTED", sep="!", red=True, bold=True)
    for reason, number in missing.items():
        terminalreporter.write_line(f"{number} skipped: {reason.removeprefix('Skipped: ')}", red=True)
