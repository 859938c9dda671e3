"""Conversions: an advertiser tells what happened, and to which ad it is owed (``domain.attribution``).

Each is told once by its advertiser's own id, for good: a keyed hash of both stands in the journal, among the
seen events until it is posted, and is the ledger's primary key from then on. Whose it is: the click that the
landing page was given (``{click_id}``), else the person, by a user id of a publisher's or by a hashed e-mail
where that is what a publisher calls its users. Only the advertiser's own ads are looked at.

Here what was told is read, and its people become pseudonyms; ``attributing`` judges it.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from adserver.clock import Clock
from adserver.domain import limits
from adserver.domain.conversions import Asked, Fate, Outcome
from adserver.services.attributing import AT_ONCE
from adserver.services.pseudonyms import Pseudonyms
from adserver.services.refusals import Refused
from adserver.services.world import World

__all__ = ["Conversions", "Fate", "Outcome", "Told"]


class Told(Struct, frozen=True):
    """One conversion as it was told. ``wrong``: what makes it invalid; ``happened_ms`` None: now."""

    id: str
    wrong: str = ""
    happened_ms: int | None = None
    called: str = ""
    click: bytes | None = None
    user: str = ""
    user_space: str = ""
    email: str = ""
    value_micros: int = 0
    currency: str = ""


class Settling(Protocol):
    async def settle(self, advertiser: int, asked: Sequence[Asked]) -> list[Outcome]:
        """Each once all are durable. Raises Refused (503), Unread; then told again, those that were kept are
        duplicates."""
        ...


class Conversions:
    """The use case."""

    def __init__(self, world: World, names: Pseudonyms, settling: Settling, clock: Clock) -> None:
        self._world = world
        self._names = names
        self._settling = settling
        self._clock = clock

    async def tell(self, advertiser: str, conversions: Sequence[Told]) -> list[Outcome]:
        """Told once all of them are durable. Raises Refused: 404 for an advertiser nobody knows; 503 where
        there is no room, and those that were kept are duplicates when they are told again."""
        owner = self._world.snapshot.advertisers.get(advertiser)
        if owner is None:
            raise Refused(404, "no such advertiser here, or not yet")
        publishers = self._world.snapshot.publishers.values()
        spaces = list(dict.fromkeys(one.user_space or one.id for one in publishers))
        read = list[Asked | Outcome]()
        for number, told in enumerate(conversions, 1):
            read.append(self._read(owner.serial, told, spaces))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        asked = [one for one in read if isinstance(one, Asked)]
        settled = iter(await self._settling.settle(owner.serial, asked) if asked else ())
        return [one if isinstance(one, Outcome) else next(settled) for one in read]

    def _read(self, advertiser: int, told: Told, spaces: list[str]) -> Asked | Outcome:
        """What can be judged, or what is wrong with it."""
        now_ms = self._clock()
        happened_ms = now_ms if told.happened_ms is None else told.happened_ms
        spaces = _sought(told, spaces)
        if told.wrong:
            return Outcome(told.id, Fate.INVALID, told.wrong)
        if happened_ms > now_ms + limits.GRACE_MS:
            return Outcome(told.id, Fate.INVALID, "at: is in the future")
        if (told.user or told.email) and not spaces:
            return Outcome(told.id, Fate.INVALID, "user_space: required, one of those of the publishers")
        key = self._names.conversion(advertiser, told.id)
        people = tuple([self._names.person(space, told.user or told.email) for space in spaces])
        return Asked(
            told.id, key, happened_ms, told.called, told.click, people, told.value_micros, told.currency
        )


def _sought(told: Told, spaces: list[str]) -> list[str]:
    """Where the person may be known: an e-mail's hash means the same everywhere, a user id does not."""
    if not (told.user or told.email):
        return []
    if told.user_space:
        return [told.user_space] if told.user_space in spaces else []
    if told.user and len(spaces) > 1:
        return []
    return spaces[: limits.USER_SPACES]
