"""What a month comes to, in the micros that people pay.

The books count in nanos; a statement rounds down once per line and month and carries the rest to the next
month. So after any number of months what was stated is what was billed, rounded down: nobody pays a micro
that was not earned, and none is lost. A month that is closed never changes; what moves in it afterwards (a
refund, an event that came late) is *adjusted* on the next statement.

A month is a number: months since 1970-01. The month of an event is that of its decision in the campaign's
time zone, for publishers too.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final

from msgspec import Struct

from adserver.domain.credits import Credit
from adserver.domain.decision import EventKind
from adserver.domain.money import NANOS_PER_MICRO

UNITS: Final = ("impressions", "viewable", "clicks", "conversions", "days")
"""What can be billed, a price each."""
FLAT: Final = 0
"""The kind, in the books, of what no event bills."""
UNIT_OF: Final = {
    FLAT: UNITS.index("days"),
    int(EventKind.IMPRESSION): UNITS.index("impressions"),
    int(EventKind.VIEWABLE): UNITS.index("viewable"),
    int(EventKind.CLICK): UNITS.index("clicks"),
    int(EventKind.CONVERSION): UNITS.index("conversions"),
}
"""By the kind of event that was billed."""

WESTERNMOST_MS: Final = 12 * 3600_000
"""A month ends last where it is UTC-12."""

Subject = tuple[int, int]
"""What a line is about: (line item, placement), on an advertiser's statement (line item, 0)."""

_EPOCH: Final = date(1970, 1, 1).toordinal()
_MONTH: Final = re.compile(r"(20[0-9]{2}|19[7-9][0-9])-(0[1-9]|1[0-2])\Z", re.ASCII)


@lru_cache(4096)
def month_of(day: int) -> int:
    """Of a day, days since 1970-01-01."""
    found = date.fromordinal(_EPOCH + day)
    return (found.year - 1970) * 12 + found.month - 1


def parse_month(text: str) -> int:
    """``"2026-11"`` -> 682. Raises ValueError."""
    found = _MONTH.match(text)
    if found is None:
        raise ValueError("a month is a year and a month, such as 2026-11")
    return (int(found[1]) - 1970) * 12 + int(found[2]) - 1


def month_text(month: int) -> str:
    return f"{1970 + month // 12:04d}-{month % 12 + 1:02d}"


def month_end_ms(month: int) -> int:
    """The instant it ends at in UTC."""
    following = month + 1
    return int(datetime(1970 + following // 12, following % 12 + 1, 1, tzinfo=UTC).timestamp() * 1000)


class Said(Struct, frozen=True):
    """What the books say of a line item, as its last terms told it."""

    currency: str
    model: str = ""
    amount_micros: int = 0


class Sold(Struct):
    """Of one subject and month. ``units``: what was billed, as in ``UNITS``; ``refunded``: how many of them
    were taken back. Nanos are the advertiser's bill, or what the publisher earns of it."""

    units: list[int]
    refunded: int = 0
    gross_nanos: int = 0
    refunded_nanos: int = 0


class Stated(Struct, frozen=True):
    """On all statements before: what they are about, and what they came to."""

    nanos: int = 0
    micros: int = 0


class Line(Struct, frozen=True, array_like=True):
    """``carried_nanos``: of the months before, less than a micro. ``adjusted_nanos``: what moved in closed
    months since they were stated. ``micros``: to be paid for this line; the rest is carried on. ``model`` and
    ``amount_micros``: how the line item is sold, as last told; publishers are not told."""

    line_item: int
    placement: int
    currency: str
    model: str
    amount_micros: int
    impressions: int
    viewable: int
    clicks: int
    conversions: int
    days: int
    refunded: int
    gross_nanos: int
    refunded_nanos: int
    carried_nanos: int
    adjusted_nanos: int
    micros: int

    @property
    def net_nanos(self) -> int:
        """What was sold in the month itself."""
        return self.gross_nanos - self.refunded_nanos

    @property
    def rest_nanos(self) -> int:
        """What the next month begins with."""
        whole = self.carried_nanos + self.adjusted_nanos + self.net_nanos
        return whole - self.micros * NANOS_PER_MICRO


_NOTHING: Final = Stated()


def lines(
    sold: Mapping[Subject, Sold],
    before: Mapping[Subject, int],
    stated: Mapping[Subject, Stated],
    said: Mapping[int, Said],
) -> list[Line]:
    """The lines of a month, by subject: of everything that was sold in it or is to be adjusted. ``before``:
    net nanos of all earlier months, as they are known now. A subject with nothing but a rest has no line;
    its rest stays."""
    found = []
    for subject in sorted(sold.keys() | before.keys()):
        known = stated.get(subject, _NOTHING)
        adjusted = before.get(subject, 0) - known.nanos
        mine = sold.get(subject)
        if mine is not None or adjusted:
            found.append(_line(subject, mine or Sold([0] * len(UNITS)), known, adjusted, said[subject[0]]))
    return found


def _line(subject: Subject, sold: Sold, known: Stated, adjusted: int, said: Said) -> Line:
    carried = known.nanos - known.micros * NANOS_PER_MICRO
    whole = carried + adjusted + sold.gross_nanos - sold.refunded_nanos
    impressions, viewable, clicks, conversions, days = sold.units
    return Line(
        *subject, said.currency, said.model, said.amount_micros,
        impressions, viewable, clicks, conversions, days, sold.refunded,
        sold.gross_nanos, sold.refunded_nanos, carried, adjusted, whole // NANOS_PER_MICRO,
    )  # fmt: skip


def in_order(before: Mapping[Subject, int]) -> dict[Subject, Stated]:
    """As if all months before had been stated one after the other: of a month that is read ahead."""
    return {subject: Stated(nanos, nanos // NANOS_PER_MICRO) for subject, nanos in before.items()}


def totals(found: Iterable[Line], credits: Iterable[Credit] = ()) -> tuple[tuple[str, int], ...]:
    """(currency, micros), by currency: they never mix. Credits come off, also below zero."""
    sums: dict[str, int] = {}
    for line in found:
        sums[line.currency] = sums.get(line.currency, 0) + line.micros
    for credit in credits:
        sums[credit.currency] = sums.get(credit.currency, 0) - credit.amount_micros
    return tuple(sorted(sums.items()))


class Proof(Struct, frozen=True):
    """Where a closing stands in the journal: up to this place of it everything was on disk, and its hash
    chain had this value (16 bytes)."""

    segment: int
    offset: int
    chain: bytes


class Statement(Struct, frozen=True):
    """``party``: ``advertiser:<serial>`` or ``publisher:<serial>``. ``closed_ms`` and ``proof``: of a month
    that is closed. ``line_items`` and ``placements``: full ids of line items and placements by serial."""

    party: str
    month: int
    lines: list[Line]
    credits: list[Credit] = []
    line_items: dict[int, str] = {}
    placements: dict[int, str] = {}
    closed: bool = False
    closed_ms: int | None = None
    proof: Proof | None = None
    first_open: int | None = None
    """The earliest month before this one that something was sold in and that is not closed."""
