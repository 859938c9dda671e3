"""Events found invalid, taken back by whoever decided their ads, whichever of several workers was told.

There it is known what conversions are owed to an ad, so none is owed to what was taken back; and two who find
the same event invalid at once find it one after the other. A conversion's own event goes with its ad, which
the ledger tells: nobody minted its id.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol

import msgspec

from adserver.domain import ids, limits
from adserver.domain.errands import Reversing
from adserver.domain.workers import Worker
from adserver.services.answering import Answering
from adserver.services.conveying import all_of
from adserver.services.invalidating import Invalidated, Invalidation, ids_of
from adserver.services.passing import Others, Taken, said

_INVALIDATED: Final = msgspec.msgpack.Decoder(list[Invalidated])


class Books(Protocol):
    """What is posted. Blocking: called from a thread."""

    def ads_of(self, event_ids: Sequence[bytes]) -> dict[bytes, bytes]: ...


class Reversals:
    """Of one ``worker`` among several. ``own``: what takes back here."""

    def __init__(self, worker: Worker, own: Invalidation, books: Books, others: Others) -> None:
        self._books = books
        self._worker = worker
        self._own = own
        self._others = others
        self._answering = Answering()

    async def reverse(self, event_ids: Sequence[str], reason: str) -> list[Invalidated]:
        """As ``Invalidation.reverse``. Raises Refused (503), too, where whoever decided some of their ads is
        away: what others took back is found done by a second call."""
        wanted = list(dict.fromkeys(ids_of(event_ids)))
        ads = await asyncio.to_thread(self._books.ads_of, wanted)
        homes = dict[int | None, list[str]]()
        for event_id in wanted:
            home = self._worker.home(ads.get(event_id, event_id))
            if home is None:
                # An id that no worker minted; who does what one alone may do finds that there is none.
                home = self._worker.chosen(0)
            homes.setdefault(home, []).append(ids.encode(event_id))
        parts = await all_of(self._reversed(home, some, reason) for home, some in homes.items())
        found = {one.event_id: one for part in parts for one in part}
        asked = [found.pop(ids.encode(event_id)) for event_id in wanted]
        return [*asked, *found.values()]

    async def _reversed(self, home: int | None, event_ids: list[str], reason: str) -> list[Invalidated]:
        if home == self._worker.number:
            return await self._own.reverse(event_ids, reason)
        return _INVALIDATED.decode(await said(self._others, home, Reversing(event_ids, reason)))

    def judge(self, errands: Sequence[Reversing]) -> list[Taken]:
        """What others bring."""
        return [
            self._answering.begin(
                partial(self._own.reverse, errand.event_ids, errand.reason), limits.PASSED_TOGETHER
            )
            for errand in errands
        ]
