"""The end at which a worker takes what others bring it."""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from adserver.domain import limits
from adserver.domain.errands import Answered, Brought, Errand
from adserver.domain.verdicts import Passed, Verdict
from adserver.errands.frames import Broken, Frames, Sockets, framed
from adserver.errands.shake import Host

Judged = tuple[Verdict | Passed, asyncio.Future[None] | None]
Judge = Callable[[Sequence[Errand]], list[Judged]]
"""The verdicts, and what each is to wait for."""

_BROUGHT: Final = msgspec.msgpack.Decoder(Brought)
_SAID: Final = msgspec.msgpack.Decoder(bytes)


class Home:
    """Of the worker with this ``number``. ``failed`` is told what goes wrong with a connection. Who comes by
    ``entrance``, a listening socket that other machines reach, must know the ``key``."""

    def __init__(
        self, sockets: Sockets, number: int, judge: Judge, failed: Callable[[str, Exception], None],
        entrance: socket.socket | None = None, key: bytes = b"",
    ) -> None:  # fmt: skip
        self._path = sockets.path(number)
        self._number = number
        self._entrance = entrance
        self._key = key
        self._judge = judge
        self._failed = failed
        self._guests = set[_Guest]()
        self._servers = list[asyncio.AbstractServer]()

    async def begin(self) -> None:
        """On the running loop. The socket that a predecessor left is no longer anybody's: this process has
        the lock of its journal."""
        loop, listening = asyncio.get_running_loop(), _bound(self._path)
        self._servers.append(await loop.create_unix_server(self._guest, sock=listening))
        if self._entrance is not None:
            self._servers.append(await loop.create_server(self._stranger, sock=self._entrance))

    def _guest(self) -> "_Guest":
        return _Guest(self._judge, self._failed, self._guests)

    def _stranger(self) -> "_Guest":
        return _Guest(self._judge, self._failed, self._guests, Host(self._key, self._number))

    async def end(self) -> None:
        """What was taken is answered, as long as anybody waits for it; nothing more is taken: others bring it
        to the successor."""
        for server in self._servers:
            server.close()
        await asyncio.gather(*(guest.end() for guest in self._guests))


def _bound(path: str) -> socket.socket:
    """Whoever else is on this machine cannot open it."""
    Path(path).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(path)
    finally:
        os.umask(before)
    return listening


class _Guest(asyncio.Protocol):
    """A connection; ``host``: to whom somebody from another machine is still a stranger. Who does not read
    its answers is not heard further."""

    def __init__(
        self, judge: Judge, failed: Callable[[str, Exception], None], guests: "set[_Guest]",
        host: Host | None = None,
    ) -> None:  # fmt: skip
        self.host = host
        self._judge = judge
        self._failed = failed
        self._guests = guests
        self._frames = Frames()
        self._owed = 0
        self._ended = False
        self._paid = asyncio.Event()
        self._paid.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.host is not None and not self._is_room():
            self._transport.abort()
            return
        self._guests.add(self)
        if self.host is not None:
            self._frames.most = limits.DOOR_SHAKE_BYTES
            self._transport.write(framed(self.host.greeting))
            asyncio.get_running_loop().call_later(limits.DOOR_SHAKE_S, self._turn_away)

    def _is_room(self) -> bool:
        strangers = sum(guest.host is not None for guest in self._guests)
        return strangers < limits.DOOR_STRANGERS and len(self._guests) < limits.DOOR_GUESTS

    def _turn_away(self) -> None:
        if self.host is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._guests.discard(self)
        self._ended = True

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        try:
            for frame in self._frames.received(data):
                if self.host is None:
                    self._take(_BROUGHT.decode(frame))
                else:
                    self._transport.write(framed(self.host.let_in(_SAID.decode(frame))))
                    self.host, self._frames.most = None, limits.FRAME_BYTES
        # What goes wrong with one worker is not the others'; it brings everything again.
        except (Broken, msgspec.MsgspecError) as error:
            self._failed("a worker was not understood", error)
            self._transport.abort()

    def _take(self, brought: Brought) -> None:
        try:
            judged = self._judge(brought.errands)
        # The last resort: a fault of ours in one event must not become everybody's.
        except Exception as error:
            self._failed("what another worker brought could not be judged", error)
            self._transport.abort()
            return
        answer = partial(self._answer, brought.number, [verdict for verdict, _ in judged])
        waits = {durable for _, durable in judged if durable is not None}
        self._owed += 1
        self._paid.clear()
        if not waits:
            answer()
        for durable in list(waits):
            durable.add_done_callback(partial(self._durable, answer, waits))

    def _durable(self, answer: Callable[[], None], waits: set[Any], durable: asyncio.Future[None]) -> None:
        waits.discard(durable)
        error = durable.exception()
        if isinstance(error, Exception):
            self._failed("what another worker brought could not be judged", error)
        if not waits:
            answer()

    def _answer(self, number: int, judged: list[Verdict | Passed]) -> None:
        verdicts = [one.verdict if isinstance(one, Passed) else one for one in judged]
        said = {n: one.said for n, one in enumerate(judged) if isinstance(one, Passed) and one.said}
        self._owed -= 1
        if not self._transport.is_closing():
            self._transport.write(framed(Answered(number, verdicts, said)))
        if not self._owed:
            self._paid.set()

    async def end(self) -> None:
        self._ended = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._paid.wait(), limits.PASSED_WAITS_S)
        self._transport.close()
