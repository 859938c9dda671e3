"""A small HTTP/1.1 client over kept connections: what a publisher's server would use, no more.

Replies are matched to requests by the connection they came on, one at a time; a request that fails because
the server closed an idle connection is tried once more on a fresh one. Loopback only, so no TLS.
"""

import asyncio
from time import perf_counter
from typing import Final

import httptools
from msgspec import Struct

AGENT: Final = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
)


class Reply(Struct):
    """``seconds``: from the request written to the reply whole; ``sent_ms`` and ``received_ms``: the wall
    clock around it, set by who keeps books of it."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


class Lost(Exception):
    """The server did not answer."""


class _Connection(asyncio.Protocol):
    """One connection: at most one request under way."""

    def __init__(self) -> None:
        self.alive = True
        self._waiter: asyncio.Future[tuple[int, dict[str, str], bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(Lost("the connection ended before the answer"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result((self._parser.get_status_code(), self._headers, bytes(self._body)))
        self._headers, self._body = {}, bytearray()
        if not self._parser.should_keep_alive():
            self.close()

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._transport is None or not self.alive:
            raise Lost("not connected")
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def close(self) -> None:
        self.alive = False
        if self._transport is not None:
            self._transport.close()


class Client:
    """``connections``: how many at most; ``key``: of the management API, sent where ``keyed``."""

    def __init__(
        self, host: str, port: int, connections: int = 48, key: str = "", wait_s: float = 5.0
    ) -> None:
        self._host, self._port, self._key, self._wait_s = host, port, key, wait_s
        self._room = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []

    async def ask(
        self, method: str, path: str, body: bytes = b"", *, agent: str = AGENT, keyed: bool = False
    ) -> Reply:
        """Raises Lost. ``path``: as sent, a whole URL of this server is cut down to it."""
        request = self._request(method, path, body, agent, keyed)
        async with self._room:
            try:
                # Not wait_for: in Python 3.11 it loses a cancellation that comes along with the answer.
                async with asyncio.timeout(self._wait_s):
                    return await self._twice(request)
            except TimeoutError as error:
                raise Lost(f"no answer to {method} {path[:60]} within {self._wait_s:g} s") from error

    async def _twice(self, request: bytes) -> Reply:
        """Once more where a kept connection had been closed meanwhile."""
        reused = bool(self._idle)
        try:
            return await self._once(request)
        except (Lost, OSError) as error:
            if not reused:
                raise Lost(str(error)) from error
        self._idle.clear()
        try:
            return await self._once(request)
        except OSError as error:
            raise Lost(str(error)) from error

    async def _once(self, request: bytes) -> Reply:
        connection = self._idle.pop() if self._idle else await self._connect()
        began = perf_counter()
        try:
            status, headers, body = await connection.ask(request)
        except asyncio.CancelledError:
            connection.close()
            raise
        if connection.alive:
            self._idle.append(connection)
        return Reply(status, headers, body, perf_counter() - began)

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(_Connection, self._host, self._port))[1]

    def _request(self, method: str, path: str, body: bytes, agent: str, keyed: bool) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\nuser-agent: {agent}\r\n"
        if keyed:
            head += f"authorization: Bearer {self._key}\r\n"
        if body:
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        elif method == "POST":
            head += "content-length: 0\r\n"
        return head.encode("latin-1") + b"\r\n" + body

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()
