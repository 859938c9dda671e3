"""The network as tests have it, before a real Redis and a real PostgreSQL."""

import socket
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from servers.postgresql import ROLE, Postgres
from servers.proxy import FAIR, Proxy, Weather
from servers.redis_server import Redis
from servers.server import free_port

PATIENCE_S = 30.0
SILENCE_S = 0.2
DELAY_S = 0.4
PONG = b"+PONG\r\n"

Connect = Callable[[], socket.socket]


@pytest.fixture
def proxy(redis_server: Redis) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as running:
        yield running


@pytest.fixture
def connect(proxy: Proxy) -> Iterator[Connect]:
    made = []

    def connection() -> socket.socket:
        made.append(socket.create_connection(("127.0.0.1", proxy.port), PATIENCE_S))
        return made[-1]

    yield connection
    for each in made:
        each.close()


def ask(connection: socket.socket, words: bytes = b"PING") -> bytes:
    connection.sendall(words + b"\r\n")
    return connection.recv(100)


def silent(connection: socket.socket) -> bool:
    connection.settimeout(SILENCE_S)
    try:
        connection.recv(100)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(PATIENCE_S)
    return False


def test_fair_weather_passes_everything(connect: Connect) -> None:
    much = b"x" * 4_000_000
    with connect().makefile("rwb") as stream:
        stream.write(b"*2\r\n$4\r\nECHO\r\n$%d\r\n%b\r\n" % (len(much), much))
        stream.flush()
        assert stream.readline() == b"$%d\r\n" % len(much)
        assert stream.read(len(much)) == much


def test_replies_are_late_and_do_not_wait_for_each_other(
    proxy: Proxy, connect: Connect, redis_server: Redis
) -> None:
    many = 30
    connection = connect()
    proxy.weather = Weather(delay_s=DELAY_S)
    for number in range(1, many + 1):
        connection.sendall(b"INCR asked\r\n")
        sent = time.monotonic()
        # Each answer is on its way before the next is asked for.
        redis_server.until(lambda: redis_server.ask("GET", "asked") == b"%d" % number, "counts")  # noqa: B023
    received = b""
    while received.count(b"\n") < many:
        received += connection.recv(65_536)
    assert DELAY_S <= time.monotonic() - sent < many * DELAY_S / 2
    assert received == b"".join(b":%d\r\n" % number for number in range(1, many + 1))


def test_one_reply_in_three_is_lost_and_was_done(proxy: Proxy, connect: Connect, redis_server: Redis) -> None:
    proxy.weather = Weather(swallow=3)
    lost = 0
    for number in range(6):
        connection = connect()
        connection.sendall(b"INCR asked\r\n")
        if number % 3 == 2:
            lost += silent(connection)
        else:
            assert connection.recv(100) == b":%d\r\n" % (number + 1)
    assert lost == 2
    assert redis_server.ask("GET", "asked") == b"6"


def test_nothing_follows_a_reply_that_was_lost(proxy: Proxy, connect: Connect, redis_server: Redis) -> None:
    connection = connect()
    proxy.weather = Weather(swallow=1)
    connection.sendall(b"PING\r\n")
    assert silent(connection)
    proxy.weather = FAIR
    connection.sendall(b"CLIENT KILL TYPE normal SKIPME no\r\n")
    assert silent(connection), "nor an end"
    assert ask(connect()) == PONG


def test_what_is_sent_in_the_dark_arrives_after(proxy: Proxy, connect: Connect) -> None:
    before = connect()
    assert ask(before) == PONG
    proxy.weather = Weather(dark=True)
    during = connect()
    for connection in (before, during):
        connection.sendall(b"PING\r\n")
        assert silent(connection)
    proxy.weather = FAIR
    assert [connection.recv(100) for connection in (before, during)] == [PONG, PONG]


def test_a_cut_ends_what_is_open_and_not_what_comes(proxy: Proxy, connect: Connect) -> None:
    before = connect()
    assert ask(before) == PONG
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        before.recv(100)
    assert ask(connect()) == PONG


def test_it_refuses(proxy: Proxy, connect: Connect) -> None:
    proxy.weather = Weather(refuse=True)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        ask(connect())
    proxy.weather = FAIR
    assert ask(connect()) == PONG


def test_where_nobody_listens_it_resets(proxy: Proxy, connect: Connect) -> None:
    target, proxy.target = proxy.target, free_port()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        ask(connect())
    proxy.target = target
    assert ask(connect()) == PONG


def test_an_end_is_passed_on(connect: Connect) -> None:
    connection = connect()
    assert ask(connection, b"QUIT") == b"+OK\r\n"
    assert connection.recv(100) == b""


def test_postgresql_is_asked_through_it(postgres: Postgres, database: str) -> None:
    with Proxy(postgres.port) as proxy:
        through = database.replace(f":{postgres.port}/", f":{proxy.port}/")
        with psycopg.connect(through) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (ROLE,)
            proxy.cut()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
