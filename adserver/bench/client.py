"""An HTTP client that costs little: requests are bytes made before, answers are cut at their length.

A few connections, one request on each at a time (a closed loop), without an event loop: the sockets that
have something to say are read and asked again in turn, two calls of the kernel an answer. Bounded in number
and time; loopback only.
"""

import re
import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from time import perf_counter
from typing import Final

from msgspec import Struct

from adserver.bench.calls import BROWSER

HOST: Final = "127.0.0.1"
CONNECTIONS: Final = 32

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"
_READ_BYTES: Final = 65_536
AFTER_S: Final = 30.0
"""For the answers still owed when the time is up."""


class Round(Struct, frozen=True):
    """``requests``: how many were answered; ``answers``: bodies of the first of them; ``failed``: statuses
    other than 200, and lost connections."""

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
    nobody listens, TimeoutError where answers are owed for too long."""
    with ExitStack() as stack:
        lines = [stack.enter_context(socket.create_connection((HOST, port))) for _ in range(connections)]
        ready = stack.enter_context(select.epoll())
        return _Play(iter(requests), kept, lines, ready).play(seconds)


class _Play:
    """A round. ``_owed``: the connections that are to answer; ``_begun``: what came of answers in parts."""

    def __init__(
        self, requests: Iterator[bytes], kept: int, lines: Sequence[socket.socket], ready: select.epoll
    ) -> None:
        self._requests = requests
        self._kept = kept
        self._ready = ready
        self._owed = {line.fileno(): line for line in lines}
        self._begun: dict[int, bytes] = {}
        self._answered = self._failed = 0
        self._answers: list[bytes] = []

    def play(self, seconds: float) -> Round:
        began = perf_counter()
        for number, line in list(self._owed.items()):
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ready.register(number, select.EPOLLIN)
            self._ask(number, line)
        self._listen(began + seconds)
        return Round(self._answered, perf_counter() - began, self._failed, tuple(self._answers))

    def _listen(self, until: float) -> None:
        owed, hear, now = self._owed, self._hear, perf_counter()
        while owed:
            heard = self._ready.poll(max(until + AFTER_S - now, 0))
            now = perf_counter()
            if not heard:
                raise TimeoutError(f"{len(owed)} answers are owed")
            if now > until:
                self._requests = iter(())
            for number, _ in heard:
                hear(number, owed[number])

    def _ask(self, number: int, line: socket.socket) -> None:
        request = next(self._requests, None)
        if request is None:
            self._leave(number)
        else:
            line.sendall(request)

    def _leave(self, number: int) -> None:
        """This one has nothing more to say."""
        del self._owed[number]
        self._ready.unregister(number)

    def _hear(self, number: int, line: socket.socket) -> None:
        received = _received(line)
        if not received:
            self._failed += 1
            return self._leave(number)
        if self._begun:
            received = self._begun.pop(number, b"") + received
        body, end = cut(received)
        if len(received) < end:
            self._begun[number] = received
            return None
        self._answered += 1
        if not is_good(received):
            self._failed += 1
        if len(self._answers) < self._kept:
            self._answers.append(received[body:end])
        self._ask(number, line)


def _received(line: socket.socket) -> bytes:
    """What is there; nothing where the connection is lost."""
    try:
        return line.recv(_READ_BYTES)
    except ConnectionError:
        return b""


def cut(received: bytes) -> tuple[int, int]:
    """Where an answer's body begins, and where it ends; more than was received while that is not known."""
    head = received.find(_HEAD_END)
    if head < 0:
        return 0, len(received) + 1
    found = _LENGTH.search(received, 0, head)
    body = head + len(_HEAD_END)
    return body, body + (int(found[1]) if found else 0)


def is_good(head: bytes) -> bool:
    return head.startswith(b"HTTP/1.1 200")
