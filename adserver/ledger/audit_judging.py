"""From what the journal said to what the ledger must hold; each offence is told on the way.

Whole columns are compared; only a row in which some rule fails is looked at by itself, by a rule written
out for one row (``_disagreements``), so that what is told is what was judged.
"""

from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from adserver.domain import ids
from adserver.domain.decision import EventKind
from adserver.domain.records import Status, Unbilled
from adserver.ledger.audit_awake import Moment
from adserver.ledger.audit_books import NOBODY, Heard, Tell, model_of, name_of
from adserver.ledger.audit_budgets import Spent, check_budgets
from adserver.ledger.audit_conversions import ads_of, check_conversions
from adserver.ledger.audit_counts import COLUMN, shown_of, totals_of
from adserver.ledger.audit_fees import FLAT, FeeAudit
from adserver.ledger.audit_given import decided, were_given
from adserver.ledger.audit_paid import Split, balances_of, booked
from adserver.ledger.audit_rollups import Cells, told_whence
from adserver.ledger.audit_rows import Array, Groups, each, ordered, places, repeats
from adserver.ledger.audit_statements import Moved, StatementAudit

_BILLABLE: Final = {
    "cpm": EventKind.IMPRESSION,
    "vcpm": EventKind.VIEWABLE,
    "cpc": EventKind.CLICK,
    "cpa": EventKind.CONVERSION,
}
_EPOCH_DAY: Final = datetime(1970, 1, 1, tzinfo=UTC).date().toordinal()
_QUARTER_MS: Final = 900_000
"""Offsets of time zones change, and differ, by whole quarters of an hour."""

_PUBLISHERS: Final = (0, 1)
"""The parts of what was paid that are the publisher's: paid, taken back."""

Mask = NDArray[np.bool_]


