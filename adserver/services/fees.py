"""Flat fees as they become due: hot state, made again from the journal like all of it.

A day of a flat line item begins with its first ad of that day, which holds the day's fee in every budget, as
an impression holds its price; from then on the day holds it, and further ads hold nothing. So what will be
owed always fits. When the day is over and none of its ads can be shown any more, the fee is accrued, by the
impressions of that day that count; without any it is nobody's, and the hold ends by itself. The price is the
one in force at the first ad; a price for a whole flight is never exceeded, however the flight is edited.

What is held changes with decisions and events alone and ends by the time a decision is given (law 5); an
accrual puts a bill in the place of a hold. Cost: a look a decision, and an entry for each line item and day.
"""

from collections.abc import Callable, Iterator
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from adserver.domain import limits, money
from adserver.domain.campaign import FLAT
from adserver.domain.counted import FLAT as FLAT_NUMBER
from adserver.domain.decision import Ad, Decision, EventKind, event_id
from adserver.domain.fees import Accrued, fee_id, of_day, split
from adserver.domain.records import LineItemTerms, Recorded, Reversed, Unbilled
from adserver.engine import localtime

_IMPRESSION: Final = int(EventKind.IMPRESSION)
_IS_FLAT: Final = int(Unbilled.FLAT)

Key = tuple[int, int]
"""(line item, local day)."""


class Holds(Protocol):
    """Budgets, where fees are held."""

    def terms(self, line_item: int) -> LineItemTerms | None: ...
    def restore(
        self, event_id: bytes, line_item: int, amount_nanos: int, now_ms: int, expires_ms: int,
        firm: bool = True,
    ) -> None: ...  # fmt: skip
    def lower(self, event_id: bytes, amount_nanos: int) -> None: ...
    def void(self, event_id: bytes) -> bool: ...
    def rendered(self, event_id: bytes) -> None: ...
    def affords(self, event_id: bytes, line_item: int, price_nanos: int, decided_ms: int) -> bool: ...


class Day(Struct, array_like=True):
    """A day of a line item. ``price_nanos``: of the whole flight, if that is what has a price; ``over_ms``:
    when it is over and its last ad can no longer be shown; ``shown``: placement -> impressions that count."""

    nanos: int
    price_nanos: int | None
    start_ms: int
    over_ms: int
    shown: dict[int, int]


