"""The books made again from the journal one record at a time: the oracle of the audit by columns."""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime
from fractions import Fraction
from functools import cache
from hashlib import blake2b
from math import floor
from typing import Any, Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from adserver.domain import ids
from adserver.domain.campaign import MODELS
from adserver.domain.conversions import Converted
from adserver.domain.decision import EventKind, event_id
from adserver.domain.fees import Accrued
from adserver.domain.records import (
    Closed,
    Credited,
    Decided,
    LineItemTerms,
    PlacementTerms,
    Record,
    Recorded,
    Reversed,
    Status,
    Unbilled,
)

TEST: Final = 1
ALL_DAYS: Final = -1
_EPOCH_DAY: Final = datetime(1970, 1, 1, tzinfo=UTC).date().toordinal()
_BILLABLE: Final = {
    "cpm": EventKind.IMPRESSION,
    "vcpm": EventKind.VIEWABLE,
    "cpc": EventKind.CLICK,
    "cpa": EventKind.CONVERSION,
}
_COLUMN: Final = {
    EventKind.IMPRESSION: 0,
    EventKind.VIEWABLE: 1,
    EventKind.CLICK: 2,
    EventKind.CONVERSION: 3,
}
_UNIT: Final = {1: 0, 2: 1, 3: 2, 7: 3, 0: 4}

Key = tuple[bytes, int]
Row = tuple[object, ...]
Cell = tuple[int, int, int, int, tuple[str, int]]
"""(quarter of an hour of the decision, line item, creative, placement, (country, device))."""


class Promise(Struct, frozen=True):
    """An ad as it was decided; ``number``: which record of the journal that was. ``model`` and ``timezone``
    are of that moment too: a line item may be sold otherwise by the time of the event."""

    number: int
    line_item: int
    creative: int
    placement: int
    price_nanos: int
    test: bool
    expires_ms: int
    model: str
    timezone: str
    whence: tuple[str, int]


class FlatDay(Struct):
    """A day of a flat line item. ``number``: the record of its first ad, 0 where there was none; ``shown``:
    placement -> impressions that count."""

    shown: dict[int, int]
    number: int = 0
    terms: LineItemTerms | None = None
    expires_ms: int = 0
    accrued: bool = False


