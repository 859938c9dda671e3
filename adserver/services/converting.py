"""Conversions: an advertiser tells what happened, and to which ad it is owed (``domain.attribution``).

Each is told once by its advertiser's own id, for good: a keyed hash of both stands in the journal, among the
seen events until it is posted, and is the ledger's primary key from then on. Whose it is: the click that the
landing page was given (``{click_id}``), else the person, by a user id of a publisher's or by a hashed e-mail
where that is what a publisher calls its users. Only the advertiser's own ads are looked at.

A line item sold per conversion is billed its price for the first conversion of an ad, from what its budgets
have free on the day of the ad's decision; like any other event, once per event id.
"""

import asyncio
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from adserver.clock import Clock
from adserver.domain import ids, limits
from adserver.domain.attribution import Touch, last_touch
from adserver.domain.books import JournalClosed, LineItemTotals
from adserver.domain.conversions import Converted
from adserver.domain.decision import EventKind
from adserver.domain.records import LineItemTerms, Unbilled
from adserver.services.ports import Journal
from adserver.services.pseudonyms import Pseudonyms
from adserver.services.refusals import Refused
from adserver.services.world import World

_KIND: Final = bytes((EventKind.CONVERSION,))
_SEEN_MS: Final = 600_000
_AT_ONCE: Final = 20
"""Conversions judged, and people looked for, before others have their turn: each of both looks into as many
buckets as there are hours and days in the windows, a thousand at most. One e-mail may be as many people as
there are user spaces."""


class Fate(StrEnum):
    ATTRIBUTED = "attributed"
    UNATTRIBUTED = "unattributed"
    DUPLICATE = "duplicate"
    LATE = "late"
    INVALID = "invalid"


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


class Outcome(Struct, frozen=True):
    """``event_id``: of the event that it is where it is owed to an ad, by which it can be taken back.
    ``touch``: ``click`` or ``view``."""

    id: str
    fate: Fate
    message: str = ""
    campaign: str = ""
    touch: str = ""
    event_id: str = ""
    billed: bool = False


class Touches(Protocol):
    def click(self, event_id: bytes) -> list[Touch]: ...
    def of(self, subject: bytes) -> list[Touch]: ...
    def is_billed(self, event_id: bytes) -> bool: ...
    def converted(self, conversion: Converted) -> None: ...


class Books(Protocol):
    """What is posted. Blocking: called from a thread."""

    def conversions(self, keys: Sequence[bytes]) -> set[bytes]: ...


class Spending(Protocol):
    def affords(self, event_id: bytes, line_item: int, price_nanos: int, decided_ms: int) -> bool: ...
    def post(self, event_id: bytes, line_item: int, price_nanos: int, at_ms: int, /) -> object: ...
    def totals(self, line_item: int) -> tuple[LineItemTotals, int] | None: ...
    def terms(self, line_item: int) -> LineItemTerms | None: ...


class Seen(Protocol):
    def __contains__(self, key: bytes) -> bool: ...
    def add(self, key: bytes, until_ms: int) -> None: ...