class Fees:
    """``budgets``: where they are held; ``told``: the terms that the journal last told of a line item;
    ``keeps``: whether this process sells one at all. Of several one does, since a day has one fee."""

    def __init__(self, budgets: Holds, told: Callable[[int], LineItemTerms | None]) -> None:
        self._budgets = budgets
        self._told = told
        self.keeps: Callable[[int], bool] = lambda line_item: True
        self._days: dict[Key, Day] = {}
        self._accrued: dict[int, int] = {}
        self._done: dict[int, list[int]] = {}

    # -- deciding ----------------------------------------------------------------------------------

    def wanted(self, line_item: int, now_ms: int) -> int:
        """What an ad decided now would hold: the day's fee, where none of the day does yet."""
        terms = self._budgets.terms(line_item)
        if terms is None or terms.model != FLAT:
            return 0
        day = localtime.day(terms.timezone, now_ms)
        if (line_item, day) in self._days or self._is_done(line_item, day):
            return 0
        return of_day(money.nanos(terms.amount_micros), terms.days, day - terms.first_day)

    def decided(self, decision: Decision) -> None:
        """A live decision, just journalled or read again, whose ads hold what they claimed: from now on the
        day holds it."""
        for slot in decision.slots:
            for ad in slot.ads if slot.repeated is None else ():
                if ad.model == FLAT_NUMBER:
                    self._promised(ad, event_id(decision.request_id, ad.index), slot.expires_ms)

    def _promised(self, ad: Ad, ident: bytes, expires_ms: int) -> None:
        terms = self._told(ad.line_item)
        if terms is None:
            return
        decided_ms = int.from_bytes(ident[:6], "big")
        day, start_ms, end_ms = localtime.day_span(terms.timezone, decided_ms)
        key = ad.line_item, day
        self._budgets.lower(ident, 0)
        if self._is_done(*key):
            return
        known = self._days.get(key)
        if known is None:
            price = money.nanos(terms.amount_micros) if terms.days else None
            self._days[key] = Day(ad.hold_nanos, price, start_ms, max(end_ms - 1, expires_ms), {})
        elif expires_ms > known.over_ms:
            known.over_ms = expires_ms
        else:
            return
        self._hold(key)

    def _is_done(self, line_item: int, day: int) -> bool:
        """Whether the day is accrued: a clock set back over a restart comes to it again, and it costs nothing
        more."""
        return day in self._done.get(line_item, ())

    def _hold(self, key: Key) -> None:
        """For as long as it may be shown, and once it is owed until it is accrued."""
        day, line_item = self._days[key], key[0]
        ident = fee_id(day.start_ms, line_item)
        until_ms = day.over_ms + (limits.FEE_HELD_MS if day.shown else 0)
        self._budgets.void(ident)
        self._budgets.restore(ident, line_item, day.nanos, day.start_ms, until_ms)
        self._budgets.rendered(ident)

    # -- events ------------------------------------------------------------------------------------

    def recorded(self, event: Recorded) -> None:
        """An accepted event, just journalled or read again."""
        if event.unbilled != _IS_FLAT or event.kind != _IMPRESSION:
            return
        key = event.line_item, event.day
        day = self._days.get(key)
        if day is not None:
            owed = bool(day.shown)
            day.shown[event.placement] = day.shown.get(event.placement, 0) + 1
            if not owed:
                self._hold(key)

    def taken_back(self, found: Reversed) -> None:
        """An impression found invalid before its day was accrued does not count."""
        key = found.line_item, found.day
        day = self._days.get(key)
        if day is None or found.kind != _IMPRESSION or not found.flat:
            return
        day.shown[found.placement] -= 1
        if not day.shown[found.placement]:
            del day.shown[found.placement]
            if not day.shown:
                self._hold(key)

    # -- accruing ----------------------------------------------------------------------------------

    def due(self, now_ms: int) -> Iterator[Accrued]:
        """The fees of days that are over, the earliest first. Each is to be journalled, and then
        ``accrued``, before the next is asked for."""
        over = [key for key, day in self._days.items() if day.shown and day.over_ms < now_ms]
        for key in sorted(over, key=lambda key: (self._days[key].start_ms, key)):
            yield self._fee(key, now_ms)

    def _fee(self, key: Key, now_ms: int) -> Accrued:
        (line_item, number), day = key, self._days[key]
        nanos = day.nanos
        if day.price_nanos is not None:
            nanos = max(min(nanos, day.price_nanos - self._accrued.get(line_item, 0)), 0)
        fits = self._budgets.affords(fee_id(day.start_ms, line_item), line_item, nanos, day.start_ms)
        reason = Unbilled.NONE if fits else Unbilled.OVER_BUDGET
        return Accrued(line_item, number, day.start_ms, now_ms, reason, split(nanos, day.shown))

    def accrued(self, fee: Accrued) -> None:
        """The journal has it: the day is done with."""
        self._days.pop((fee.line_item, fee.day), None)
        self._budgets.void(fee_id(fee.start_ms, fee.line_item))
        self._accrued[fee.line_item] = self._accrued.get(fee.line_item, 0) + fee.billed_nanos
        done = self._done.setdefault(fee.line_item, [])
        done.append(fee.day)
        del done[: -limits.FEES_DONE_KEPT]

    def sweep(self, now_ms: int) -> None:
        """Forget the days on which nothing was shown, whose holds have ended by themselves."""
        over = [
            key for key, day in self._days.items()
            if not day.shown and day.over_ms + limits.GRACE_MS < now_ms
        ]  # fmt: skip
        for key in over:
            del self._days[key]

    # -- checkpoints -------------------------------------------------------------------------------

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(_Dumped(list(self._days.items()), self._accrued, self._done))

    def load(self, dumped: bytes) -> None:
        """Of an earlier version there is nothing."""
        if dumped:
            found = msgspec.msgpack.decode(dumped, type=_Dumped)
            self._days, self._accrued, self._done = dict(found.days), found.accrued, found.done


class _Dumped(Struct, array_like=True):
    """As checkpoints keep it; an earlier version did not know what is ``done``."""

    days: list[tuple[Key, Day]]
    accrued: dict[int, int]
    done: dict[int, list[int]] = {}
