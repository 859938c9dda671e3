"""An HTTP client that costs little: requests are bytes made before, answers are cut at their length.

A few connections, one request on each at a time (a closed loop); bounded in number and time; loopback only.
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Final, Protocol, cast

import uvloop
from msgspec import Struct

from adserver.bench.calls import BROWSER

HOST: Final = "127.0.0.1"
CONNECTIONS: Final = 32

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"
AFTER_S: Final = 30.0
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
    play = _Play(iter(requests), perf_counter() + seconds, kept)
    lines = await connect(port, connections, play)
    began = perf_counter()
    play.open = len(lines)
    for line in lines:
        play.ask(line)
    try:
        await asyncio.wait_for(play.over, seconds + AFTER_S)
    finally:
        for line in lines:
            line.close()
    return Round(play.asked, perf_counter() - began, play.failed, tuple(play.answers))


class Player(Protocol):
    """Who uses connections, and is told what comes on them."""

    def answered(self, line: "Connection", head: bytes, body: bytes) -> None: ...
    def lost(self, line: "Connection") -> None: ...


async def connect(port: int, connections: int, player: Player) -> list["Connection"]:
    """Raises OSError where nobody listens."""
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Connection(player), HOST, port) for _ in range(connections)]
    return [connection for _, connection in made]


class _Play:
    """The connections of a round, each asked again as soon as it has answered."""

    def __init__(self, requests: Iterator[bytes], until: float, kept: int) -> None:
        self._requests = requests
        self._until = until
        self._kept = kept
        self.over = asyncio.get_running_loop().create_future()
        self.open = 0
        self.asked = self.failed = 0
        self.answers: list[bytes] = []

    def ask(self, line: "Connection") -> None:
        request = next(self._requests, None) if perf_counter() < self._until else None
        if request is not None:
            line.send(request)
        else:
            self._left()

    def answered(self, line: "Connection", head: bytes, body: bytes) -> None:
        self.asked += 1
        self.failed += not is_good(head)
        if len(self.answers) < self._kept:
            self.answers.append(body)
        self.ask(line)

    def lost(self, line: "Connection") -> None:
        self.failed += 1
        self._left()

    def _left(self) -> None:
        """One connection has nothing more to ask."""
        self.open -= 1
        if not self.open and not self.over.done():
            self.over.set_result(None)


def is_good(head: bytes) -> bool:
    return head.startswith(b"HTTP/1.1 200")


class Connection(asyncio.Protocol):
    """One request at a time; ``player`` is told of its answer."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._received = b""
        self._needed = 0
        self._owed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> None:
        self._owed = True
        self._transport.write(request)

    def close(self) -> None:
        self._transport.close()

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
        self._owed = False
        self._player.answered(self, head, answer)

    def connection_lost(self, error: Exception | None) -> None:
        if self._owed:
            self._owed = False
            self._player.lost(self)
