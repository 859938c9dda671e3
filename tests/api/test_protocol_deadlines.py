"""How long a connection may take over what: over real sockets, with short deadlines. Time is taken from
before what starts one, so whoever is held up meanwhile sees more of it, never less."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from live import Live
from raw_client import SHORT, Client, bound, refused
from small_server import Wire, World, served
from whole_server import WholeWire

pytestmark = pytest.mark.slow


@pytest.fixture(params=[True, False], ids=["fast", "asgi"])
def hasty(request: pytest.FixtureRequest, world: World) -> Iterator[Wire]:
    with served(world, http=bound(SHORT, request.param)) as wire:
        yield wire


IN_TIME_S = 9.0
"""For deadlines of a second at most: the default ones begin at ten, and a busy machine needs some."""


def ends_within(client: Client, began: float, least: float) -> None:
    client.ended()
    assert least <= time.monotonic() - began <= IN_TIME_S


def test_a_silent_connection_ends_silently(hasty: Wire) -> None:
    began = time.monotonic()
    with Client(hasty) as client:
        ends_within(client, began, 0.2)
        assert client.read == b""
    assert hasty.lines() == []


@pytest.mark.parametrize("head", [b"G", b"GET / HTTP/1.1\r\nhost: x\r\nx: "])
def test_a_slow_head_is_refused(hasty: Wire, head: bytes) -> None:
    """However it trickles: the deadline is the whole head's."""
    began = time.monotonic()
    with Client(hasty) as client:
        client.send(head)
        client.socket.settimeout(0.05)
        while time.monotonic() - began < IN_TIME_S + 1:
            try:
                part = client.socket.recv(65536)
            except TimeoutError:
                client.send(b"a" if head != b"G" else b"")
                continue
            if not part:
                break
            client.read += part
        assert 0.25 < time.monotonic() - began < IN_TIME_S
        refused(client.read, 408)


def test_blank_lines_for_ever_end_silently(hasty: Wire) -> None:
    with Client(hasty) as client:
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < IN_TIME_S + 1:
                client.send(b"\r\n")
                time.sleep(0.02)
        assert time.monotonic() - began < IN_TIME_S


@pytest.mark.parametrize("path", [b"/v1/decisions", b"/v1/advertisers/acme", b"/healthz"])
def test_a_slow_body_is_refused(hasty: Wire, path: bytes) -> None:
    method = b"POST" if path == b"/v1/decisions" else b"PUT"
    head = b"%b %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer adk_op\r\ncontent-length: 1000\r\n\r\n{"
    began = time.monotonic()
    with Client(hasty) as client:
        client.send(head % (method, path))
        ends_within(client, began, 0.0 if path == b"/healthz" else 0.2)
        if path == b"/healthz":
            assert client.read.startswith(b"HTTP/1.1 405")
        else:
            refused(client.read, 408)


def test_a_long_body_may_take_longer_at_a_pace(hasty: Wire) -> None:
    # Each eighth earns two seconds, in which nobody is held up, and is sent in a tenth of one.
    size = 1024 * 1024
    head = b"PUT /v1/advertisers/acme HTTP/1.1\r\nhost: x\r\nauthorization: Bearer adk_op\r\n"
    head += b"content-length: %d\r\n\r\n"
    with Client(hasty) as client:
        client.send(head % size)
        began = time.monotonic()
        for _ in range(8):
            client.send(b" " * (size // 8))
            time.sleep(0.1)
        assert time.monotonic() - began > 0.6
        assert client.answer()[0] == 400


def test_an_idle_connection_ends_silently(hasty: Wire) -> None:
    with Client(hasty) as client:
        for path in (b"/healthz", b"/i/x"):
            client.send(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path)
            client.answer()
            time.sleep(0.1)
        began = time.monotonic()
        client.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        client.answer()
        ends_within(client, began, 0.8)
        assert client.read == b""


def test_a_kept_connection_outlives_many_requests(hasty: Wire) -> None:
    with Client(hasty) as client:
        began = time.monotonic()
        while time.monotonic() - began < 1.5:
            client.send(b"GET /i/x HTTP/1.1\r\nhost: x\r\n\r\n")
            assert client.answer()[0] == 404
            time.sleep(0.05)


PLAIN = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
EVENT = b"GET /i/%b HTTP/1.1\r\nhost: x\r\nuser-agent: Mozilla/5.0\r\n\r\n"


@pytest.mark.slow
def test_operators_say_how_long_an_idle_connection_is_kept(tmp_path: Path) -> None:
    """The whole way: flag or environment, settings, server, socket. An event is answered in a later turn of
    the loop, once it is durable; patience begins then."""
    with Live(tmp_path / "data", None, None, "--keep-alive-seconds", "1") as live:
        whole = WholeWire(live)
        for asked in (PLAIN, EVENT % whole.token("impression").encode()):
            with Client(whole) as kept:
                began = time.monotonic()
                kept.send(asked)
                assert kept.answer()[0] == 200
                ends_within(kept, began, 0.8)
