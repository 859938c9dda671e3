"""Redis as tests have it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from servers.disks import grow, mounted
from servers.proxy import Proxy, Weather
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


def test_a_replica_that_lags_is_promoted_without_what_it_lacks(server: Redis, server_ground: Path) -> None:
    with Redis(server_ground / "replica") as replica, Proxy(server.port) as proxy:
        server.ask("SET", "user", "1")
        replica.follow(proxy.port)
        assert replica.ask("GET", "user") == b"1"
        proxy.weather = Weather(dark=True)
        server.ask("SET", "user", "2")
        replica.promote()
        assert replica.ask("GET", "user") == b"1"
        assert replica.ask("SET", "user", "3") in (True, b"OK")


def test_on_a_disk_that_is_full_nothing_is_written_and_it_goes_on(server_ground: Path) -> None:
    with mounted(server_ground / "small", "4M"), Redis(server_ground / "small") as redis:
        value = "x" * 100_000
        with pytest.raises(ResponseError, match="MISCONF"):
            for number in range(100):
                redis.ask("SET", f"key-{number}", value)
        grow(server_ground / "small", "40M")
        redis.until(lambda: writes(redis), "writes again")


def writes(redis: Redis) -> bool:
    try:
        return redis.ask("SET", "key", "1") in (True, b"OK")
    except ResponseError:
        return False


def test_one_that_ends_by_itself_is_no_error(server_ground: Path) -> None:
    settings = {"appendfsync": "always"}
    full = mounted(server_ground / "small", "4M")
    with full, Redis(server_ground / "small", settings) as redis, pytest.raises(ConnectionError):
        for number in range(100):
            redis.ask("SET", f"key-{number}", "x" * 100_000)


def test_hung_it_says_nothing_and_then_goes_on(server: Redis) -> None:
    with server.client() as client:
        client.ping()
        server.pause()
        with pytest.raises(TimeoutError):
            server.ask("PING", timeout_s=0.2)
        server.resume()
        assert client.ping()
