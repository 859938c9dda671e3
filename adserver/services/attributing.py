"""Whose a conversion is, and what follows: judged by one process, of the touches that it knows itself.

A line item sold per conversion is billed its price for the first conversion of an ad, from what its budgets
have free on the day of the ad's decision; like any other event, once per event id.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from adserver.clock import Clock
from adserver.domain import ids, limits
from adserver.domain.attribution import Touch, last_touch, rank
from adserver.domain.books import JournalClosed, LineItemTotals
from adserver.domain.conversions import Asked, Converted, Fate, Found, Outcome
from adserver.domain.decision import EventKind
from adserver.domain.records import LineItemTerms, Unbilled
from adserver.services.ports import Journal
from adserver.services.refusals import Refused

_KIND: Final = bytes((EventKind.CONVERSION,))
_SEEN_MS: Final = 600_000
_TRIES: Final = 5
_TRY_S: Final = 0.1
"""As often as leases have their turn."""
AT_ONCE: Final = 20
"""Conversions judged, and people looked for, before others have their turn: each of both looks into as many
buckets as there are hours and days in the windows, a thousand at most. One e-mail may be as many people as
there are user spaces."""


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


class Attribution:
    """``seen``: events of any kind that may not be posted yet."""

    def __init__(
        self, touches: Touches, budgets: Spending, journal: Journal, books: Books, seen: Seen, clock: Clock
    ) -> None:
        self._touches = touches
        self._budgets = budgets
        self._journal = journal
        self._books = books
        self._seen = seen
        self._clock = clock

    async def settle(self, advertiser: int, asked: Sequence[Asked]) -> list[Outcome]:
        """Of a server that is alone: told once all of them are durable. Raises Refused (503) where there is
        no room, Unread; those that were kept are duplicates when they are told again."""
        keys = [one.key for one in asked]
        # What leaves ``seen`` while the ledger is asked was in it before, or is posted; what comes is in it.
        known = {key for key in keys if key + _KIND in self._seen}
        known |= await self.posted(keys)
        outcomes, looked = list[Outcome](), 0
        for one in asked:
            outcomes.append(self.judge(advertiser, one, one.key in known))
            looked += 1 + len(one.people)
            if looked >= AT_ONCE:
                looked = 0
                await asyncio.sleep(0)
        await asyncio.shield(self._journal.synced())
        return outcomes

    async def posted(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of these that the books have. Raises Unread."""
        return await asyncio.to_thread(self._books.conversions, keys)

    async def keep(
        self, advertiser: int, asked: Sequence[Asked], may: Callable[[Asked], bool]
    ) -> list[Outcome]:
        """Of a server that shares its budgets: the same, of what was sought everywhere. It leases nothing of
        what it sold long ago until it says what it lacks, so it waits for that a little, in all. ``may``:
        whether one may still be kept. Raises Refused (503)."""
        outcomes, tries = list[Outcome](), _TRIES
        for one in asked:
            while tries and not self._has_room(advertiser, one):
                tries -= 1
                await asyncio.sleep(_TRY_S)
            if not may(one):
                raise Refused(503, "somebody else asked about this conversion since: tell it again")
            outcomes.append(self.judge(advertiser, one))
        await asyncio.shield(self._journal.synced())
        return outcomes

    def _has_room(self, advertiser: int, asked: Asked) -> bool:
        touch = self._touch(advertiser, asked, self._behind_its_click(advertiser, asked))
        return touch is None or self._price(touch)[1] is not Unbilled.OVER_BUDGET

    def judge(self, advertiser: int, asked: Asked, known: bool = False) -> Outcome:
        """And journal it. ``known``: it was told before. Raises Refused (503)."""
        now_ms = self._clock()
        if known or asked.key + _KIND in self._seen:
            return Outcome(asked.id, Fate.DUPLICATE)
        if asked.happened_ms < now_ms - limits.CONVERSION_LATE_MS:
            return Outcome(asked.id, Fate.LATE)
        happened_ms = self._behind_its_click(advertiser, asked)
        touch = self._touch(advertiser, asked, happened_ms)
        return self._keep(asked, Converted(
            asked.key, advertiser, now_ms, happened_ms, asked.called, asked.value_micros, asked.currency
        ), touch)  # fmt: skip

    def find(self, advertiser: int, asked: Asked) -> Found:
        """What this process knows of it; nothing moves."""
        click = None if asked.click is None else self._click(advertiser, asked.click)
        last = last_touch(self._of(advertiser, asked), asked.happened_ms)
        return Found(
            asked.key + _KIND in self._seen,
            None if click is None else (click.at_ms, click.until_ms),
            None if last is None else rank(last),
        )

    # -- whose it is -------------------------------------------------------------------------------

    def _behind_its_click(self, advertiser: int, asked: Asked) -> int:
        """Who names a click came from it. An advertiser's clock may be behind ours, or tell whole seconds:
        what happened before its click by no more than clocks differ, happened with it."""
        click = None if asked.click is None else self._click(advertiser, asked.click)
        if click is None or click.at_ms > asked.happened_ms + limits.GRACE_MS:
            return asked.happened_ms
        return max(asked.happened_ms, click.at_ms)

    def _touch(self, advertiser: int, asked: Asked, happened_ms: int) -> Touch | None:
        """That of the click that is named, where it counts; else the person's last."""
        if asked.click is not None:
            click = self._click(advertiser, asked.click)
            if click is not None and last_touch((click,), happened_ms) is not None:
                return click
        return last_touch(self._of(advertiser, asked), happened_ms)

    def _click(self, advertiser: int, event_id: bytes) -> Touch | None:
        return next(self._own(advertiser, self._touches.click(event_id)), None)

    def _of(self, advertiser: int, asked: Asked) -> Iterator[Touch]:
        touches = (touch for person in asked.people for touch in self._touches.of(person))
        return self._own(advertiser, touches)

    def _own(self, advertiser: int, touches: Iterable[Touch]) -> Iterator[Touch]:
        for touch in touches:
            terms = self._budgets.terms(touch.line_item)
            if terms is not None and terms.advertiser == advertiser:
                yield touch

    # -- what follows ------------------------------------------------------------------------------

    def _keep(self, asked: Asked, conversion: Converted, touch: Touch | None) -> Outcome:
        if touch is None:
            self._append(conversion)
            return Outcome(asked.id, Fate.UNATTRIBUTED)
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
        return Outcome(asked.id, Fate.ATTRIBUTED, "", campaign, by, ids.encode(event_id), billed > 0)

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
