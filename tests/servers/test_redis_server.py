"""Redis as tests have it."""

from collections.abc import Iterator

import pytest
from redis.exceptions import ConnectionError, TimeoutError

from servers.redis_server import Redis
from servers.server import ground


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    """One that may be hurt."""
    with ground() as path, Redis(path / "redis") as running:
        yield running


def test_each_test_has_an_empty_one(redis_server: Redis) -> None:
    assert redis_server.ask("DBSIZE") == 0
    redis_server.ask("SET", "left", "behind")


def test_also_the_next(redis_server: Redis) -> None:
    assert redis_server.ask("DBSIZE") == 0


def test_killed_it_comes_back_with_what_it_had(server: Redis) -> None:
    server.configure("appendfsync", "always")
    server.ask("SET", "kept", "1")
    port = server.port
    server.kill9()
    with pytest.raises(ConnectionError):
        server.ask("PING")
    server.start()
    assert (server.port, server.ask("GET", "kept")) == (port, b"1")


def test_emptied_it_comes_back_with_nothing(server: Redis) -> None:
    server.ask("SET", "lost", "1")
    server.stop()
    server.empty()
    server.start()
    assert server.ask("GET", "lost") is None


def test_hung_it_says_nothing_and_then_goes_on(server: Redis) -> None:
    with server.client() as client:
        client.ping()
        server.pause()
        with pytest.raises(TimeoutError):
            server.ask("PING", timeout_s=0.2)
        server.resume()
        assert client.ping()