class Books:
    """What the ledger must hold. ``events``, ``filtered``, ``reversals``: rows by id and kind. ``totals``:
    (line item, day) -> [impressions, viewable, clicks, conversions, filtered, expired, billed, free, the
    first four again of what was found invalid, refunded]. ``shown``: (line item, placement, creative) ->
    [impressions, viewable, clicks, conversions]. ``balances``: account -> debits minus credits. ``budgets``:
    (account, day) -> billed and not refunded. ``conversions``: (key, kind) -> what was told. ``due``: what
    was due at this moment is done."""

    def __init__(self, heard: Heard, tell: Tell, due: Moment = (0, 0)) -> None:
        self._tell = tell
        self.reasons = heard.reasons
        self._zones = heard.zones_told()
        self._promises = self._once(ordered(heard.promises.array(), "number"), (), "decided twice")
        events = heard.events.array()
        is_filtered = events["status"] == Status.FILTERED
        self.filtered = self._recorded(events[is_filtered])
        self.events = self._recorded(events[~is_filtered])
        live, since = self._judged(self.events, heard.zones)
        owed = self._recorded(heard.owed.array())
        if len(owed):
            sold = self._judged(owed, heard.zones, ads_of(owed, heard))
            self.events = ordered(np.concatenate((self.events, owed)), "kind")
            live, since = (np.concatenate(both) for both in zip((live, since), sold, strict=True))
        fees = self._fees(heard)
        live, since = self._with_fees(fees, heard, live, since)
        filtered, filtered_since = self._judged(self.filtered, heard.zones)
        self.reversals, reversed_events = self._reversed(heard.reversals.array(), live)
        fees.check(live, self.reversals, reversed_events, due)
        # What was filtered is never billed; where the journal says so it is told, and followed.
        billed, since = _billed((live, since), (filtered, filtered_since))
        self.conversions = check_conversions(heard, live, self.reversals, tell)
        split, back = Split(heard), reversed_events["billed"] != 0
        refunded, refunds = reversed_events[back], self.reversals["number"][back]
        self.entries = (*split.paid(billed, 0), *split.paid(refunded, 1))
        self.statements = StatementAudit(
            Moved(billed, split.earned(billed), billed["number"]),
            Moved(refunded, split.earned(refunded), refunds),
            heard.closings,
            heard.owners(),
            heard.booked,
        )
        self.booked = tuple(booked(self.statements.credits))
        self._billed_once(billed)
        self.totals = totals_of(live, filtered, self.reversals)
        self.shown = shown_of(live, self.reversals)
        self.balances = balances_of((*self.entries, *self.booked))
        spent = Spent(billed, since, self.reversals, reversed_events)
        self.budgets = check_budgets(heard, spent, tell)
        self.cells = self._cells(live, filtered, reversed_events)

    def _fees(self, heard: Heard) -> FeeAudit:
        posted = ~np.isin(self._promises["number"], heard.unposted)
        flat = self._promises[posted & (self._promises["model"] == FLAT)]
        return FeeAudit(heard, flat, _days(flat, flat["zone"], heard.zones), self._tell)

    def _with_fees(self, fees: FeeAudit, heard: Heard, live: Array, since: Array) -> tuple[Array, Array]:
        parts = self._recorded(heard.fees.array())
        if not len(parts):
            return live, since
        self.events = ordered(np.concatenate((self.events, parts)), "kind")
        parts = parts[parts["terms"] != NOBODY]
        return np.concatenate((live, parts)), np.concatenate((since, fees.since(parts)))

    def _once(self, rows: Array, keys: tuple[str, ...], said: str) -> Array:
        """Ordered rows, each key once."""
        again = repeats(rows, *keys)
        for row in each(rows, again):
            told = name_of(row["id"], int(row["kind"])) if keys else f"event {_text(row['id'])}"
            self._tell(f"{told}: {said}")
        return rows[~again]

    def _recorded(self, rows: Array) -> Array:
        return self._once(ordered(rows, "kind", "number"), ("kind",), "recorded twice in the journal")

    def _judged(self, rows: Array, zones: list[str], ads: Array | None = None) -> tuple[Array, Array]:
        """The events that agree with a decision enough to be counted, and the records that decided them.
        ``ads``: the same rows under the ids that were decided."""
        ads = rows if ads is None else ads
        at, known = places(self._promises, ads)
        promises = self._promises[at] if len(self._promises) else np.zeros(len(rows), self._promises.dtype)
        known &= promises["number"] < rows["number"]
        with_terms = rows["terms"] != NOBODY
        given = ~known & with_terms & were_given(ads)
        promises[given] = decided(rows[given], self._zones)
        known |= given
        for row in each(rows, ~(known & with_terms)):
            missing = (
                "no decision" if not known[_at(rows, row)] else f"no terms of line item {row['line_item']}"
            )
            self._tell(f"{name_of(row['id'], int(row['kind']))}: {missing} in the journal")
        sound = known & with_terms
        rows, promises = rows[sound], promises[sound]
        days = _days(ads[sound], promises["zone"], zones)
        for number in np.flatnonzero(_suspicious(rows, promises, days)):
            row, promise = rows[number], promises[number]
            for wrong in _disagreements(row, promise, int(days[number]), zones):
                self._tell(f"{name_of(row['id'], int(row['kind']))}: {wrong}")
        return rows, promises["number"]

    def _billed_once(self, billed: Array) -> None:
        by_record = ordered(billed, "number")
        for row in each(by_record, repeats(by_record)):
            self._tell(f"{name_of(row['id'], int(row['kind']))}: the ad was billed before")

    def _reversed(self, rows: Array, live: Array) -> tuple[Array, Array]:
        """The reversals that stand, and the events they take back."""
        rows = ordered(rows, "kind", "number")
        kinds = np.unique(rows["kind"])
        at = np.zeros(len(rows), np.int64)
        found = np.zeros(len(rows), np.bool_)
        for kind in kinds:
            wanted, there = rows["kind"] == kind, np.flatnonzero(live["kind"] == kind)
            where, known = places(live[there], rows[wanted])
            at[wanted] = there[where] if len(there) else 0
            found[wanted] = known
        events = live[at] if len(live) else np.zeros(len(rows), live.dtype)
        counted = found & (events["status"] == Status.ACCEPTED) & (events["test"] == 0)
        counted &= np.isin(rows["kind"], [EventKind.FEE, *COLUMN]) & (events["number"] < rows["number"])
        for row in each(rows, ~counted):
            self._tell(f"{name_of(row['id'], int(row['kind']))}: reversed, though it was never counted")
        rows, events = rows[counted], events[counted]
        events = events[~repeats(rows, "kind")]
        rows = self._once(rows, ("kind",), "reversed twice")
        for row, event in zip(rows, events, strict=True):
            told, was = (tuple(int(one[name]) for name in _AGREED) for one in (row, event))
            told, was = (*told, int(row["flat"])), (*was, int(event["unbilled"] == Unbilled.FLAT))
            if told != was:
                self._tell(f"{name_of(row['id'], int(row['kind']))}: reversed as {told}, recorded was {was}")
        return rows, events

    def _cells(self, live: Array, filtered: Array, reversed_events: Array) -> Cells:
        cells = Cells()
        cells.add(live, filtered, reversed_events)
        for paid in self.entries:
            if paid.part in _PUBLISHERS:
                cells.earn(paid.rows, -paid.nanos if paid.part else paid.nanos)
        return cells


def _billed(*judged: tuple[Array, Array]) -> tuple[Array, Array]:
    """The events that were billed, and the records that decided them."""
    found = [(rows[rows["billed"] != 0], since[rows["billed"] != 0]) for rows, since in judged]
    rows, since = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, since


_AGREED: Final = ("line_item", "creative", "placement", "day", "billed", "whence")


def _text(ident: bytes) -> str:
    return ids.encode(ident.ljust(16, bytes(1)))