class Conversions:
    """The use case. ``seen``: events of any kind that may not be posted yet."""

    def __init__(
        self, world: World, names: Pseudonyms, touches: Touches, budgets: Spending, journal: Journal,
        books: Books, seen: Seen, clock: Clock,
    ) -> None:  # fmt: skip
        self._world = world
        self._names = names
        self._touches = touches
        self._budgets = budgets
        self._journal = journal
        self._books = books
        self._seen = seen
        self._clock = clock

    async def tell(self, advertiser: str, conversions: Sequence[Told]) -> list[Outcome]:
        """Told once all of them are durable. Raises Refused: 404 for an advertiser nobody knows; 503 where
        there is no room, and those that were kept are duplicates when they are told again."""
        owner = self._world.snapshot.advertisers.get(advertiser)
        if owner is None:
            raise Refused(404, "no such advertiser here, or not yet")
        keys = [self._names.conversion(owner.serial, told.id) for told in conversions]
        # What leaves ``seen`` while the ledger is asked was in it before, or is posted; what comes is in it.
        known = {key for key in keys if key + _KIND in self._seen}
        known |= await asyncio.to_thread(self._books.conversions, keys)
        publishers = self._world.snapshot.publishers.values()
        spaces = list(dict.fromkeys(one.user_space or one.id for one in publishers))
        outcomes, looked = list[Outcome](), 0
        for key, told in zip(keys, conversions, strict=True):
            people = _sought(told, spaces)
            outcomes.append(self._judge(owner.serial, key, told, people, key in known))
            looked += 1 + len(people)
            if looked >= _AT_ONCE:
                looked = 0
                await asyncio.sleep(0)
        await asyncio.shield(self._journal.synced())
        return outcomes

    def _judge(self, advertiser: int, key: bytes, told: Told, spaces: list[str], known: bool) -> Outcome:
        now_ms = self._clock()
        happened_ms = now_ms if told.happened_ms is None else told.happened_ms
        if told.wrong:
            return Outcome(told.id, Fate.INVALID, told.wrong)
        if happened_ms > now_ms + limits.GRACE_MS:
            return Outcome(told.id, Fate.INVALID, "at: is in the future")
        if (told.user or told.email) and not spaces:
            return Outcome(told.id, Fate.INVALID, "user_space: required, one of those of the publishers")
        if known or key + _KIND in self._seen:
            return Outcome(told.id, Fate.DUPLICATE)
        if happened_ms < now_ms - limits.CONVERSION_LATE_MS:
            return Outcome(told.id, Fate.LATE)
        happened_ms = self._behind_its_click(advertiser, told.click, happened_ms)
        touch = self._touch(advertiser, told, spaces, happened_ms)
        return self._keep(told, Converted(
            key, advertiser, now_ms, happened_ms, told.called, told.value_micros, told.currency
        ), touch)  # fmt: skip

    # -- whose it is -------------------------------------------------------------------------------

    def _behind_its_click(self, advertiser: int, click: bytes | None, happened_ms: int) -> int:
        """Who names a click came from it. An advertiser's clock may be behind ours, or tell whole seconds:
        what happened before its click by no more than clocks differ, happened with it."""
        if click is None:
            return happened_ms
        clicks = (touch.at_ms for touch in self._own(advertiser, self._touches.click(click)))
        skewed = (at_ms for at_ms in clicks if happened_ms < at_ms <= happened_ms + limits.GRACE_MS)
        return max(skewed, default=happened_ms)

    def _touch(self, advertiser: int, told: Told, spaces: list[str], happened_ms: int) -> Touch | None:
        """That of the click that is named, where it counts; else the person's last."""
        if told.click is not None:
            touch = last_touch(self._own(advertiser, self._touches.click(told.click)), happened_ms)
            if touch is not None:
                return touch
        people = (self._names.person(space, told.user or told.email) for space in spaces)
        touches = (touch for person in people for touch in self._touches.of(person))
        return last_touch(self._own(advertiser, touches), happened_ms)

    def _own(self, advertiser: int, touches: "Iterator[Touch] | list[Touch]") -> Iterator[Touch]:
        for touch in touches:
            terms = self._budgets.terms(touch.line_item)
            if terms is not None and terms.advertiser == advertiser:
                yield touch

    # -- what follows ------------------------------------------------------------------------------

    def _keep(self, told: Told, conversion: Converted, touch: Touch | None) -> Outcome:
        if touch is None:
            self._append(conversion)
            return Outcome(told.id, Fate.UNATTRIBUTED)
        billed, unbilled, free = self._price(touch)
        conversion = msgspec.structs.replace(
            conversion, touch=touch.event_id, touched=touch.kind, line_item=touch.line_item,
            creative=touch.creative, placement=touch.placement, day=touch.day, billed_nanos=billed,
            unbilled=unbilled, free_nanos=free, country=touch.country, device=touch.device,
        )  # fmt: skip
        self._append(conversion)
        self._move(touch, billed, unbilled, free)
        terms = self._budgets.terms(touch.line_item)
        campaign = terms.full_id.split("/")[1] if terms is not None else ""
        by = "click" if touch.kind == EventKind.CLICK else "view"
        event_id = conversion.event_id or b""
        return Outcome(told.id, Fate.ATTRIBUTED, "", campaign, by, ids.encode(event_id), billed > 0)

    def _price(self, touch: Touch) -> tuple[int, Unbilled, int]:
        """(billed nanos, why nothing, free nanos)."""
        price = touch.conversion_nanos
        if not price:
            return 0, Unbilled.NOT_BILLABLE, 0
        if self._touches.is_billed(touch.event_id):
            return 0, Unbilled.REPEATED, 0
        decided_ms = ids.minted_ms(touch.event_id)
        if self._budgets.affords(touch.event_id, touch.line_item, price, decided_ms):
            return price, Unbilled.NONE, 0
        return 0, Unbilled.OVER_BUDGET, price

    def _append(self, conversion: Converted) -> None:
        try:
            self._journal.append(conversion)
        except JournalClosed:
            raise Refused(503, "conversions cannot be kept: no room on disk") from None
        self._seen.add(conversion.key + _KIND, conversion.at_ms + _SEEN_MS)
        self._touches.converted(conversion)

    def _move(self, touch: Touch, billed: int, unbilled: Unbilled, free: int) -> None:
        if unbilled is not Unbilled.NOT_BILLABLE:
            decided_ms = ids.minted_ms(touch.event_id)
            self._budgets.post(touch.event_id, touch.line_item, billed, decided_ms)
        known = self._budgets.totals(touch.line_item)
        if known is not None:
            known[0].conversions += 1
            known[0].free_nanos += free


def _sought(told: Told, spaces: list[str]) -> list[str]:
    """Where the person may be known: an e-mail's hash means the same everywhere, a user id does not."""
    if not (told.user or told.email):
        return []
    if told.user_space:
        return [told.user_space] if told.user_space in spaces else []
    if told.user and len(spaces) > 1:
        return []
    return spaces[: limits.USER_SPACES]
