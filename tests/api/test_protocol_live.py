"""The protocol class as ``adserver serve`` runs it: its own deadlines, a flood, and an end in good order."""

import concurrent.futures
import socket
import time
from collections.abc import Iterator

import pytest
from live import Live
from raw_client import Client, refused
from small_server import Wire
from whole_server import WholeWire


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeWire]:
    with Live(tmp_path_factory.mktemp("protocol") / "state") as live:
        yield WholeWire(live)


@pytest.mark.slow
def test_the_fast_path_is_in_service(whole: WholeWire) -> None:
    """Decisions and events on one kept connection, in one packet, dated by the server."""
    body = b'{"publisher": "lumen", "placements": [{"id": "home-top"}], "session": "s"}'
    ask = b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    seen = (
        b"GET /i/%b HTTP/1.1\r\nhost: x\r\nuser-agent: Mozilla/5.0\r\n\r\n"
        % whole.token("impression").encode()
    )
    with Client(whole) as client:
        client.send(ask + seen + ask + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        answers = [client.answer() for _ in range(4)]
    assert [status for status, _, _ in answers] == [200] * 4
    assert answers[1][1]["x-adserver-event"] in ("accepted", "filtered")
    assert len({headers["x-request-id"] for _, headers, _ in answers}) == 4
    assert all("date" in headers for _, headers, _ in answers)


@pytest.mark.slow
def test_deadlines_in_service(whole: WholeWire) -> None:
    """raw15 and raw17, and a head that stops: how long each takes, all at once. Five and ten seconds, and
    what a busy machine needs."""

    def lasts(opening: bytes, drop: bytes) -> tuple[float, bytes]:
        began = time.monotonic()
        with Client(whole, timeout=1.0) as client:
            client.send(opening)
            while time.monotonic() - began < 30:
                try:
                    part = client.socket.recv(65536)
                except TimeoutError:
                    client.send(drop)
                    continue
                if not part:
                    break
                client.read += part
            return time.monotonic() - began, client.read

    body = b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"
    page = b"PUT /v1/advertisers/acme HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\nauthorization: Bearer "
    page += whole.operator_key.encode() + b"\r\n\r\n"
    openings = ((b"", b""), (b"GET / HTTP/1.1\r\nhost: x\r\nx: ", b"a"), (body, b" "), (page, b" "))
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        silent, head, hot, paged = threads.map(lambda opening: lasts(*opening), openings)
    assert 9 < silent[0] < 25 and silent[1] == b""
    assert 4.5 < head[0] < 9.5
    refused(head[1], 408)
    for late in (hot, paged):
        assert 9 < late[0] < 25
        refused(late[1], 408)


@pytest.mark.slow
def test_raw19_a_flood_of_connections(whole: WholeWire) -> None:
    """Hundreds left idle, thousands closed at once: whoever asks is answered, and soon."""
    idle = [socket.create_connection(("127.0.0.1", whole.port)) for _ in range(400)]
    slowest = 0.0
    for number in range(2000):
        socket.create_connection(("127.0.0.1", whole.port)).close()
        if number % 200 == 0:
            began = time.monotonic()
            assert whole.ask("GET", "/healthz").status == 200
            slowest = max(slowest, time.monotonic() - began)
    for connection in idle:
        connection.close()
    assert slowest < 8


@pytest.mark.slow
def test_it_ends_at_once_with_idle_connections(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Live(tmp_path_factory.mktemp("ending") / "state") as live:
        wire = Wire(live.port, None, None)  # type: ignore[arg-type]
        with Client(wire) as kept, Client(wire) as silent:
            kept.send(b"GET /i/x HTTP/1.1\r\nhost: x\r\n\r\n")
            assert kept.answer()[0] == 404
            began = time.monotonic()
            assert live.stop() == 0
            assert time.monotonic() - began < 8
            assert kept.ended() and silent.ended() and kept.read == silent.read == b""
