"""How the other workers are reached: those of this data folder over their sockets in it, those of other
machines at their doors, over TCP."""

import asyncio
from collections.abc import Callable

from adserver.domain import limits
from adserver.errands.frames import Sockets
from adserver.errands.shake import Visitor


class Reach:
    """``door``: HOST:PORT of a worker of another machine, None: it is of this one; ``key``: what machines
    know each other by."""

    def __init__(
        self, sockets: Sockets, door: Callable[[int], str | None] = lambda number: None, key: bytes = b""
    ) -> None:
        self._sockets = sockets
        self._door = door
        self._key = key

    async def connect(self, number: int, protocol: asyncio.BaseProtocol) -> None:
        """To the worker with this number. Raises OSError."""
        loop, door = asyncio.get_running_loop(), self._door(number)
        async with asyncio.timeout(limits.DOOR_SHAKE_S):
            if door is None:
                await loop.create_unix_connection(lambda: protocol, self._sockets.path(number))
            else:
                host, _, port = door.rpartition(":")
                await loop.create_connection(lambda: protocol, host.strip("[]"), int(port))

    def visitor(self, number: int) -> Visitor | None:
        """None: whoever can open its socket is one of us."""
        return None if self._door(number) is None else Visitor(self._key, number)
