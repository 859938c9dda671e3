"""The snapshot in force, of all workers: one builder makes it, each of them maps it.

The parent hears of an image and tells every worker; a worker that starts is told the last. A file is removed
when all who live have taken up a newer one: what is mapped outlives its name, but nobody may be told a name
and find nothing. One that hangs does not fill the disk: of those before the last only a few are kept.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import msgspec

from adserver.building.child import Told
from adserver.building.images import Images
from adserver.children import Child, Died
from adserver.databases import TOLD
from adserver.telemetry.logs import Log

KEPT: Final = 4
"""Images before the one in force, at most."""
_PAUSE_MAX_S: Final = 30.0
_TOLD: Final = msgspec.json.Decoder(Told)


class Force:
    """Of the data folder ``data``. ``tell`` is given what all workers are to hear; ``url``: of the catalog's
    database, if it is in no file."""

    def __init__(self, data: Path, tell: Callable[[Told], None], log: Log, url: str = "") -> None:
        self._images = Images(data)
        self._tell = tell
        self._log = log
        self._child = Child(
            "adserver.building.child", lambda: (str(data), self._name), _PAUSE_MAX_S, {TOLD: url}
        )
        self._name = ""
        self._files: list[str] = []
        self._stores: tuple[str, ...] = ()
        self._taken: dict[int, str] = {}
        self.last: Told | None = None
        """What a worker that begins is to hear first: the image in force, or why there is none."""

    def take_up(self, revision: int, digest: str) -> None:
        """What an earlier process built of this catalogue; else it is built anew. Raises OSError."""
        name = self._images.name(revision, digest)
        self._images.clear(name)
        try:
            self._images.open(name, checked=False)
        except FileNotFoundError:
            return
        except (OSError, ValueError):
            self._images.remove(name)
            return
        self._put(Told(revision, image=name))

    async def follow(self) -> None:
        """Take what the builder makes, until it is ended."""
        while True:
            try:
                line = await self._child.heard()
            except Died as died:
                self._fail(Told(0, error=f"the builder {died}"))
                continue
            if line is None:
                return
            told = _TOLD.decode(line)
            if told.error:
                self._fail(told)
            else:
                self._put(told)

    def look(self) -> None:
        """A change was made: have the builder look at once."""
        self._child.say(b"\n")

    async def end(self) -> None:
        await self._child.end()

    # -- what workers say ---------------------------------------------------------------------------

    def took(self, number: int, image: str, stores: tuple[str, ...], alive: Collection[int]) -> None:
        """Worker ``number``, of those ``alive``, has it mapped."""
        self._taken[number] = image
        if image == self._name:
            self._stores = stores
        self._tidy(alive)

    def lost(self, number: int, alive: Collection[int]) -> None:
        """It maps nothing any more."""
        self._taken.pop(number, None)
        self._tidy(alive)

    def unmapped(self, image: str) -> None:
        """A worker cannot map it: it is built anew."""
        if image == self._name:
            self._name, self.last = "", None
            self._child.kill()

    # -- files --------------------------------------------------------------------------------------

    def _put(self, told: Told) -> None:
        self._name, self.last = told.image, told
        self._files = [name for name in self._files if name != told.image] + [told.image]
        self._drop(self._files[: -1 - KEPT])
        self._tell(told)

    def _fail(self, told: Told) -> None:
        """Whoever has no image yet cannot begin; the others serve on with the last."""
        if self.last is None or self.last.error:
            self.last = told
        self._tell(told)

    def _tidy(self, alive: Collection[int]) -> None:
        """When all have what is in force."""
        if self._name and alive and all(self._taken.get(number) == self._name for number in alive):
            self._child.worked()
            self._drop([name for name in self._files if name != self._name])
            self._images.sweep(self._stores)

    def _drop(self, names: list[str]) -> None:
        for name in names:
            self._images.remove(name)
        self._files = [name for name in self._files if name not in names]
