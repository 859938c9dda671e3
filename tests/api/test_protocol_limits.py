"""What a connection may send, and how it is told: over real sockets, on a server that answers the hot paths
itself and on one that leaves all to ASGI."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from raw_client import LONG, Client, bound, refused
from small_server import USER_AGENT, Wire, World, served

from adserver.domain import limits

HOST = b"host: x\r\n"


@pytest.fixture(params=[True, False], ids=["fast", "asgi"])
def wire(request: pytest.FixtureRequest, world: World) -> Iterator[Wire]:
    with served(world, http=bound(LONG, request.param)) as wire:
        yield wire


MALFORMED = [
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3 \r\n\r\nabc", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n", 400),
    (b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n 2\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400),
    (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
    (b"GET /\r\n\r\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (b"NONSENSE / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
        400,
    ),
]


@pytest.mark.parametrize(("octets", "status"), MALFORMED)
def test_malformed_http_is_refused(wire: Wire, octets: bytes, status: int) -> None:
    with Client(wire) as client:
        client.send(octets)
        assert client.ended()
        refused(client.read, status)
    # A page that was asked before its body went wrong may have said something of its own.
    [line] = [line for line in wire.lines() if line["route"] == "(http)"]
    assert (line["status"], line["message"]) == (status, "refused")
    assert line["request_id"] in client.read.decode("latin-1")


def test_what_is_good_before_malformed_http_is_answered(wire: Wire) -> None:
    with Client(wire) as client:
        client.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n" + b"OPTIONS /v1/events HTTP/1.1\r\n")
        client.send(HOST + b"\r\nHTTP?")
        assert client.answer()[0] == 200
        assert client.answer()[0] == 204
        client.ended()
        refused(client.read, 400)


def test_a_faulty_body_ends_a_page_that_reads_it(wire: Wire) -> None:
    head = (
        b"PUT /v1/advertisers/acme HTTP/1.1\r\nauthorization: Bearer adk_op\r\ntransfer-encoding: chunked\r\n"
    )
    with Client(wire) as client:
        client.send(head + HOST + b"\r\n3\r\nabc\r\n")
        time.sleep(0.05)
        client.send(b"zz\r\n")
        client.ended()
        refused(client.read, 400)
    assert wire.world.changes == 0


@pytest.mark.parametrize("path", [b"/healthz", b"/i/x"])
def test_a_url_at_its_bound_and_beyond(wire: Wire, path: bytes) -> None:
    for more, status in ((0, {200, 404}), (1, {414})):
        url = path + b"?" + b"a" * (limits.TARGET_BYTES - len(path) - 1 + more)
        received = wire.raw(b"GET " + url + b" HTTP/1.1\r\nconnection: close\r\n" + HOST + b"\r\n")
        assert int(received[9:12]) in status
    refused(received, 414)


@pytest.mark.parametrize("names", [1, 100])
def test_a_head_at_its_bound_and_beyond(wire: Wire, names: int) -> None:
    path = b"/healthz"
    fixed = len(path) + len(b"host: x\r\n") + len(b"connection: close\r\n") + names * len(b"x: \r\n")
    for more, status in ((0, 200), (1, 431)):
        spare = limits.HEAD_BYTES - fixed + more
        sizes = [spare // names + (number < spare % names) for number in range(names)]
        lines = b"".join(b"x: " + b"a" * size + b"\r\n" for size in sizes)
        received = wire.raw(
            b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"connection: close\r\n" + lines + b"\r\n"
        )
        assert int(received[9:12]) == status
    refused(received, 431)


@pytest.mark.parametrize(
    "endless",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\nx: ",
        b"GET / HTTP/1.1\r\nhost: x\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: ",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;",
    ],
    ids=["header", "headers", "trailer", "extension"],
)
def test_what_does_not_end_is_not_kept(wire: Wire, endless: bytes) -> None:
    unit = b"x: y\r\n" if endless.endswith(b"x\r\n") else b"a" * 1024
    with Client(wire) as client:
        client.send(endless)
        client.send(unit * (4 * limits.HEAD_BYTES // len(unit)))
        for _ in range(50):
            client.send(unit * (limits.HEAD_BYTES // len(unit)))
        # A page that is not there may be told so before the body is found to have no end; either way the
        # connection is over.
        assert client.answer()[0] in (431, 404)
        assert client.ended()


def test_a_large_refused_head_does_not_reset_the_answer_away(wire: Wire) -> None:
    received = wire.raw(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * (8 << 20) + b"\r\n\r\n")
    refused(received, 431)


def test_trailers_are_no_headers(wire: Wire) -> None:
    """What follows the body was checked by nobody before us."""
    body = b"5\r\nhello\r\n0\r\nauthorization: Bearer adk_op\r\nhost: y\r\n\r\n"
    with Client(wire) as client:
        client.send(b"PUT /v1/advertisers/z HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + body)
        assert client.answer()[0] == 401


def test_refusals_are_logged_once_per_interval(world: World, tmp_path: Path) -> None:
    with served(world, http=bound(LONG, True)) as wire:
        for _ in range(3):
            wire.raw(b"HTTP?\r\n\r\n")
        count = wire.ask("GET", "/metrics").body
    assert b'adserver_refused_requests_total{route="(http)",status="400"} 3.0' in count
    assert len(wire.lines()) == 3  # The small server's log holds nothing back; see test_logs for what does.


def test_many_idle_connections_leave_room(wire: Wire) -> None:
    """raw19, in small: connections closed at once, others left idle; who asks is answered."""
    idle = [Client(wire) for _ in range(200)]
    for _ in range(300):
        Client(wire).socket.close()
    assert wire.ask("GET", "/healthz", headers=USER_AGENT).status == 200
    for client in idle:
        client.socket.close()
