"""A worker's way out to the others, and theirs in."""

from collections.abc import Callable
from pathlib import Path

from adserver.errands.frames import Sockets
from adserver.errands.home import Home, Judge
from adserver.errands.others import Others


class Door:
    """Of the worker with this ``number`` in the data folder ``data``. ``failed`` is told what was not
    understood."""

    def __init__(self, data: Path, number: int, failed: Callable[[str, Exception], None]) -> None:
        self._sockets = Sockets(data)
        self._number = number
        self._failed = failed
        self._others = Others(self._sockets, failed)
        self._home: Home | None = None
        self.bring = self._others.bring

    async def open(self, judge: Judge) -> None:
        """Take what others bring, on the running loop."""
        self._home = Home(self._sockets, self._number, judge, self._failed)
        await self._home.begin()

    async def shut(self) -> None:
        """What was taken is answered; what waits for others is given up."""
        if self._home is not None:
            await self._home.end()
        await self._others.end()

    def close(self) -> None:
        self._sockets.close()
