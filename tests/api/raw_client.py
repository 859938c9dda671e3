"""A client that speaks bytes, for tests of the HTTP protocol class; deadlines for them."""

import json
import socket
from collections.abc import Callable
from typing import Any

from small_server import Wire

from adserver.api.asgi import Application
from adserver.api.deadlines import Deadlines
from adserver.api.protocol import protocol

SHORT = Deadlines(
    first_byte_ms=300, head_ms=300, body_ms=300, keep_alive_ms=1000, stall_ms=300, linger_ms=300, look_ms=20
)
LONG = Deadlines(keep_alive_ms=60_000, first_byte_ms=60_000, head_ms=60_000, body_ms=60_000, linger_ms=20_000)


def bound(deadlines: Deadlines, fast: bool) -> Callable[[Application], Any]:
    return lambda app: protocol(app, deadlines, fast)


class Client:
    """One connection; ``answers`` reads whole answers off it."""

    def __init__(self, wire: Wire, timeout: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", wire.port), timeout=timeout)
        self.read = b""

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        while b"\r\n\r\n" not in self.read:
            self._more()
        head, _, self.read = self.read.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        length = int(headers.get("content-length", "0"))
        while len(self.read) < length:
            self._more()
        body, self.read = self.read[:length], self.read[length:]
        return int(lines[0][9:12]), headers, body

    def ended(self) -> bool:
        """Waits for the server's end of the connection; whatever else came stays in ``read``."""
        try:
            while part := self.socket.recv(65536):
                self.read += part
        except ConnectionResetError:
            pass
        return True

    def _more(self) -> None:
        part = self.socket.recv(65536)
        assert part, f"the connection ended after {self.read!r}"
        self.read += part


def refused(octets: bytes, status: int) -> None:
    """Exactly one answer, problem+json with an id, that ends the connection."""
    head, _, body = octets.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), octets[:300]
    for line in (b"content-type: application/problem+json", b"connection: close", b"x-request-id: "):
        assert line in head
    assert json.loads(body)["status"] == status