class Books:
    """What the ledger must hold, as dictionaries in the shape of its tables.

    ``totals``: (line item, day) -> [impressions, viewable, clicks, conversions, filtered, expired, billed,
    free, the first four again of what was found invalid, refunded]. ``entries``: (event id, kind, 1 for a
    reversal) -> entry. ``shown``: (line item, placement, creative) -> [impressions, viewable, clicks,
    conversions]. ``rollups``: cell -> the numbers of ``totals``, and what the publisher earned.
    ``balances``: account -> debits minus credits. ``budgets``: (account, day) -> billed and not refunded.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.events: dict[Key, Row] = {}
        self.filtered: dict[Key, Row] = {}
        self.reversals: dict[Key, Row] = {}
        self.counted: dict[Key, Row] = {}
        self._payers: dict[Key, LineItemTerms] = {}
        self.entries: dict[tuple[bytes, int, int], tuple[str, str, str, int]] = {}
        self.totals: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * 13)
        self.shown: defaultdict[tuple[int, int, int], list[int]] = defaultdict(lambda: [0] * 4)
        self.rollups: defaultdict[Cell, list[int]] = defaultdict(lambda: [0] * 14)
        self._cells: dict[Key, Cell] = {}
        self.balances: defaultdict[str, int] = defaultdict(int)
        self.budgets: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.promises: dict[bytes, Promise] = {}
        self.earned: defaultdict[tuple[int, int, int, int], list[int]] = defaultdict(lambda: [0] * 6)
        self.credits: dict[tuple[int, str], Row] = {}
        self.taken_off: dict[tuple[int, str], Row] = {}
        self.statements: dict[tuple[str, int, int], Row] = {}
        self.lines: dict[tuple[str, int, int, int], Row] = {}
        self._tell = tell
        self._number = 0
        self._converted: set[bytes] = set()
        self._terms: dict[int, LineItemTerms] = {}
        self._payees: dict[int, tuple[int, int]] = {}
        self._limits: defaultdict[tuple[str, str], list[tuple[int, int | None]]] = defaultdict(list)
        self._revisions: defaultdict[str, int] = defaultdict(int)
        self._ahead: dict[str, tuple[str, int | None] | None] = {}
        self._billed: set[bytes] = set()
        self.conversions: dict[Key, Row] = {}
        self._flat: dict[tuple[int, int], FlatDay] = {}
        self._fees: defaultdict[int, int] = defaultdict(int)
        self._windows: dict[Key, LineItemTerms] = {}

    def take(self, record: Record) -> None:
        """The next record of the journal."""
        self._number += 1
        if isinstance(record, Decided):
            self._promise(record)
        elif isinstance(record, Recorded):
            self._event(record)
        elif isinstance(record, Reversed):
            self._reverse(record)
        elif isinstance(record, Converted):
            self._convert(record)
        elif isinstance(record, Accrued):
            self._accrue(record)
        elif isinstance(record, LineItemTerms):
            self._terms[record.serial] = record
            named = {(budget.account, budget.period): budget.limit_nanos for budget in record.budgets}
            advertiser = f"advertiser:{record.advertiser}"
            if record.revision >= self._revisions[advertiser]:
                ahead = (advertiser, "prepaid") in named
                self._ahead[advertiser] = (
                    (record.currency, named.get((advertiser, "lifetime"))) if ahead else None
                )
            if (advertiser, "prepaid") in named:
                budget = named.get((advertiser, "lifetime"))
                named[advertiser, "lifetime"] = self._affordable(record.advertiser, record.currency, budget)
            for account in _levels(record):
                for period in ("lifetime", "day"):
                    self._told(account, period, record.revision, named.get((account, period)))
                self._revisions[account] = max(self._revisions[account], record.revision)
        elif isinstance(record, Credited):
            self._credit(record)
        elif isinstance(record, Closed):
            self._close(record)
        elif isinstance(record, PlacementTerms):
            self._payees[record.serial] = record.publisher, record.revenue_share_ppm

    def _told(self, account: str, period: str, revision: int, limit: int | None) -> None:
        """Of an older catalogue than somebody told of before: it was in force, and is not any more."""
        history = self._limits[account, period]
        newest = [history[-1][1]] if revision < self._revisions[account] and history else []
        history += [(self._number, told) for told in (limit, *newest)]

    def _promise(self, record: Decided) -> None:
        decision = record.decision
        for slot in decision.slots:
            if slot.repeated is not None:
                continue
            for ad in slot.ads:
                ident = event_id(decision.request_id, ad.index)
                if ident in self.promises:
                    self._tell(f"event {ids.encode(ident)}: decided twice")
                    continue
                terms = self._terms.get(ad.line_item)
                self.promises[ident] = Promise(
                    self._number, ad.line_item, ad.creative, slot.placement, ad.price_nanos,
                    decision.mode == TEST, slot.expires_ms, MODELS[ad.model],
                    "UTC" if terms is None else terms.timezone, (decision.country, decision.device),
                )  # fmt: skip
                if MODELS[ad.model] == "flat" and decision.mode != TEST:
                    day = self._flat_day(ad.line_item, _day(self.promises[ident].timezone, decision.now_ms))
                    if not day.number:
                        day.number, day.terms = self._number, terms
                    day.expires_ms = max(day.expires_ms, slot.expires_ms)

    def _flat_day(self, line_item: int, day: int) -> "FlatDay":
        return self._flat.setdefault((line_item, day), FlatDay({}))

    def _accrue(self, fee: Accrued) -> None:
        """Once a day that is over; the day's price by what was shown on it."""
        day = self._flat_day(fee.line_item, fee.day)
        for wrong in ["accrued twice"] if day.accrued else self._wrong_fee(fee, day):
            self._tell(f"fee of line item {fee.line_item}, day {fee.day}: {wrong}")
        day.accrued = True
        for index, (placement, _, nanos) in enumerate(fee.parts):
            ident = fee.start_ms.to_bytes(6, "big") + b"".join(
                number.to_bytes(size, "big")
                for number, size in ((fee.line_item, 4), (placement, 4), (index, 2))
            )
            billed = 0 if fee.unbilled else nanos
            self._part(
                Recorded(
                    ident, 0, Status.ACCEPTED, fee.at_ms, fee.line_item, 0, placement, billed,
                    0 if billed else fee.unbilled if nanos else Unbilled.FREE, fee.day, "", nanos - billed,
                ),
                day.number or self._number,
            )  # fmt: skip
        self._fees[fee.line_item] += 0 if fee.unbilled else sum(part[2] for part in fee.parts)

    def _part(self, event: Recorded, since: int) -> None:
        key = event.event_id, event.kind
        if key in self.events:
            self._tell(f"{_name(key)}: recorded twice in the journal")
            return
        self.events[key] = (
            event.status, event.at_ms, event.line_item, 0, event.placement, event.day,
            event.billed_nanos, event.free_nanos, event.unbilled, "", 0, 0,
        )  # fmt: skip
        terms = self._terms.get(event.line_item)
        if terms is not None:
            self.counted[key], self._payers[key] = self.events[key], terms
            self._count(event)
            if event.billed_nanos:
                self._bill(event, since, terms)

    def _wrong_fee(self, fee: Accrued, day: "FlatDay") -> list[str]:
        if not day.number:
            return ["no flat ad of that day in the journal"]
        terms = day.terms
        if terms is None:
            return ["no terms of its day's first ad in the journal"]
        wrong, zone = [], terms.timezone
        if (_day(zone, fee.start_ms - 1), _day(zone, fee.start_ms)) != (fee.day - 1, fee.day):
            wrong.append(f"begins at {fee.start_ms}, where {zone} has no midnight before it")
        if _day(zone, fee.at_ms) <= fee.day or fee.at_ms <= day.expires_ms:
            when = f"before it was over and its ads had expired at {day.expires_ms}"
            wrong.append(f"accrued at {fee.at_ms}, {when}")
        if fee.unbilled not in (0, Unbilled.OVER_BUDGET):
            wrong.append(f"not billed for the reason {fee.unbilled}")
        due = Fraction(terms.amount_micros * 1000)
        if terms.days:
            steps = [
                floor(due * min(max(fee.day - terms.first_day + n, 0), terms.days) / terms.days)
                for n in (0, 1)
            ]
            due = Fraction(max(min(steps[1] - steps[0], floor(due) - self._fees[fee.line_item]), 0))
        nanos = sum(part[2] for part in fee.parts)
        if nanos != due:
            wrong.append(f"comes to {nanos} nanos, due are {due}")
        parts = _shared(int(due), {place: count for place, count in day.shown.items() if count})
        if parts != list(fee.parts):
            wrong.append(f"(placement, impressions, nanos) are {list(fee.parts)}, by what was shown {parts}")
        return wrong

    def _event(self, event: Recorded, ad: bytes | None = None) -> None:
        """``ad``: the one it is of, if it does not bear its id."""
        ad = ad or event.event_id
        key = event.event_id, event.kind
        rows = self.filtered if event.status == Status.FILTERED else self.events
        if key in rows:
            self._tell(f"{_name(key)}: recorded twice in the journal")
            return
        rows[key] = (
            event.status, event.at_ms, event.line_item, event.creative, event.placement, event.day,
            event.billed_nanos, event.free_nanos, event.unbilled, event.reason, int(event.test),
            (ord(event.country[0]) * 256 + ord(event.country[1]) if event.country else 0) * 256
            + event.device,
        )  # fmt: skip
        promise = self.promises.get(ad)
        terms = self._terms.get(event.line_item)
        if promise is None and terms is not None and ad[14] >= 0x80:
            # Given away without a record, so it is worth nothing and lives by its token.
            promise = Promise(
                0, event.line_item, event.creative, event.placement, 0, event.test, event.at_ms, "cpm",
                terms.timezone, (event.country, event.device),
            )  # fmt: skip
        if promise is None or terms is None:
            missing = "no decision" if promise is None else f"no terms of line item {event.line_item}"
            self._tell(f"{_name(key)}: {missing} in the journal")
            return
        if event.status != Status.FILTERED:
            self.counted[key] = rows[key]
            self._windows[key] = terms
        self._payers[key] = terms
        for wrong in _disagreements(event, promise):
            self._tell(f"{_name(key)}: {wrong}")
        if not event.test:
            self._count(event)
        if event.billed_nanos:
            self._bill(event, promise.number, terms)
        if _is_shown_flat(event) and event.status == Status.ACCEPTED:
            shown = self._flat_day(event.line_item, event.day).shown
            shown[event.placement] = shown.get(event.placement, 0) + 1

    def _convert(self, told: Converted) -> None:
        """Told once; owed to an accepted event of the advertiser's own ad, within that one's window."""
        key = told.key, int(EventKind.CONVERSION)
        if key in self.conversions:
            self._tell(f"{_name(key)}: told twice")
            return
        self.conversions[key] = (
            told.advertiser, told.at_ms, told.happened_ms, told.called, told.value_micros, told.currency,
            told.touch, told.touched,
        )  # fmt: skip
        if told.touch is None:
            said = (
                told.touched,
                told.line_item,
                told.creative,
                told.placement,
                told.billed_nanos,
                told.free_nanos,
            )
            if any(said):
                self._tell(f"{_name(key)}: owed to no ad, and speaks of one: {said}")
            return
        self._owe(told, key)
        event = Recorded(
            told.touch[:6] + told.key[:10], EventKind.CONVERSION, Status.ACCEPTED, told.at_ms,
            told.line_item, told.creative,
            told.placement, told.billed_nanos, told.unbilled, told.day, "", told.free_nanos, False,
            told.country, told.device,
        )  # fmt: skip
        self._event(event, told.touch)

    def _owe(self, told: Converted, key: Key) -> None:
        assert told.touch is not None
        owed = told.touch, told.touched
        event = self.counted.get(owed)
        is_touch = told.touched in (EventKind.IMPRESSION, EventKind.CLICK)
        if event is None or event[0] != Status.ACCEPTED or event[10] or not is_touch:
            self._tell(f"{_name(key)}: owed to an event that was never counted")
        else:
            terms, after = self._windows[owed], told.happened_ms - int(str(event[1]))
            clicked = told.touched == EventKind.CLICK
            window_ms = terms.click_window_ms if clicked else terms.view_window_ms
            if not 0 <= after < window_ms:
                self._tell(f"{_name(key)}: happened {after} ms after, the window is {window_ms}")
            if terms.advertiser != told.advertiser:
                owner = terms.advertiser
                self._tell(f"{_name(key)}: told by advertiser {told.advertiser}, owed to an ad of {owner}")
        if owed in self.reversals:
            self._tell(f"{_name(key)}: owed to what was taken back before")
        if told.billed_nanos:
            if told.touch in self._converted:
                self._tell(f"{_name(key)}: the ad was billed before")
            self._converted.add(told.touch)
        elif told.unbilled == Unbilled.REPEATED and told.touch not in self._converted:
            self._tell(f"{_name(key)}: not billed as a repeated one, though its ad was not billed before")

    def _count(self, event: Recorded) -> None:
        column: int | None = 5
        if event.status == Status.FILTERED:
            column = 4
        elif event.status == Status.ACCEPTED:
            column = _COLUMN.get(EventKind(event.kind))
            if column is not None:
                self.shown[event.line_item, event.placement, event.creative][column] += 1
        for day in (ALL_DAYS, event.day):
            counts = self.totals[event.line_item, day]
            if column is not None:
                counts[column] += 1
            if event.status == Status.ACCEPTED:
                counts[6] += event.billed_nanos
                counts[7] += event.free_nanos

        cell = self.rollups[_cell(event)]
        self._cells[event.event_id, event.kind] = _cell(event)
        if column is not None:
            cell[column] += 1
        if event.status == Status.ACCEPTED:
            cell[6] += event.billed_nanos
            cell[7] += event.free_nanos

    def _bill(self, event: Recorded, since: int, terms: LineItemTerms) -> None:
        key = event.event_id, event.kind
        if event.event_id in self._billed:
            self._tell(f"{_name(key)}: the ad was billed before")
        self._billed.add(event.event_id)
        for account in _levels(terms):
            for period, day in (("lifetime", ALL_DAYS), ("day", event.day)):
                self.budgets[account, day] += event.billed_nanos
                limit = self._limit(account, period, since)
                if limit is not None and self.budgets[account, day] > limit:
                    self._tell(
                        f"{_name(key)}: {account} {period}{'' if day < 0 else f' {day}'} "
                        f"billed {self.budgets[account, day]} of {limit} nanos"
                    )
        debit = f"advertiser:{terms.advertiser}:{terms.currency}"
        publisher, share = self._payees.get(event.placement, (None, 1_000_000))
        earned = event.billed_nanos * share // 1_000_000
        credit, kept = f"publisher:{publisher}:{terms.currency}", f"operator:{terms.currency}"
        self._enter((*key, 0), debit, credit, terms.currency, earned)
        self.rollups[_cell(event)][13] += earned
        self._enter((*key, 2), debit, kept, terms.currency, event.billed_nanos - earned)
        self._earn(event, 0, earned)

    def _earn(self, event: Recorded | Reversed, back: int, share: int) -> None:
        day = date.fromordinal(_EPOCH_DAY + event.day)
        month = (day.year - 1970) * 12 + day.month - 1
        counts = self.earned[event.line_item, event.placement, month, event.kind]
        units = int(event.kind != 0 or event.event_id[14:] == bytes(2))
        for column, more in enumerate((units, event.billed_nanos, share)):
            counts[3 * back + column] += more

    def _close(self, closed: Closed) -> None:
        """By the definition: floor of all there ever was, less what was stated before."""
        key = closed.party, closed.month, closed.at_ms
        if key in self.statements:
            return
        due, totals = self.due(closed.party, closed.month)
        stood = [self.statements[one][0] and one[1] for one in self.statements if one[0] == closed.party]
        stands = all(not month or month < closed.month for month in stood) and closed.totals == totals
        self.statements[key] = int(stands), closed.segment, closed.offset, closed.chain
        if stands:
            for credit in self._off(closed.party):
                self.taken_off[credit] = (closed.month,)
            for subject, line in due.items():
                self.lines[closed.party, closed.month, *subject] = line

    def _credit(self, record: Credited) -> None:
        key = record.advertiser, record.id
        if key not in self.credits:
            self.credits[key] = (
                record.kind,
                record.currency,
                record.amount_micros,
                record.at_ms,
                record.reason,
            )
            accounts = ("cash", f"wallet:{record.advertiser}")
            if record.kind != "deposit":
                accounts = ("operator", f"credit:{record.advertiser}")
            debit, credit = (f"{name}:{record.currency}" for name in accounts)
            ident = blake2b(f"{record.advertiser}/{record.id}".encode(), digest_size=16).digest()
            self._enter((ident, 0, 0), debit, credit, record.currency, record.amount_micros * 1000)
            account = f"advertiser:{record.advertiser}"
            currency, budget = self._ahead.get(account) or ("", None)
            if currency == record.currency:
                limit = self._affordable(record.advertiser, currency, budget)
                self._limits[account, "lifetime"].append((self._number, limit))

    def _affordable(self, advertiser: int, currency: str, budget: int | None) -> int:
        """What an advertiser that pays ahead may be billed: all that was booked for it, by its balances."""
        names = (f"wallet:{advertiser}:{currency}", f"credit:{advertiser}:{currency}")
        paid = -sum(self.balances[name] for name in names if name in self.balances)
        return paid if budget is None else min(paid, budget)

    def _off(self, party: str) -> list[tuple[int, str]]:
        side, _, serial = party.partition(":")
        left = [key for key, row in self.credits.items() if row[0] != "deposit" and key not in self.taken_off]
        return [key for key in left if side == "advertiser" and key[0] == int(serial)]

    def due(self, party: str, month: int) -> tuple[dict[tuple[int, int], Any], tuple[tuple[str, int], ...]]:
        """(the lines that a closing here would have, its totals)."""
        closed = Closed(party, month, 0, (), 0, 0, b"")
        due = {subject: self._line(closed, subject) for subject in self._subjects(closed)}
        due = {subject: line for subject, line in due.items() if line is not None}
        totals: defaultdict[str, int] = defaultdict(int)
        for line in due.values():
            totals[line[0]] += line[-1]
        for key in self._off(party):
            _, currency, micros, *_ = self.credits[key]
            totals[str(currency)] -= int(str(micros))
        return due, tuple(sorted(totals.items()))

    def _subjects(self, closed: Closed) -> set[tuple[int, int]]:
        side, _, serial = closed.party.partition(":")
        if side == "advertiser":
            mine = {item for item, terms in self._terms.items() if terms.advertiser == int(serial)}
            return {(item, 0) for item, *_ in self.earned if item in mine}
        return {key[:2] for key in self.earned if self._payees.get(key[1], (None,))[0] == int(serial)}

    def _line(self, closed: Closed, subject: tuple[int, int]) -> Any:
        sold, (item, place) = not subject[1], subject
        mine = {
            key: counts for key, counts in self.earned.items()
            if key[0] == item and (sold or key[1] == place) and key[2] <= closed.month
        }  # fmt: skip
        one = 1 if sold else 2

        def gross(now: bool, back: int) -> int:
            return sum(c[one + 3 * back] for key, c in mine.items() if (key[2] == closed.month) == now)

        units = [0] * 5
        for key, counts in mine.items():
            if key[2] == closed.month and key[3] in _UNIT:
                units[_UNIT[key[3]]] += counts[0]
        own = (closed.party, *subject)
        stated: list[Any] = [row for (party, _, *who), row in self.lines.items() if (party, *who) == own]
        nanos = sum(row[9] - row[10] + row[12] for row in stated)
        micros = sum(row[13] for row in stated)
        before = gross(False, 0) - gross(False, 1)
        whole = before + gross(True, 0) - gross(True, 1)
        if before == nanos and not any(key[2] == closed.month for key in mine):
            return None
        terms = self._terms.get(item)
        if terms is None:
            return None
        back = sum(c[3] for key, c in mine.items() if key[2] == closed.month)
        said = (terms.currency, terms.model, terms.amount_micros) if sold else (terms.currency, "", 0)
        return (
            *said, *units, back, gross(True, 0), gross(True, 1), nanos - micros * 1000, before - nanos,
            whole // 1000 - micros,
        )  # fmt: skip

    def _enter(self, key: tuple[bytes, int, int], debit: str, credit: str, currency: str, nanos: int) -> None:
        if nanos == 0:
            return
        self.entries[key] = debit, credit, currency, nanos
        self.balances[debit] += nanos
        self.balances[credit] -= nanos

    def _reverse(self, found: Reversed) -> None:
        """The event must be in the journal, accepted, as it says, and not be reversed yet."""
        key = found.event_id, found.kind
        event, column = self.counted.get(key), _COLUMN.get(EventKind(found.kind))
        told = (
            found.line_item, found.creative, found.placement, found.day, found.billed_nanos,
            int.from_bytes(found.country.encode(), "big") * 256 + found.device, int(found.flat),
        )  # fmt: skip
        if event is None or (column is None and found.kind) or event[0] != Status.ACCEPTED or event[10]:
            self._tell(f"{_name(key)}: reversed, though it was never counted")
            return
        if key in self.reversals:
            self._tell(f"{_name(key)}: reversed twice")
            return
        was = (*event[2:7], event[11], int(event[8] == Unbilled.FLAT))
        if told != was:
            self._tell(f"{_name(key)}: reversed as {told}, recorded was {was}")
        self.reversals[key] = found.at_ms, found.billed_nanos, found.reason
        cell = self.rollups[self._cells[key]]
        if column is not None:
            self.shown[found.line_item, found.placement, found.creative][column] -= 1
            cell[8 + column] += 1
        if column == 0 and was[-1]:
            self._flat_day(int(str(event[2])), int(str(event[5]))).shown[int(str(event[4]))] -= 1
        cell[12] += found.billed_nanos
        for day in (ALL_DAYS, found.day):
            counts = self.totals[found.line_item, day]
            if column is not None:
                counts[8 + column] += 1
            counts[12] += found.billed_nanos
        if found.billed_nanos:
            self._refund(found)

    def _refund(self, found: Reversed) -> None:
        """The entries of the event, the other way round; its budgets have room again."""
        self._earn(found, 1, self.entries.get((found.event_id, found.kind, 0), ("", "", "", 0))[3])
        for part in (0, 2):
            billed = self.entries.get((found.event_id, found.kind, part))
            if billed is not None:
                debit, credit, currency, nanos = billed
                if part == 0:
                    self.rollups[self._cells[found.event_id, found.kind]][13] -= nanos
                self._enter((found.event_id, found.kind, part + 1), credit, debit, currency, nanos)
        for account in _levels(self._payers[found.event_id, found.kind]):
            for day in (ALL_DAYS, found.day):
                self.budgets[account, day] -= found.billed_nanos

    def _limit(self, account: str, period: str, since: int) -> int | None:
        """The highest limit in force at any time since the record ``since``; None: there was none."""
        highest = 0
        for number, limit in reversed(self._limits[account, period]):
            if limit is None:
                return None
            highest = max(highest, limit)
            if number <= since:
                break
        return highest


