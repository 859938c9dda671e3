"""Statements, audited: what was earned and every closing made again from the events the audit believes.

The rules once more, in their own words. Until a closing, what a line of the party has come to is all that was
billed and not taken back, in its month and in all before. Of that, what was stated already is subtracted, and
the difference between the whole micros of both is due. A closing stands if its totals are those of its lines
and no later month of the party is closed. Events are summed up by closing first, so that a closing costs what
its party sold, not what everybody did.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct

from adserver.domain.decision import EventKind
from adserver.domain.records import Closed, Credited, LineItemTerms
from adserver.ledger.audit_rows import Array, Groups

_MICRO: Final = 1000
_COLUMN: Final = {1: 0, 2: 1, 3: 2, 7: 3, 0: 4}
"""Kind of event -> which of impressions, viewable, clicks, conversions, days."""

Key = tuple[int, int, int, int]
"""Line item, placement, month, kind."""


class Closing(Struct, frozen=True):
    """``number``: which record it is; ``terms``: the advertiser's line items as last told before."""

    number: int
    record: Closed
    terms: dict[int, LineItemTerms]


class Booked(Struct, frozen=True):
    """``number``: which record it is."""

    number: int
    record: Credited


class Moved(Struct, frozen=True):
    """Events (in the shape of ``audit_books.HEARD``) whose money moved, what of each is the publisher's, and
    the records that moved it."""

    rows: Array
    share: Array
    number: Array


class Owners(Struct, frozen=True):
    """Who sells and who buys: by line item and placement."""

    advertisers: dict[int, int]
    currencies: dict[int, str]
    publishers: dict[int, int]


