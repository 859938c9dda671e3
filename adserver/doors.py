"""What records events and settles conversions: of a server that is alone its own recorder and attribution, of
a worker among several whatever brings them to who decided their ads."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from adserver.api.ports import Impressions, Recorder
from adserver.domain.errands import Errand, Event
from adserver.errands.door import Door
from adserver.salts import Salts
from adserver.services.converting import Settling
from adserver.services.conveying import Conveying
from adserver.services.passing import Passing, PassingRows, Taken

if TYPE_CHECKING:
    from adserver.app import App


class Doors:
    """Of an app that is composed as far as its own recording."""

    def __init__(self, app: "App") -> None:
        self.recorder: Recorder = app.recorder
        self.impressions: Impressions = app.impressions
        self.settling: Settling = app.attribution
        self._door: Door | None = None
        if app.worker.of > 1:
            self._door = Door(app.settings.data, app.worker.number, app.log.failure)
            passing = Passing(app.worker, app.signer, app.recorder, app.impressions, self._door, app.near)
            self.recorder, self.impressions = passing, PassingRows(passing, app.impressions)
            self.settling = conveying = Conveying(app.worker, app.attribution, self._door, Salts())
            self._passing, self._conveying = passing, conveying

    async def open(self) -> None:
        """Once there is something to serve, on the running loop."""
        if self._door is not None:
            await self._door.open(self._judge)

    def _judge(self, errands: Sequence[Errand]) -> list[Taken]:
        judged = list[Taken]()
        for events, run in groupby(errands, lambda errand: isinstance(errand, Event)):
            if events:
                judged += self._passing.judge([one for one in run if isinstance(one, Event)])
            else:
                judged += self._conveying.judge(list(run))
        return judged

    async def shut(self) -> None:
        """All that was taken is in the journal, and answered."""
        if self._door is not None:
            await self._door.shut()

    def close(self) -> None:
        if self._door is not None:
            self._door.close()
