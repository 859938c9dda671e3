"""One queue for each connection: the order of answers, what is decided when, what waits for what."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from raw_client import Client
from small_server import Encoded, SmallRecorder, Wire, World, served

from adserver.api.asgi import Application
from adserver.api.deadlines import Deadlines
from adserver.api.protocol import HttpProtocol, protocol
from adserver.domain import limits
from adserver.services.ask import Ask, Asker, Terms
from adserver.services.ports import Durable

pytestmark = pytest.mark.slow

BODY = json.dumps({"placements": [{"id": "a"}], "session": "s"}).encode()
ASK = b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
PAGE = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


class SlowRecorder(SmallRecorder):
    """Durable only when ``durable`` is set: a disk under our thumb."""

    def __init__(self) -> None:
        super().__init__()
        self.durable = threading.Event()

    def written(self) -> Durable:
        # A thread sets it: no event of the loop's.
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def look() -> None:
            if self.durable.is_set():
                future.set_result(None)
            else:
                loop.call_later(0.002, look)

        look()
        return future


class Bench:
    """A server whose disk waits, and its protocol class."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.recorder = SlowRecorder()
        world.recorder = self.recorder
        self.wire: Wire
        self.bound: type[HttpProtocol]

    def make(self, app: Application) -> Any:
        self.bound = protocol(app, Deadlines(stall_ms=60_000))
        return self.bound

    def impression(self) -> bytes:
        path = self.wire.tracking("impression").encode()
        return b"GET %b HTTP/1.1\r\nhost: x\r\nuser-agent: Mozilla/5.0\r\n\r\n" % path

    def connections(self) -> list[Any]:
        return list(self.bound.service.watch._watched)

    def asked(self) -> int:
        return len(self.world.server.asked)


@pytest.fixture
def bench(world: World) -> Iterator[Bench]:
    bench = Bench(world)
    with served(world, http=bench.make) as wire:
        bench.wire = wire
        yield bench
        bench.recorder.durable.set()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def nothing_comes(client: Client) -> None:
    client.socket.settimeout(0.15)
    with pytest.raises(TimeoutError):
        client.socket.recv(1)
    client.socket.settimeout(20)


def test_answers_leave_in_the_order_of_their_requests(bench: Bench) -> None:
    """Rule 1: pages (ASGI, some turns of the loop), decisions (at once) and events (a disk)."""
    bench.recorder.durable.set()
    with Client(bench.wire) as client:
        kinds = {b'{"status"': PAGE, b'{"request': ASK, b"GIF89a\x01\x00\x01": bench.impression()}
        order = [
            b'{"status"',
            b'{"request',
            b"GIF89a\x01\x00\x01",
            b'{"request',
            b'{"status"',
            b'{"request',
        ] * 20
        client.send(b"".join(kinds[kind] for kind in order))
        for kind in order:
            assert client.answer()[2][:9] == kind


def test_nothing_is_decided_while_an_answer_before_it_is_owed(bench: Bench) -> None:
    """Rule 2, and rule 3: the event's answer waits for its disk, and the decision behind it for that."""
    with Client(bench.wire) as client:
        client.send(bench.impression() + ASK + PAGE)
        until(lambda: len(bench.recorder.recorded) == 1)
        nothing_comes(client)
        assert bench.asked() == 0
        bench.recorder.durable.set()
        assert [client.answer()[2][:6] for _ in range(3)] == [b"GIF89a", b'{"requ', b'{"stat']
        assert bench.asked() == 1


def test_nothing_is_decided_behind_an_answer_that_ends_the_connection(bench: Bench) -> None:
    """Rule 2: who never sees the answer was never shown the ad."""
    chunked = b"POST /v1/decisions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    too_large = chunked + b"20000\r\n" + b" " * 0x20000 + b"\r\n0\r\n\r\n"
    unread = chunked.replace(b"/v1/decisions", b"/i/x") + b"1\r\na\r\n0\r\n\r\n"
    for first in (
        ASK.replace(b"host: x", b"host: x\r\nconnection: close"),
        too_large,
        unread,
        b"HTTP?\r\n\r\n",
    ):
        before = bench.asked()
        with Client(bench.wire) as client:
            client.send(first + ASK)
            client.ended()
            assert client.read.count(b"HTTP/1.1 ") == 1
        assert bench.asked() - before == (1 if first.endswith(BODY) else 0)


def test_a_client_that_does_not_read_is_not_worked_for(bench: Bench) -> None:
    """Rule 2: decisions stop when the transport is full, and go on when it has room; none is lost."""
    large = Encoded(200, b'"' + b"a" * 65_536 + b'"')
    decide = bench.world.server.decide

    def decided(ask: Ask, asker: Asker, terms: Terms) -> Encoded:
        decide(ask, asker, terms)
        return large

    bench.world.server.decide = decided  # type: ignore[method-assign]
    count = 1000
    with Client(bench.wire) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        sender = threading.Thread(target=client.send, args=(ASK * count,), daemon=True)
        sender.start()
        until(lambda: bool(bench.connections()) and bench.asked() > 0)
        seen = -1
        while seen != bench.asked():
            seen = bench.asked()
            time.sleep(0.2)
        assert 0 < seen < count * 3 // 4
        [connection] = bench.connections()
        assert connection.transport.get_write_buffer_size() < 4 * len(large.body)
        for _ in range(count):
            assert client.answer()[0] == 200
        sender.join(20)
    assert bench.asked() == count


