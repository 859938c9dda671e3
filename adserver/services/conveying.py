"""Conversions among several workers: each is settled by the one worker that its key names, whoever was told.

That one asks all others what they know of it: whether they kept it before, and what touches of its people, or
the click it names, they have. Whoever has the last touch keeps it in its journal, bills it and answers; what
is owed to nobody, the one who asked. So of any number that are told of one conversion at once the first is
kept, and an ad is billed once, by the one that knows what it was billed.

Whoever settles may die, and its successor be asked again, while the other has not yet read that it is to keep
one. Therefore it keeps only what was last asked about by the same: a *ticket* for each question, which a
later question makes worthless. So the later one either hears that it was kept, or it never will be.

Where somebody does not answer, nobody knows: that is refused (503), and told again. Cost: two ways there and
back, and a question to the books, for some twenty conversions at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from adserver.domain import limits
from adserver.domain.books import JournalClosed
from adserver.domain.conversions import Asked, Fate, Found, Outcome
from adserver.domain.errands import Conversion, Conveyed, Owed, Sought
from adserver.domain.verdicts import Passed
from adserver.domain.workers import Worker
from adserver.services.answering import Answering
from adserver.services.attributing import AT_ONCE, Attribution
from adserver.services.passing import Others, Taken, said
from adserver.services.refusals import Refused

_AGAIN_WITHIN_S: Final = 1.0
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_OUTCOMES: Final = msgspec.msgpack.Decoder(list[Outcome])
_FOUND: Final = msgspec.msgpack.Decoder(list[Found])


class Conveying:
    """Of one ``worker`` among several. ``own``: its own attribution; ``chance``: for tickets."""

    def __init__(self, worker: Worker, own: Attribution, others: Others, chance: Callable[[], bytes]) -> None:
        self._worker = worker
        self._own = own
        self._others = others
        self._chance = chance
        self._tickets = dict[bytes, bytes]()
        self._settling = dict[bytes, asyncio.Event]()
        self._answering = Answering()

    # -- what clients tell -------------------------------------------------------------------------

    async def settle(self, advertiser: int, asked: Sequence[Asked]) -> list[Outcome]:
        """As ``Attribution.settle``, whoever keeps them."""
        homes = dict[int | None, list[int]]()
        for place, one in enumerate(asked):
            homes.setdefault(self._worker.chosen(int.from_bytes(one.key[:4], "big")), []).append(place)
        parts = [(home, some) for home, places in homes.items() for some in _portions(asked, places)]
        settled = await all_of(
            self._settled(home, advertiser, [asked[n] for n in some]) for home, some in parts
        )
        found = {
            n: one
            for (_, some), part in zip(parts, settled, strict=True)
            for n, one in zip(some, part, strict=True)
        }
        return [found[place] for place in range(len(asked))]

    async def _settled(self, home: int | None, advertiser: int, asked: list[Asked]) -> list[Outcome]:
        if home == self._worker.number:
            return await self._settle(advertiser, asked)
        return _OUTCOMES.decode(await said(self._others, home, Conveyed(advertiser, asked)))

    # -- those whose keys name us ------------------------------------------------------------------

    async def _settle(self, advertiser: int, asked: list[Asked]) -> list[Outcome]:
        """One after the other of those with the same key. Whoever ends in good order leaves its successor to
        be asked once more. Raises Refused, Unread."""
        keys = {one.key for one in asked}
        while busy := next((self._settling[key] for key in keys if key in self._settling), None):
            await busy.wait()
        over = asyncio.Event()
        self._settling |= dict.fromkeys(keys, over)
        try:
            began, time = asyncio.get_running_loop().time(), asyncio.get_running_loop().time
            try:
                return await self._decide(advertiser, asked)
            except Refused:
                if time() - began > _AGAIN_WITHIN_S:
                    raise
                return await self._decide(advertiser, asked)
        finally:
            for key in keys:
                del self._settling[key]
            over.set()

    async def _decide(self, advertiser: int, asked: list[Asked]) -> list[Outcome]:
        sought = Sought(self._chance(), advertiser, asked)
        everybody = sorted(self._worker.adding)
        found = list(zip(*await all_of(self._found(number, sought) for number in everybody), strict=True))
        # What leaves somebody's memory while the books are asked was found in it, or is posted.
        known = await self._own.posted([one.key for one in asked])
        outcomes, keepers = dict[int, Outcome](), dict[int, list[int]]()
        for place, one in enumerate(asked):
            if one.key in known or any(each.seen for each in found[place]):
                outcomes[place] = Outcome(one.id, Fate.DUPLICATE)
            else:
                keepers.setdefault(self._keeper(one, everybody, found[place]), []).append(place)
            known.add(one.key)
        kept = await all_of(
            self._kept(number, Owed(sought.ticket, advertiser, [asked[n] for n in places]))
            for number, places in keepers.items()
        )
        for places, some in zip(keepers.values(), kept, strict=True):
            outcomes |= zip(places, some, strict=True)
        return [outcomes[place] for place in range(len(asked))]

    async def _found(self, number: int, sought: Sought) -> list[Found]:
        if number == self._worker.number:
            return self._look(sought)
        return _FOUND.decode(await said(self._others, number, sought))

    async def _kept(self, number: int, owed: Owed) -> list[Outcome]:
        if number == self._worker.number:
            return await self._keep(owed)
        return _OUTCOMES.decode(await said(self._others, number, owed))

    def _keeper(self, asked: Asked, everybody: Sequence[int], found: Sequence[Found]) -> int:
        """The number of whoever has the last touch: the click that is named, where it counts, else the
        people's last."""
        for number, each in zip(everybody, found, strict=True):
            if each.click is not None:
                at_ms, until_ms = each.click
                if at_ms <= asked.happened_ms + limits.GRACE_MS and asked.happened_ms < until_ms:
                    return number
        ranks = [
            (each.last, number)
            for number, each in zip(everybody, found, strict=True)
            if each.last is not None
        ]
        return max(ranks)[1] if ranks else self._worker.number

    # -- what others bring -------------------------------------------------------------------------

    def judge(self, errands: Sequence[Conversion]) -> list[Taken]:
        """In order: what was asked before is looked at before."""
        return [self._judged(errand) for errand in errands]

    def _judged(self, errand: Conversion) -> Taken:
        if isinstance(errand, Sought):
            return Passed(said=_ENCODE(self._look(errand))), None
        return self._answering.begin(lambda: self._outcomes(errand), limits.PASSED_WAITING)

    async def _outcomes(self, errand: Conveyed | Owed) -> list[Outcome]:
        """Raises Refused, Unread."""
        if isinstance(errand, Owed):
            return await self._keep(errand)
        return await self._settle(errand.advertiser, errand.asked)

    def _look(self, sought: Sought) -> list[Found]:
        for one in sought.asked:
            self._tickets.pop(one.key, None)
            self._tickets[one.key] = sought.ticket
        while len(self._tickets) > limits.PASSED_WAITING:
            del self._tickets[next(iter(self._tickets))]
        return [self._own.find(sought.advertiser, one) for one in sought.asked]

    async def _keep(self, owed: Owed) -> list[Outcome]:
        """Raises Refused."""
        try:
            return await self._own.keep(
                owed.advertiser, owed.asked, lambda one: self._tickets.get(one.key) == owed.ticket
            )
        except JournalClosed:
            raise Refused(503, "conversions cannot be kept: no room on disk") from None


def _portions(asked: Sequence[Asked], places: Iterable[int]) -> Iterator[list[int]]:
    """What may be judged at once."""
    some, looked = list[int](), 0
    for place in places:
        some.append(place)
        looked += 1 + len(asked[place].people)
        if looked >= AT_ONCE:
            yield some
            some, looked = [], 0
    if some:
        yield some


async def all_of(what: Iterable[Awaitable[Any]]) -> list[Any]:
    """The first that failed, once all have ended: nothing goes on behind an answer."""
    ended = await asyncio.gather(*what, return_exceptions=True)
    for one in ended:
        if isinstance(one, BaseException):
            raise one
    return ended
