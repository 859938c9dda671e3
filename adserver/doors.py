"""What records events, takes them back and settles conversions: of a server that is alone its own use cases,
of a worker among several whatever brings them to who decided their ads."""

import socket
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

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

Judge = Callable[[Sequence[Any]], list[Taken]]
"""Of errands of one kind: the verdicts, in order, and what each is not to be told before."""


class Doors:
    """Of an app that is composed as far as its own recording."""

    def __init__(self, app: "App", invalidation: Invalidation) -> None:
        self.recorder: Recorder = app.recorder
        self.impressions: Impressions = app.impressions
        self.settling: Settling = app.attribution
        self.invalidation: TakingBack = invalidation
        self._door: Door | None = None
        self._judges = list[tuple[Any, Judge]]()
        if app.worker.shares:
            self._door = Door(app.settings.data, app.worker.number, partial(_failed, app), _outside(app))
            passing = Passing(app.worker, app.signer, app.recorder, app.impressions, self._door, app.near)
            self.recorder, self.impressions = passing, PassingRows(passing, app.impressions)
            self.settling = conveying = Conveying(app.worker, app.attribution, self._door, Salts())
            self.invalidation = reversals = Reversals(app.worker, invalidation, app.ledger, self._door)
            self._judges += [
                (Event, passing.judge),
                (Conversion, conveying.judge),
                (Reversing, reversals.judge),
            ]
        self._judges.append((Repeated, vouch(app, self._door).judge))

    async def open(self) -> None:
        """Once there is something to serve, on the running loop."""
        if self._door is not None:
            await self._door.open(self._judge)

    def _judge(self, errands: Sequence[Errand]) -> list[Taken]:
        """In order, of each kind a run."""
        judged = list[Taken]()
        for judge, run in groupby(errands, self._judge_of):
            judged += judge(list(run))
        return judged

    def _judge_of(self, errand: Errand) -> Judge:
        return next(judge for kind, judge in self._judges if isinstance(errand, kind))

    async def shut(self) -> None:
        """All that was taken is in the journal, and answered."""
        if self._door is not None:
            await self._door.shut()

    def close(self) -> None:
        if self._door is not None:
            self._door.close()


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