def test_a_client_that_never_reads_is_dropped(world: World) -> None:
    large = Encoded(200, b'"' + b"a" * 65_536 + b'"')
    world.server.decide = lambda ask, asker, terms: large  # type: ignore[method-assign]
    short = Deadlines(stall_ms=200, look_ms=20)
    with (
        served(world, http=lambda app: protocol(app, short)) as wire,
        Client(wire) as client,
        pytest.raises(ConnectionError),
    ):
        client.send(ASK * 100_000)


def test_shutdown_waits_for_the_queue(bench: Bench) -> None:
    """Rule 4: everything owed is answered, the last answer says that it is the last; nothing new is taken."""
    with Client(bench.wire) as client:
        client.send(bench.impression() + ASK + PAGE)
        until(lambda: len(bench.recorder.recorded) == 1)
        [connection] = bench.connections()
        connection.loop.call_soon_threadsafe(connection.shutdown)
        nothing_comes(client)
        bench.recorder.durable.set()
        answers = [client.answer() for _ in range(3)]
        assert [status for status, _, _ in answers] == [200] * 3
        assert ["connection" in headers for _, headers, _ in answers] == [False, False, True]
        assert client.ended() and client.read == b""


def test_shutdown_takes_nothing_new(bench: Bench) -> None:
    with Client(bench.wire) as client:
        client.send(bench.impression())
        until(lambda: len(bench.recorder.recorded) == 1)
        [connection] = bench.connections()
        connection.loop.call_soon_threadsafe(connection.shutdown)
        time.sleep(0.05)
        client.send(ASK)
        time.sleep(0.05)
        bench.recorder.durable.set()
        assert client.answer()[1]["connection"] == "close"
        assert client.ended() and client.read == b""
    assert bench.asked() == 0


@pytest.mark.parametrize("count", [1, 2])
def test_who_has_said_all_is_still_answered(bench: Bench, count: int) -> None:
    with Client(bench.wire) as client:
        client.send(b"".join(bench.impression() for _ in range(count)))
        client.socket.shutdown(socket.SHUT_WR)
        until(lambda: len(bench.recorder.recorded) == 1)
        nothing_comes(client)
        bench.recorder.durable.set()
        assert [client.answer()[0] for _ in range(count)] == [200] * count
        assert client.ended()


def test_an_event_counts_though_its_sender_is_gone(bench: Bench) -> None:
    with Client(bench.wire) as client:
        client.send(bench.impression())
        until(lambda: len(bench.recorder.recorded) == 1)
    bench.recorder.durable.set()
    until(lambda: bench.wire.accepted() == 1)
    until(lambda: not bench.connections())


def test_a_refusal_waits_its_turn(bench: Bench) -> None:
    with Client(bench.wire) as client:
        client.send(bench.impression() + b"HTTP?\r\n\r\n")
        until(lambda: len(bench.recorder.recorded) == 1)
        nothing_comes(client)
        bench.recorder.durable.set()
        assert client.answer()[0] == 200
        status, headers, _ = client.answer()
        assert (status, headers["connection"]) == (400, "close")
        assert client.ended()


def test_one_pipeline_does_not_hold_the_others_up(bench: Bench) -> None:
    """A packet of many requests is answered a few at a time, and others in between."""
    decide, sessions, both = bench.world.server.decide, list[str | None](), threading.Event()

    def slowly(ask: Ask, asker: Asker, terms: Terms) -> Encoded:
        sessions.append(ask.session)
        assert both.wait(20)
        return decide(ask, asker, terms)

    bench.world.server.decide = slowly  # type: ignore[method-assign]
    with Client(bench.wire) as greedy, Client(bench.wire) as modest:
        greedy.send(ASK * 400)
        until(lambda: len(sessions) > 0)
        # The loop stands in the first of them, so the other's is there before the second is decided.
        modest.send(ASK.replace(b'"s"}', b'"m"}'))
        both.set()
        assert modest.answer()[0] == 200
        for _ in range(400):
            assert greedy.answer()[0] == 200
        assert sessions.index("m") < 300


def test_a_long_pipeline_waits_unparsed(bench: Bench) -> None:
    """Each request that waits costs kilobytes, as bytes it costs tens; all are answered in the end."""
    count = 5000
    with Client(bench.wire) as client:
        client.send(bench.impression())
        until(lambda: len(bench.recorder.recorded) == 1)
        client.send(PAGE * count)
        [connection] = bench.connections()
        until(lambda: connection.waiting() > 1)
        nothing_comes(client)
        assert connection.waiting() <= limits.PIPELINED + limits.PARSED_AT_ONCE // len(PAGE) + 1
        bench.recorder.durable.set()
        for _ in range(count + 1):
            assert client.answer()[0] == 200


def test_a_continue_comes_when_its_turn_comes(bench: Bench) -> None:
    """And not at all where the body is not wanted."""
    head, _, body = ASK.partition(b"\r\n\r\n")
    head += b"\r\nexpect: 100-continue\r\n\r\n"
    with Client(bench.wire) as client:
        client.send(bench.impression() + head)
        nothing_comes(client)
        bench.recorder.durable.set()
        assert client.answer()[0] == 200
        assert client.answer()[0] == 100
        client.send(body)
        assert client.answer()[0] == 200
        client.send(head.replace(b"POST", b"PUT"))
        assert client.answer()[0] == 405