def _at(rows: Array, row: Any) -> int:
    """Where a row stands that is told of; rare, so it may be looked for."""
    return int(np.flatnonzero((rows["id"] == row["id"]) & (rows["kind"] == row["kind"]))[0])


def _days(rows: Array, zones: Array, names: list[str]) -> Array:
    """The day of each event's decision in its time zone, days since the epoch."""
    raw = np.ascontiguousarray(rows["id"]).view(np.uint8).reshape(-1, 16)[:, :6].astype(np.int64)
    quarters = (raw @ (1 << np.arange(40, -8, -8, dtype=np.int64))) // _QUARTER_MS
    groups = Groups(zones, quarters)
    days = np.array([_day(names[zone], quarter * _QUARTER_MS) for zone, quarter in groups.keys], np.int64)
    return days[groups.of] if len(days) else np.zeros(0, np.int64)


def _day(timezone: str, at_ms: int) -> int:
    return datetime.fromtimestamp(at_ms // 1000, ZoneInfo(timezone)).date().toordinal() - _EPOCH_DAY


def _suspicious(rows: Array, promises: Array, days: Array) -> Mask:
    """Where any rule of ``_disagreements`` may fail."""
    wrong = rows["day"] != days
    for name in ("line_item", "creative", "placement", "test", "whence"):
        wrong |= rows[name] != promises[name]
    accepted = rows["status"] == Status.ACCEPTED
    late = rows["at_ms"] > promises["expires"]
    wrong |= accepted & (rows["kind"] == EventKind.IMPRESSION) & late
    wrong |= (rows["billed"] != 0) & (rows["billed"] != promises["price"])
    kinds = np.array([_BILLABLE.get(model_of(number), 0) for number in range(256)])
    billable = accepted & (rows["test"] == 0) & (rows["kind"] == kinds[promises["model"] & 255])
    wrong |= (rows["billed"] != 0) & ~billable
    flat = accepted & (rows["test"] == 0) & (rows["kind"] != EventKind.CONVERSION)
    wrong |= flat & ((rows["unbilled"] == Unbilled.FLAT) != (promises["model"] == FLAT))
    owed = billable & (promises["price"] != 0) & (rows["billed"] == 0)
    over = (rows["unbilled"] == Unbilled.OVER_BUDGET) & (rows["free"] == promises["price"])
    over |= (
        (rows["unbilled"] == Unbilled.REPEATED) & (rows["kind"] == EventKind.CONVERSION) & (rows["free"] == 0)
    )
    wrong |= (owed & ~over) | (~owed & (rows["free"] != 0))
    return np.asarray(wrong, np.bool_)


def _disagreements(row: Any, promise: Any, day: int, zones: list[str]) -> list[str]:
    """Where an event says something else than its decision."""
    event, decided = _named(row), _named(promise)
    wrong = []
    told = (event["line_item"], event["creative"], event["placement"], bool(event["test"]))
    promised = (decided["line_item"], decided["creative"], decided["placement"], bool(decided["test"]))
    if told != promised:
        wrong.append(f"(line item, creative, placement, test) is {told}, decided was {promised}")
    if event["whence"] != decided["whence"]:
        asked = told_whence(decided["whence"])
        wrong.append(f"(country, device) is {told_whence(event['whence'])}, decided was {asked}")
    if event["day"] != day:
        wrong.append(f"day {event['day']}, its decision's was {day} in {zones[decided['zone']]}")
    billed, free, price, model = event["billed"], event["free"], decided["price"], model_of(decided["model"])
    accepted = event["status"] == Status.ACCEPTED
    if accepted and event["kind"] == EventKind.IMPRESSION and event["at_ms"] > decided["expires"]:
        wrong.append(f"accepted at {event['at_ms']}, expired at {decided['expires']}")
    flat = event["unbilled"] == Unbilled.FLAT
    if accepted and not event["test"] and event["kind"] != EventKind.CONVERSION and flat != (model == "flat"):
        wrong.append(f"not billed with reason {event['unbilled']}, which is not that of {model}")
    if billed not in (0, price):
        wrong.append(f"billed {billed} nanos, decided was {price}")
    billable = accepted and not event["test"] and event["kind"] == _BILLABLE.get(model)
    if billed and not billable:
        wrong.append(f"billed {billed} nanos, which it must not be under {model}")
    if billable and price and not billed:
        again = event["unbilled"] == Unbilled.REPEATED and event["kind"] == EventKind.CONVERSION
        if (again and free) or (not again and (event["unbilled"] != Unbilled.OVER_BUDGET or free != price)):
            wrong.append(f"not billed, with reason {event['unbilled']} and {free} nanos free")
    elif free:
        wrong.append(f"{free} nanos free, though billed or not billable")
    return wrong


def _named(row: Any) -> dict[str, int]:
    return {name: int(row[name]) for name in row.dtype.names if name != "id"}
