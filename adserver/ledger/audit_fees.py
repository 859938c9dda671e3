"""Flat fees, audited: what each day of a line item costs, made again from what was promised and shown.

The first live ad of a line item's day that was sold flat says which terms the day is under; a price for the
whole flight is spread over its days, and never exceeded by all that was accrued. The day must be over, no ad
of it fit to be shown any more, and the fee shared by the impressions that count by then. A day that is over
for long enough (``audit_awake``) and was shown to somebody has its fee. Fees are few (one for each line item
and day), impressions are not.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from adserver.domain import limits
from adserver.domain.campaign import MODELS
from adserver.domain.decision import EventKind
from adserver.domain.fees import Accrued
from adserver.domain.records import LineItemTerms, Status, Unbilled
from adserver.ledger.audit_awake import Moment
from adserver.ledger.audit_books import Heard, Tell
from adserver.ledger.audit_rows import Array, Groups

FLAT: Final = MODELS.index("flat")
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()

Day = tuple[int, int]
"""(line item, local day)."""


class FeeAudit:
    """``promises``: the ads that were decided, of flat line items, and their local ``days``."""

    def __init__(self, heard: Heard, promises: Array, days: Array, tell: Tell) -> None:
        self._heard = heard
        self._tell = tell
        live = promises["test"] == 0
        self._promised = _by_day(promises[live], days[live])

    def since(self, rows: Array) -> Array:
        """For each part of a fee the record that promised it: that of the day's first ad."""
        first = {day: int(mine["number"].min()) for day, mine in self._promised.items()}
        keys = zip(rows["line_item"].tolist(), rows["day"].tolist(), rows["number"].tolist(), strict=True)
        return np.array([min(first.get((item, day), at), at) for item, day, at in keys], np.int64)

    def check(self, live: Array, reversals: Array, reversed_events: Array, due: Moment) -> None:
        """Tell each offence. ``live``: the events that count; ``reversals`` that stand, and of what; ``due``:
        what was over at this moment is accrued."""
        shown = _impressions(live)
        shown_of = _by_day(shown, shown["day"])
        back = _impressions(reversed_events)
        numbers = reversals["number"][_are_impressions(reversed_events)]
        back = back.copy()
        back["number"] = numbers
        back_of = _by_day(back, back["day"])
        accrued: defaultdict[int, int] = defaultdict(int)
        seen = set[Day]()
        for number, fee in self._heard.accrued:
            day = fee.line_item, fee.day
            counts = _counts(shown_of.get(day), back_of.get(day), number)
            wrong = ["accrued twice"] if day in seen else self._wrong(fee, number, counts, accrued[day[0]])
            seen.add(day)
            accrued[fee.line_item] += fee.billed_nanos
            for one in wrong:
                self._tell(f"{_name(day)}: {one}")
        for day in sorted(self._promised.keys() - seen):
            over_ms = self._over_ms(day, due)
            if over_ms is not None and any(_counts(shown_of.get(day), back_of.get(day), due[0]).values()):
                which = date.fromordinal(day[1] + _EPOCH_DAY)
                self._tell(f"{_name(day)}: none was accrued for {which}, which was over at {over_ms}")

    def _over_ms(self, day: Day, due: Moment) -> int | None:
        """When the day was over and its last ad too, if that was before this moment."""
        promised = self._promised[day]
        before = promised[promised["number"] < due[0]]
        terms = self._terms(day[0], int(before["number"].min())) if len(before) else None
        if terms is None:
            return None
        over_ms = max(_end_ms(ZoneInfo(terms.timezone), day[1]), int(before["expires"].max()))
        return over_ms if over_ms < due[1] else None

    def _wrong(self, fee: Accrued, number: int, shown: dict[int, int], accrued: int) -> Iterable[str]:
        promised = self._promised.get((fee.line_item, fee.day))
        before = None if promised is None else promised[promised["number"] < number]
        if before is None or not len(before):
            return ["no flat ad of that day in the journal"]
        terms = self._terms(fee.line_item, int(before["number"].min()))
        if terms is None:
            return ["no terms of its day's first ad in the journal"]
        return _offences(fee, terms, int(before["expires"].max()), shown, accrued)

    def _terms(self, line_item: int, number: int) -> LineItemTerms | None:
        """In force at this record."""
        told = zip(self._heard.told, self._heard.versions, strict=True)
        mine = [terms for at, terms in told if terms.serial == line_item and at < number]
        return mine[-1] if mine else None


