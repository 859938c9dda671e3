"""The network between a test's client and server, as bad as the test wants it."""

import asyncio
import socket
import struct
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_CHUNK = 65_536
_HELD_CHUNKS = 1024
_START_S = 10.0


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to what passes, in both directions where nothing else is said."""

    delay_s: float = 0.0
    """Each reply comes so much later, and none for that waits for another."""
    swallow: int = 0
    """Every so-manieth reply is lost, counted over all connections, and with it all that follows on its
    connection, as TCP would have it: a stream has no holes. The server has done what it was asked."""
    dark: bool = False
    """Nothing passes. Connections stand and are accepted; what was sent arrives when it is over."""
    refuse: bool = False
    """New connections are reset."""


FAIR = Weather()
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """``with Proxy(server.port) as proxy: client(proxy.port); proxy.weather = Weather(swallow=5)``.

    A reply is what the server had written when it was looked at: one answer, where one thing is asked at a
    time.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._weather = FAIR
        self._replies = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._started: Future[None] = Future()

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result(_START_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_START_S)

    @property
    def weather(self) -> Weather:
        return self._weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        """From the next byte on, on connections that are open as well."""
        self._weather = weather
        self._loop.call_soon_threadsafe(self._light.clear if weather.dark else self._light.set)

    def cut(self) -> None:
        """Reset the connections that are open."""
        self._loop.call_soon_threadsafe(self._cut)

    # -- on its thread -----------------------------------------------------------------------------

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._light = asyncio.Event()
        self._light.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set_result(None)
        await self._over.wait()
        server.close()
        self._cut()

    def _cut(self) -> None:
        for writer in self._open:
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._weather.refuse:
            _reset(writer)
            return
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(writer)
            return
        both = {writer, server}
        self._open |= both
        gone = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._carry(reader, server, None)).add_done_callback(lambda _: gone.set())
                ways.create_task(self._carry(answers, writer, gone))
        except* OSError:
            pass
        finally:
            self._open -= both
            for end in both:
                end.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gone: asyncio.Event | None
    ) -> None:
        """One way. ``gone``: of replies, when the client has closed its end."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_HELD_CHUNKS)
        async with asyncio.TaskGroup() as ends:
            ends.create_task(self._take(reader, held, gone))
            ends.create_task(self._give(held, writer))

    async def _take(
        self,
        reader: asyncio.StreamReader,
        held: asyncio.Queue[tuple[float, bytes]],
        gone: asyncio.Event | None,
    ) -> None:
        lost = False
        chunk = b"."
        while chunk:
            chunk = await reader.read(_CHUNK)
            lost = lost or (gone is not None and bool(chunk) and self._swallowed())
            if not lost:
                late = self._weather.delay_s if gone is not None else 0.0
                await held.put((self._loop.time() + late, chunk))
        if lost and gone is not None:
            # Nor does the client hear that the server closed.
            await gone.wait()
            await held.put((0.0, b""))

    async def _give(self, held: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, chunk = await held.get()
            if (early := due - self._loop.time()) > 0:
                await asyncio.sleep(early)
            await self._light.wait()
            if not chunk:
                writer.write_eof()
                return
            writer.write(chunk)
            await writer.drain()

    def _swallowed(self) -> bool:
        every = self._weather.swallow
        self._replies += 1
        return every > 0 and self._replies % every == 0


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close it so that the other end is told of a reset, not of an end."""
    sock: socket.socket = writer.get_extra_info("socket")
    if sock.fileno() < 0:
        return  # it is closed already, and about to be forgotten
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
