"""What records events, takes them back and settles conversions: of a server that is alone its own use cases,
of a worker among several whatever brings them to who decided their ads."""

import socket
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from adserver.api.ports import Impressions, Recorder
from adserver.catalog import secrets
from adserver.domain.errands import Conversion, Errand, Event, Repeated, Reversing
from adserver.errands.door import Door, Outside
from adserver.errands.shake import Stranger, key_of
from adserver.salts import Salts
from adserver.services.converting import Settling
from adserver.services.conveying import Conveying
from adserver.services.invalidating import Invalidation, TakingBack
from adserver.services.passing import Passing, PassingRows, Taken
from adserver.services.reversing import Reversals
from adserver.sharing import vouch

if TYPE_CHECKING:
    from adserver.app import App


class Doors:
    """Of an app that is composed as far as its own recording."""

    def __init__(self, app: "App", invalidation: Invalidation) -> None:
        self.recorder: Recorder = app.recorder
        self.impressions: Impressions = app.impressions
        self.settling: Settling = app.attribution
        self.invalidation: TakingBack = invalidation
        self._door: Door | None = None
        if app.worker.shares:
            self._door = Door(app.settings.data, app.worker.number, partial(_failed, app), _outside(app))
            passing = Passing(app.worker, app.signer, app.recorder, app.impressions, self._door, app.near)
            self.recorder, self.impressions = passing, PassingRows(passing, app.impressions)
            self.settling = conveying = Conveying(app.worker, app.attribution, self._door, Salts())
            self.invalidation = reversals = Reversals(app.worker, invalidation, app.ledger, self._door)
            self._passing, self._conveying, self._reversals = passing, conveying, reversals
        self._vouching = vouch(app, self._door)

    async def open(self) -> None:
        """Once there is something to serve, on the running loop."""
        if self._door is not None:
            await self._door.open(self._judge)

    def _judge(self, errands: Sequence[Errand]) -> list[Taken]:
        """In order, of each kind a run."""
        judged = list[Taken]()
        for _, run in groupby(errands, _kind_of):
            some = list(run)
            judged += self._passing.judge([one for one in some if isinstance(one, Event)])
            judged += self._conveying.judge([one for one in some if isinstance(one, Conversion)])
            judged += self._reversals.judge([one for one in some if isinstance(one, Reversing)])
            judged += self._vouching.judge([one for one in some if isinstance(one, Repeated)])
        return judged

    async def shut(self) -> None:
        """All that was taken is in the journal, and answered."""
        if self._door is not None:
            await self._door.shut()

    def close(self) -> None:
        if self._door is not None:
            self._door.close()


def _kind_of(errand: Errand) -> int:
    if isinstance(errand, Repeated):
        return 3
    return 0 if isinstance(errand, Event) else 1 if isinstance(errand, Conversion) else 2


def _failed(app: "App", what: str, error: Exception) -> None:
    """Strangers come as often as they like: that is no fault of ours."""
    if isinstance(error, Stranger):
        app.log.warning("a machine could not be made sure of", reason=str(error))
    else:
        app.log.failure(what, error)


def _outside(app: "App") -> Outside | None:
    fleet, given = app.worker.fleet, app.given
    if fleet is None or given is None or given.door is None:
        return None
    key = key_of(secrets.load(app.settings.data).pseudonym)
    return Outside(fleet.door, key, socket.socket(fileno=given.door))
