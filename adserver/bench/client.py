"""An HTTP client that costs little: requests are bytes made before, answers are cut at their length.

A few connections, one request on each at a time (a closed loop); bounded in number and time; loopback only.
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Final, cast

import uvloop
from msgspec import Struct

from adserver.bench.calls import BROWSER

HOST: Final = "127.0.0.1"
CONNECTIONS: Final = 32

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"
_AFTER_S: Final = 30.0
"""For the answers still owed when the time is up."""


class Round(Struct, frozen=True):
    """``answers``: bodies of the first answers; ``failed``: statuses other than 200, and lost connections."""

    requests: int
    seconds: float
    failed: int
    answers: tuple[bytes, ...]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def post(path: str, body: bytes) -> bytes:
    """A whole request."""
    lines = _lines(f"POST {path}") + f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return lines.encode() + body


def get(path: str) -> bytes:
    return (_lines(f"GET {path}") + "\r\n").encode()


def _lines(target: str) -> str:
    return f"{target} HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: {BROWSER}\r\naccept: */*\r\n"


def play(
    port: int, requests: Sequence[bytes], seconds: float, kept: int = 0, connections: int = CONNECTIONS
) -> Round:
    """Send the requests in order, each once, until they or the time are used up. Raises OSError where
    nobody listens."""
    return uvloop.run(_play(port, requests, seconds, kept, connections))


async def _play(port: int, requests: Sequence[bytes], seconds: float, kept: int, connections: int) -> Round:
    loop = asyncio.get_running_loop()
    play = _Play(iter(requests), perf_counter() + seconds, kept, loop.create_future())
    opened = [await loop.create_connection(lambda: _Connection(play), HOST, port) for _ in range(connections)]
    began = perf_counter()
    play.open = len(opened)
    for _, connection in opened:
        connection.ask()
    try:
        await asyncio.wait_for(play.over, seconds + _AFTER_S)
    finally:
        for transport, _ in opened:
            transport.close()
    return Round(play.answered, perf_counter() - began, play.failed, tuple(play.answers))


class _Play:
    """What the connections of a round share."""

    def __init__(
        self, requests: Iterator[bytes], until: float, kept: int, over: asyncio.Future[None]
    ) -> None:
        self._requests = requests
        self._until = until
        self._kept = kept
        self.over = over
        self.open = 0
        self.answered = self.failed = 0
        self.answers: list[bytes] = []

    def next(self) -> bytes | None:
        return next(self._requests, None) if perf_counter() < self._until else None

    def take(self, head: bytes, body: bytes) -> None:
        self.answered += 1
        if not head.startswith(b"HTTP/1.1 200"):
            self.failed += 1
        if len(self.answers) < self._kept:
            self.answers.append(body)

    def left(self) -> None:
        """One connection has nothing more to ask."""
        self.open -= 1
        if not self.open and not self.over.done():
            self.over.set_result(None)


class _Connection(asyncio.Protocol):
    def __init__(self, play: _Play) -> None:
        self._play = play
        self._received = b""
        self._needed = 0
        self._done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self) -> None:
        request = self._play.next()
        if request is None:
            self._leave()
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) < self._needed:
            return
        end = self._received.find(_HEAD_END)
        if end < 0:
            return
        found = _LENGTH.search(self._received, 0, end)
        body = end + len(_HEAD_END)
        self._needed = body + (int(found[1]) if found else 0)
        if len(self._received) < self._needed:
            return
        head, answer = self._received[:end], self._received[body : self._needed]
        self._received, self._needed = self._received[self._needed :], 0
        self._play.take(head, answer)
        self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done:
            self._play.failed += 1
            self._leave()

    def _leave(self) -> None:
        if not self._done:
            self._done = True
            self._play.left()
