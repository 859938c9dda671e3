"""The server's end of the builder: starts the child, hears of its images, and maps them.

The child may die of anything; it is started again after a pause that grows, and the last good snapshot
serves on meanwhile. It cannot outlive the server, whose end closes its standard input.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

from adserver.building.child import Told
from adserver.building.images import Images
from adserver.engine.snapshot import Snapshot

_PAUSE_S: Final = 0.5
_PAUSE_MAX_S: Final = 30.0
_TOLD: Final = msgspec.json.Decoder(Told)


class Content(Protocol):
    def content(self) -> tuple[int, str]:
        """(newest revision, digest of all the catalogue holds at it)."""
        ...


class NotBuilt(Exception):
    """There is no snapshot of the newest revision; the message is for the operator."""


class Builder:
    """Of the data folder ``data``, whose catalog is ``store``."""

    def __init__(self, data: Path, store: Content) -> None:
        self._data = data
        self._store = store
        self._images = Images(data)
        self._opened = ""
        self._process: Process | None = None
        self._begun = False
        self._pause_s = 0.0
        self._ended = asyncio.Event()

    async def newer(self) -> Snapshot | None:
        """The next snapshot, once there is one; the first is the image an earlier process left, if it is
        of the catalogue as it is now. None once the builder was ended. Raises NotBuilt."""
        if not self._begun:
            self._begun = True
            left = await asyncio.to_thread(self._left_behind)
            if left is not None:
                return left
        process = await self._running()
        while process is not None and process.stdout is not None:
            line = await process.stdout.readline()
            if self._ended.is_set():
                break
            if not line:
                raise NotBuilt(f"the builder ended with {await process.wait()}")
            return await self._taken(_TOLD.decode(line))
        return None

    def look(self) -> None:
        """Something changed: have the child look at once."""
        stdin = None if self._process is None else self._process.stdin
        # A child that died is started again, and looks at once by itself.
        if stdin is not None and not stdin.is_closing():
            stdin.write(b"\n")

    def give_up(self) -> None:
        """End the child, whatever it is doing; who waits for a snapshot waits no more."""
        self._ended.set()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def end(self) -> None:
        """The same, and it is gone."""
        self.give_up()
        if self._process is not None:
            await self._process.wait()

    async def _running(self) -> Process | None:
        """The child, started if there is none; None once the builder was ended."""
        if self._process is None or self._process.returncode is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), self._pause_s)
            if self._ended.is_set():
                return None
            self._pause_s = min(max(2 * self._pause_s, _PAUSE_S), _PAUSE_MAX_S)
            command = (sys.executable, "-m", "adserver.building.child", str(self._data), self._opened)
            self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
            if self._ended.is_set():
                await self.end()
                return None
        return self._process

    async def _taken(self, told: Told) -> Snapshot:
        if told.error:
            raise NotBuilt(told.error)
        try:
            snapshot = await asyncio.to_thread(self._open, told.image)
        except (OSError, ValueError) as error:
            # The child believes it is in service; another does not.
            if self._process is not None:
                with suppress(ProcessLookupError):
                    self._process.kill()
            raise NotBuilt(f"an image cannot be mapped: {error}") from error
        self._pause_s = 0.0
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