def _disagreements(event: Recorded, promise: Promise) -> list[str]:
    """Where an event says something else than its decision."""
    wrong = []
    told = (event.line_item, event.creative, event.placement, event.test)
    decided = (promise.line_item, promise.creative, promise.placement, promise.test)
    if told != decided:
        wrong.append(f"(line item, creative, placement, test) is {told}, decided was {decided}")
    if (event.country, event.device) != promise.whence:
        told_whence = (event.country or "''", event.device)
        decided_whence = (promise.whence[0] or "''", promise.whence[1])
        wrong.append(f"(country, device) is {told_whence}, decided was {decided_whence}")
    day = _day(promise.timezone, ids.minted_ms(event.event_id))
    if event.day != day:
        wrong.append(f"day {event.day}, its decision's was {day} in {promise.timezone}")
    accepted = event.status == Status.ACCEPTED
    if accepted and event.kind == EventKind.IMPRESSION and event.at_ms > promise.expires_ms:
        wrong.append(f"accepted at {event.at_ms}, expired at {promise.expires_ms}")
    flat = event.unbilled == Unbilled.FLAT
    if (
        accepted
        and not event.test
        and event.kind != EventKind.CONVERSION
        and flat != (promise.model == "flat")
    ):
        wrong.append(f"not billed with reason {event.unbilled}, which is not that of {promise.model}")
    if event.billed_nanos not in (0, promise.price_nanos):
        wrong.append(f"billed {event.billed_nanos} nanos, decided was {promise.price_nanos}")
    billable = accepted and not event.test and event.kind == _BILLABLE.get(promise.model)
    if event.billed_nanos and not billable:
        wrong.append(f"billed {event.billed_nanos} nanos, which it must not be under {promise.model}")
    if billable and promise.price_nanos and not event.billed_nanos:
        again = event.unbilled == Unbilled.REPEATED and event.kind == EventKind.CONVERSION
        over = event.unbilled == Unbilled.OVER_BUDGET and event.free_nanos == promise.price_nanos
        if not over and not (again and not event.free_nanos):
            wrong.append(f"not billed, with reason {event.unbilled} and {event.free_nanos} nanos free")
    elif event.free_nanos:
        wrong.append(f"{event.free_nanos} nanos free, though billed or not billable")
    return wrong


