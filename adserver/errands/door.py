"""A worker's way out to the others, and theirs in."""

import socket
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from adserver.errands.frames import Sockets
from adserver.errands.home import Home, Judge
from adserver.errands.others import Others
from adserver.errands.reach import Reach


class Outside(Struct, frozen=True):
    """``door``: HOST:PORT of a worker of another machine; ``key``: what machines know each other by;
    ``entrance``: the listening socket that is called this one's door."""

    door: Callable[[int], str | None] = lambda number: None
    key: bytes = b""
    entrance: socket.socket | None = None


class Door:
    """Of the worker with this ``number`` in the data folder ``data``. ``failed`` is told what was not
    understood. ``outside``: what there is of other machines."""

    def __init__(
        self, data: Path, number: int, failed: Callable[[str, Exception], None], outside: Outside | None
    ) -> None:
        self._sockets = Sockets(data)
        self._number = number
        self._failed = failed
        self._outside = outside or Outside()
        self._others = Others(Reach(self._sockets, self._outside.door, self._outside.key), failed)
        self._home: Home | None = None
        self.bring = self._others.bring

    async def open(self, judge: Judge) -> None:
        """Take what others bring, on the running loop."""
        entrance, key = self._outside.entrance, self._outside.key
        self._home = Home(self._sockets, self._number, judge, self._failed, entrance, key)
        await self._home.begin()

    async def shut(self) -> None:
        """What was taken is answered; what waits for others is given up."""
        if self._home is not None:
            await self._home.end()
        await self._others.end()

    def close(self) -> None:
        self._sockets.close()
