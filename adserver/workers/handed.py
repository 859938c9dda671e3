"""The parent's builder and its numbers, as a worker has them."""

import asyncio
from pathlib import Path

from adserver.building.builder import NotBuilt
from adserver.building.child import Told
from adserver.building.images import Images
from adserver.engine.snapshot import Snapshot
from adserver.workers.link import Link
from adserver.workers.messages import Look, Took, Unmapped


class Handed:
    """Snapshots as they come into force; the same as ``Builder`` to who takes them. Of many that came
    meanwhile only the last is mapped."""

    def __init__(self, data: Path, link: Link) -> None:
        self._images = Images(data)
        self._link = link
        self._told: Told | None = None
        self._news = asyncio.Event()
        self._ended = False
        self._opened = ""

    def take(self, told: Told) -> None:
        """The parent says so."""
        self._told = told
        self._news.set()

    async def newer(self) -> Snapshot | None:
        """The next snapshot, once there is one. None once it was ended. Raises NotBuilt."""
        while not self._ended:
            await self._news.wait()
            self._news.clear()
            told, self._told = self._told, None
            if told is None or told.image == self._opened != "":
                continue
            if told.error:
                raise NotBuilt(told.error)
            snapshot = await self._mapped(told.image)
            if snapshot is not None:
                return snapshot
        return None

    async def _mapped(self, name: str) -> Snapshot | None:
        """None where a newer one came meanwhile: then the parent may have removed this one."""
        try:
            snapshot = await asyncio.to_thread(self._images.open, name)
        except (OSError, ValueError) as error:
            if self._told is not None:
                return None
            self._link.say(Unmapped(name, str(error)))
            raise NotBuilt(f"an image cannot be mapped: {error}") from error
        self._opened = name
        self._link.say(Took(name, snapshot.stores))
        return snapshot

    def look(self) -> None:
        """Something changed: have the builder look at once."""
        self._link.say(Look())

    def give_up(self) -> None:
        """Who waits for a snapshot waits no more."""
        self._ended = True
        self._news.set()

    async def end(self) -> None:
        self.give_up()