def _is_shown_flat(event: Recorded) -> bool:
    return event.unbilled == Unbilled.FLAT and event.kind == EventKind.IMPRESSION and not event.test


def _shared(nanos: int, shown: dict[int, int]) -> list[tuple[int, int, int]]:
    """Nano by nano of what is left, to whoever is furthest from what is his, the first of equals."""
    total = sum(shown.values())
    exact = {place: Fraction(nanos * count, total) for place, count in shown.items()}
    parts = {place: floor(part) for place, part in exact.items()}
    while sum(parts.values()) < nanos and parts:
        parts[min(parts, key=lambda place: (parts[place] - exact[place], place))] += 1
    return sorted(((place, shown[place], part) for place, part in parts.items()), key=lambda p: (-p[2], p[0]))


def _cell(event: Recorded) -> Cell:
    quarter = ids.minted_ms(event.event_id) // (15 * 60 * 1000)
    return quarter, event.line_item, event.creative, event.placement, (event.country, event.device)


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _day(timezone: str, at_ms: int) -> int:
    return datetime.fromtimestamp(at_ms // 1000, _zone(timezone)).date().toordinal() - _EPOCH_DAY


def _levels(terms: LineItemTerms) -> tuple[str, str, str]:
    return f"line_item:{terms.serial}", f"campaign:{terms.campaign}", f"advertiser:{terms.advertiser}"


def _name(key: Key) -> str:
    return f"event {ids.encode(key[0])} {EventKind(key[1]).name.lower()}"
