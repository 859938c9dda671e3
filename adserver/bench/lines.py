"""Connections of an event loop to a server, for who asks at times of his own."""

import asyncio
from typing import Protocol, cast

from adserver.bench import client


class Player(Protocol):
    """Who uses connections, and is told what comes on them."""

    def answered(self, line: "Connection", head: bytes, body: bytes) -> None: ...
    def lost(self, line: "Connection") -> None: ...


async def connect(port: int, connections: int, player: Player) -> list["Connection"]:
    """Raises OSError where nobody listens."""
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Connection(player), client.HOST, port)
        for _ in range(connections)
    ]
    return [connection for _, connection in made]


class Connection(asyncio.Protocol):
    """One request at a time; ``player`` is told of its answer."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._received = b""
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
        body, end = client.cut(self._received)
        if len(self._received) < end:
            return
        head, answer = self._received[:body], self._received[body:end]
        self._received, self._owed = self._received[end:], False
        self._player.answered(self, head, answer)

    def connection_lost(self, error: Exception | None) -> None:
        if self._owed:
            self._owed = False
            self._player.lost(self)
