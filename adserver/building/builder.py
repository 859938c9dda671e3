"""The server's end of the builder: hears of its images, and maps them.

The child (``children``) may die of anything; the last good snapshot serves on meanwhile.
"""

import asyncio
from pathlib import Path
from typing import Final, Protocol

import msgspec

from adserver.building.child import Told
from adserver.building.images import Images
from adserver.children import Child, Died
from adserver.databases import TOLD
from adserver.engine.snapshot import Snapshot

_PAUSE_MAX_S: Final = 30.0
_TOLD: Final = msgspec.json.Decoder(Told)


class Content(Protocol):
    def content(self) -> tuple[int, str]:
        """(newest revision, digest of all the catalogue holds at it)."""
        ...


class Following(Protocol):
    """Whoever tells of snapshots: a builder of our own, or the parent that has one."""

    async def newer(self) -> Snapshot | None: ...
    def look(self) -> None: ...
    def give_up(self) -> None: ...
    async def end(self) -> None: ...


class NotBuilt(Exception):
    """There is no snapshot of the newest revision; the message is for the operator."""


class Builder:
    """Of the data folder ``data``, whose catalog is ``store``; ``url``: of its database, if it is in no
    file."""

    def __init__(self, data: Path, store: Content, url: str = "") -> None:
        self._store = store
        self._images = Images(data)
        self._opened = ""
        self._child = Child(
            "adserver.building.child", lambda: (str(data), self._opened), _PAUSE_MAX_S, {TOLD: url}
        )
        self._begun = False

    async def newer(self) -> Snapshot | None:
        """The next snapshot, once there is one; the first is the image an earlier process left, if it is
        of the catalogue as it is now. None once the builder was ended. Raises NotBuilt."""
        if not self._begun:
            self._begun = True
            left = await asyncio.to_thread(self._left_behind)
            if left is not None:
                return left
        try:
            line = await self._child.heard()
        except Died as died:
            raise NotBuilt(f"the builder {died}") from died
        return None if line is None else await self._taken(_TOLD.decode(line))

    def look(self) -> None:
        """Something changed: have the child look at once."""
        # A child that died is started again, and looks at once by itself.
        self._child.say(b"\n")

    def give_up(self) -> None:
        """End the child, whatever it is doing; who waits for a snapshot waits no more."""
        self._child.give_up()

    async def end(self) -> None:
        """The same, and it is gone."""
        await self._child.end()

    async def _taken(self, told: Told) -> Snapshot:
        if told.error:
            raise NotBuilt(told.error)
        try:
            snapshot = await asyncio.to_thread(self._open, told.image)
        except (OSError, ValueError) as error:
            # The child believes it is in service; another does not.
            self._child.kill()
            raise NotBuilt(f"an image cannot be mapped: {error}") from error
        self._child.worked()
        return snapshot

    def _left_behind(self) -> Snapshot | None:
        """What an earlier process built. Whatever is wrong with it, it is built again."""
        name = self._images.name(*self._store.content())
        self._images.clear(name)
        try:
            return self._open(name, checked=False)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            self._images.remove(name)
            return None

    def _open(self, name: str, checked: bool = True) -> Snapshot:
        """Map an image, and remove the file of the one before and what blocks it alone used: what is in use
        of them stays mapped."""
        snapshot = self._images.open(name, checked)
        if self._opened not in ("", name):
            self._images.remove(self._opened)
        self._images.sweep(snapshot.stores)
        self._opened = name
        return snapshot