class StatementAudit:
    """``earned``, ``statements`` and ``lines``: what the ledger's tables must hold, by their keys."""

    def __init__(
        self,
        billed: Moved,
        refunded: Moved,
        closings: list[Closing],
        owners: Owners,
        booked: Sequence[Booked] = (),
    ) -> None:
        self.earned: dict[Key, list[int]] = {}
        self.statements: dict[Any, tuple[Any, ...]] = {}
        self.lines: dict[Any, tuple[Any, ...]] = {}
        self.credits: dict[Any, tuple[Any, ...]] = {}
        self.taken_off: dict[Any, tuple[int]] = {}
        self._owners = owners
        self._booked = [one for one in booked if self._is_first(one.record)]
        self._keys: defaultdict[str, list[Key]] = defaultdict(list)
        self._stated: defaultdict[str, dict[tuple[int, int], tuple[int, int]]] = defaultdict(dict)
        self._last: dict[str, int] = {}
        sums = _by_closing(billed, refunded, [closing.number for closing in closings])
        for number, closing in enumerate(closings):
            self._add(sums.get(number, {}))
            self._close(closing)
        self._add(sums.get(len(closings), {}))

    def _add(self, sums: dict[Key, list[int]]) -> None:
        for key, more in sums.items():
            counts = self.earned.get(key)
            if counts is None:
                counts = self.earned[key] = [0] * 6
                self._keys[f"advertiser:{self._owners.advertisers.get(key[0])}"].append(key)
                self._keys[f"publisher:{self._owners.publishers.get(key[1])}"].append(key)
            for column, one in enumerate(more):
                counts[column] += one

    def _close(self, closing: Closing) -> None:
        closed = closing.record
        if (closed.party, closed.month, closed.at_ms) in self.statements:
            return
        due = self._due(closing)
        totals: defaultdict[str, int] = defaultdict(int)
        for line in due.values():
            totals[line[0]] += line[-1]
        off = self._off(closing)
        for credit in off:
            totals[credit.currency] -= credit.amount_micros
        last = self._last.get(closed.party)
        stands = (last is None or last < closed.month) and tuple(sorted(totals.items())) == closed.totals
        self.statements[closed.party, closed.month, closed.at_ms] = (
            int(stands), closed.segment, closed.offset, closed.chain,
        )  # fmt: skip
        if not stands:
            return
        self._last[closed.party] = closed.month
        for credit in off:
            self.taken_off[credit.advertiser, credit.id] = (closed.month,)
        stated = self._stated[closed.party]
        for subject, line in due.items():
            self.lines[closed.party, closed.month, *subject] = line
            nanos, micros = stated.get(subject, (0, 0))
            stated[subject] = nanos + line[9] - line[10] + line[12], micros + line[-1]

    def _is_first(self, credit: Credited) -> bool:
        """Under its id; what comes again is not booked."""
        said = credit.kind, credit.currency, credit.amount_micros, credit.at_ms, credit.reason
        return self.credits.setdefault((credit.advertiser, credit.id), said) is said

    def _off(self, closing: Closing) -> list[Credited]:
        """What was booked for an advertiser before, deposits aside, and is on no statement yet."""
        found = []
        side, _, serial = closing.record.party.partition(":")
        for one in self._booked:
            key = one.record.advertiser, one.record.id
            mine = side == "advertiser" and key[0] == int(serial) and one.record.kind != "deposit"
            if mine and one.number < closing.number and key not in self.taken_off:
                found.append(one.record)
        return found

    def _due(self, closing: Closing) -> dict[tuple[int, int], tuple[Any, ...]]:
        """Subject -> currency, model, amount, five kinds of units, how many were taken back, gross, refunded,
        carried, adjusted, micros."""
        closed = closing.record
        sold = closed.party.startswith("advertiser:")
        month: dict[tuple[int, int], list[int]] = {}
        before: defaultdict[tuple[int, int], int] = defaultdict(int)
        for key in self._keys[closed.party]:
            line_item, placement, of, kind = key
            subject = (line_item, 0) if sold else (line_item, placement)
            units, nanos, share, back, back_nanos, back_share = self.earned[key]
            gross, refunded = (nanos, back_nanos) if sold else (share, back_share)
            if of < closed.month:
                before[subject] += gross - refunded
            elif of == closed.month:
                counts = month.setdefault(subject, [0] * 8)
                if kind in _COLUMN:
                    counts[_COLUMN[kind]] += units
                for column, more in ((5, back), (6, gross), (7, refunded)):
                    counts[column] += more
        found = {}
        for subject in month.keys() | before.keys():
            nanos, micros = self._stated[closed.party].get(subject, (0, 0))
            adjusted = before[subject] - nanos
            if subject in month or adjusted:
                counts = month.get(subject, [0] * 8)
                carried = nanos - micros * _MICRO
                due = (carried + adjusted + counts[6] - counts[7]) // _MICRO
                found[subject] = (*self._said(closing, subject[0], sold), *counts, carried, adjusted, due)
        return found

    def _said(self, closing: Closing, line_item: int, sold: bool) -> tuple[Any, ...]:
        if not sold:
            return self._owners.currencies.get(line_item, ""), "", 0
        terms = closing.terms.get(line_item)
        return ("", "", 0) if terms is None else (terms.currency, terms.model, terms.amount_micros)


def _by_closing(billed: Moved, refunded: Moved, closings: list[int]) -> dict[int, dict[Key, list[int]]]:
    """Number of the next closing -> key -> [units, nanos, share, the same taken back]."""
    found: defaultdict[int, defaultdict[Key, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0] * 6))
    places = np.array(closings, np.int64)
    for back, one in enumerate((billed, refunded)):
        rows = one.rows
        months = rows["day"].astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        before = np.searchsorted(places, one.number)
        groups = Groups(rows["line_item"], rows["placement"], months, rows["kind"], before)
        sums = (groups.sums(units_of(rows)), groups.sums(rows["billed"]), groups.sums(one.share))
        for (*key, closing), *more in zip(groups.keys, *sums, strict=True):
            counts = found[closing][tuple(key)]
            for column, nanos in enumerate(more, 3 * back):
                counts[column] += nanos
    return {closing: dict(sums) for closing, sums in found.items()}


def units_of(rows: Array) -> Array:
    """How much of what is counted on statements each is: a day is the first part of its fee."""
    raw = np.ascontiguousarray(rows["id"]).view(np.uint8).reshape(-1, 16)
    further = (rows["kind"] == EventKind.FEE) & ((raw[:, 14] != 0) | (raw[:, 15] != 0))
    units: Array = np.where(further, 0, 1)
    return units
