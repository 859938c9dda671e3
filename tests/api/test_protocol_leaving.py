"""A connection that is to end loses no request: its end is an answer that says so, or comes when it would
anyway."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from raw_client import Client
from small_server import Wire, World, served

from adserver.api.asgi import Application
from adserver.api.deadlines import Deadlines
from adserver.api.protocol import HttpProtocol, protocol

BODY = b'{"placements":[{"id":"a"}]}'
KINDS = {
    "decision": b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY),
    "page": b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "preflight": b"OPTIONS /v1/decisions HTTP/1.1\r\nhost: x\r\n\r\n",
}


class Leaving:
    def __init__(self, world: World) -> None:
        self.world = world
        self.wire: Wire
        self.bound: type[HttpProtocol]
        # Nobody whom a busy machine holds up is let go meanwhile.
        self.keep_alive_ms = 60_000

    def make(self, app: Application) -> Any:
        self.bound = protocol(app, Deadlines(keep_alive_ms=self.keep_alive_ms, look_ms=20))
        return self.bound

    def leave(self) -> None:
        """All connections, and it is done."""
        for connection in list(self.bound.service.watch._watched):
            done = threading.Event()
            connection.loop.call_soon_threadsafe(connection.leave)  # type: ignore[attr-defined]
            connection.loop.call_soon_threadsafe(done.set)  # type: ignore[attr-defined]
            assert done.wait(20)


@pytest.fixture
def server(world: World) -> Iterator[Leaving]:
    leaving = Leaving(world)
    with served(world, http=leaving.make) as leaving.wire:
        yield leaving


def request(server: Leaving, kind: str) -> bytes:
    if kind in KINDS:
        return KINDS[kind]
    path = server.wire.tracking(kind).encode()
    return b"GET %b HTTP/1.1\r\nhost: x\r\nuser-agent: Mozilla/5.0\r\n\r\n" % path


@pytest.mark.parametrize("kind", [*KINDS, "impression", "click"])
def test_the_next_answer_is_the_last(server: Leaving, kind: str) -> None:
    with Client(server.wire) as client:
        for _ in range(2):
            client.send(request(server, kind))
            assert "connection" not in client.answer()[1]
        server.leave()
        client.send(request(server, kind))
        status, headers, _ = client.answer()
        assert (status < 400, headers["connection"]) == (True, "close")
        assert client.ended() and client.read == b""


def test_a_request_that_is_coming_in(server: Leaving) -> None:
    with Client(server.wire) as client:
        client.send(KINDS["decision"][:-5])
        time.sleep(0.05)
        server.leave()
        time.sleep(0.05)
        client.send(KINDS["decision"][-5:])
        status, headers, _ = client.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert client.ended()


def test_who_asks_nothing_is_let_go_when_it_would_be_anyway(world: World) -> None:
    leaving = Leaving(world)
    leaving.keep_alive_ms = 400
    with served(world, http=leaving.make) as leaving.wire, Client(leaving.wire) as client:
        began = time.monotonic()
        client.send(KINDS["page"])
        client.answer()
        leaving.leave()
        assert client.ended() and client.read == b""
        assert time.monotonic() - began > 0.3
