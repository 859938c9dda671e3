"""What records events: of a server that is alone its own recorder, of a worker among several whatever brings
them to who decided their ads."""

from typing import TYPE_CHECKING

from adserver.api.ports import Impressions, Recorder
from adserver.errands.door import Door
from adserver.services.passing import Passing, PassingRows

if TYPE_CHECKING:
    from adserver.app import App


class Doors:
    """Of an app that is composed as far as its own recording."""

    def __init__(self, app: "App") -> None:
        self.recorder: Recorder = app.recorder
        self.impressions: Impressions = app.impressions
        self._door: Door | None = None
        if app.worker.of > 1:
            self._door = Door(app.settings.data, app.worker.number, app.log.failure)
            passing = Passing(app.worker, app.signer, app.recorder, app.impressions, self._door, app.near)
            self.recorder, self.impressions = passing, PassingRows(passing, app.impressions)
            self._judge = passing.judge

    async def open(self) -> None:
        """Once there is something to serve, on the running loop."""
        if self._door is not None:
            await self._door.open(self._judge)

    async def shut(self) -> None:
        """All that was taken is in the journal, and answered."""
        if self._door is not None:
            await self._door.shut()

    def close(self) -> None:
        if self._door is not None:
            self._door.close()