def _name(day: Day) -> str:
    return f"fee of line item {day[0]}, day {day[1]}"


def _by_day(rows: Array, days: Array) -> dict[Day, Array]:
    groups = Groups(rows["line_item"], days)
    order = np.argsort(groups.of, kind="stable")
    ends = np.searchsorted(groups.of[order], np.arange(len(groups.keys) + 1))
    return {key: rows[order[ends[at] : ends[at + 1]]] for at, key in enumerate(groups.keys)}


def _are_impressions(events: Array) -> Array:
    """Those that a fee is shared by."""
    counted = (events["unbilled"] == Unbilled.FLAT) & (events["status"] == Status.ACCEPTED)
    found: Array = counted & (events["kind"] == EventKind.IMPRESSION) & (events["test"] == 0)
    return found


def _impressions(events: Array) -> Array:
    return events[_are_impressions(events)]


def _counts(shown: Array | None, back: Array | None, number: int) -> dict[int, int]:
    """Placement -> impressions that counted at this record."""
    found: defaultdict[int, int] = defaultdict(int)
    for rows, one in ((shown, 1), (back, -1)):
        if rows is not None:
            placements, counts = np.unique(rows["placement"][rows["number"] < number], return_counts=True)
            for placement, count in zip(placements.tolist(), counts.tolist(), strict=True):
                found[placement] += one * count
    return {placement: count for placement, count in found.items() if count}


def _offences(
    fee: Accrued, terms: LineItemTerms, expires: int, shown: dict[int, int], accrued: int
) -> Iterator[str]:
    zone = ZoneInfo(terms.timezone)
    days = [_day(zone, at_ms) for at_ms in (fee.start_ms - 1, fee.start_ms, fee.at_ms)]
    if days[:2] != [fee.day - 1, fee.day]:
        yield f"begins at {fee.start_ms}, where {terms.timezone} has no midnight before it"
    if days[2] <= fee.day or fee.at_ms <= expires:
        yield f"accrued at {fee.at_ms}, before it was over and its ads had expired at {expires}"
    if fee.unbilled not in (Unbilled.NONE, Unbilled.OVER_BUDGET):
        yield f"not billed for the reason {fee.unbilled}"
    due = _due(terms, fee.day, accrued)
    if fee.nanos != due:
        yield f"comes to {fee.nanos} nanos, due are {due}"
    parts = _parts(due, shown)
    if parts != list(fee.parts):
        yield f"(placement, impressions, nanos) are {list(fee.parts)}, by what was shown {parts}"


def _due(terms: LineItemTerms, day: int, accrued: int) -> int:
    """A price for the whole flight by the days that have begun, less what earlier days came to."""
    price = terms.amount_micros * 1000
    if terms.days == 0:
        return price
    begun = [min(max(day - terms.first_day + more, 0), terms.days) for more in (0, 1)]
    before, behind = (price * days // terms.days for days in begun)
    return max(min(behind - before, price - accrued), 0)


def _parts(nanos: int, shown: dict[int, int]) -> list[tuple[int, int, int]]:
    """One nano after the other of those left goes to who is furthest below its share."""
    most = sorted(shown.items(), key=lambda one: (-one[1], one[0]))[: limits.FEE_PARTS]
    total = sum(count for _, count in most)
    parts = {placement: [count, nanos * count // total] for placement, count in most}
    below = [(nanos * count - part * total, -placement) for placement, (count, part) in parts.items()]
    left = nanos - sum(part for _, part in parts.values())
    for _, placement in sorted(below, reverse=True)[:left]:
        parts[-placement][1] += 1
    found = [(placement, count, part) for placement, (count, part) in parts.items()]
    return sorted(found, key=lambda part: (-part[2], part[0]))


def _end_ms(zone: ZoneInfo, day: int) -> int:
    """When the next day begins."""
    return int(datetime.combine(date.fromordinal(day + 1 + _EPOCH_DAY), time(), zone).timestamp()) * 1000


def _day(zone: ZoneInfo, at_ms: int) -> int:
    return datetime.fromtimestamp(at_ms // 1000, zone).date().toordinal() - _EPOCH_DAY
