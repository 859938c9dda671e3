"""A bill as its receiver checks it: by itself, and against exported events.

Nothing of it needs the server: the statement is the JSON that was sent, the events are those of an export up
to the place of the journal at which the month was closed. Told is every difference, in words.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from adserver.domain.money import NANOS_PER_MICRO

CLOSINGS: Final = "closings.json"
"""The file of an export that says which closings there are."""

UNITS_BY_KIND: Final = {
    "impression": "impressions",
    "viewable": "viewable",
    "click": "clicks",
    "conversion": "conversions",
    "fee": "days",
}
_COUNTED: Final = (*UNITS_BY_KIND.values(), "refunded", "gross_nanos", "refunded_nanos")


class Total(Struct, frozen=True):
    currency: str
    micros: int


class BillLine(Struct, frozen=True):
    """As on the wire (``api.statements``)."""

    campaign: str
    line_item: str
    currency: str
    impressions: int
    viewable: int
    clicks: int
    conversions: int
    refunded: int
    gross_nanos: int
    refunded_nanos: int
    carried_nanos: int
    adjusted_nanos: int
    micros: int
    rest_nanos: int
    placement: str = ""
    days: int = 0

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.placement, f"{self.campaign}/{self.line_item}") if part)


class BillCredit(Struct, frozen=True):
    currency: str
    micros: int


class BillPlace(Struct, frozen=True):
    segment: int
    offset: int
    chain: str


class Bill(Struct, frozen=True):
    month: str
    status: str
    totals: list[Total]
    lines: list[BillLine]
    advertiser: str = ""
    publisher: str = ""
    credits: list[BillCredit] = []
    journal: BillPlace | None = None


class Moved(Struct, frozen=True):
    """An exported event of the bill's advertiser. ``before``: of an earlier month; ``nanos``: negative where
    it was taken back; ``units``: 0 for a further part of a fee, whose day is counted once."""

    name: str
    kind: str
    before: bool
    currency: str
    nanos: int
    units: int = 1


class Closing(Struct, frozen=True):
    """As the journal tells it. ``place``: where in the journal it stands, as one number; ``stands``: whether
    it closed the month, None where it was not posted yet."""

    party: str
    owner: str
    month: str
    place: int
    journal: BillPlace
    totals: list[Total]
    stands: bool | None = None


class Exported(Struct, frozen=True):
    """``from_ms``, ``to_ms``: of which time events were exported; closings of all times."""

    from_ms: int
    to_ms: int
    closings: list[Closing]


def by_itself(bill: Bill) -> Iterator[str]:
    """What does not add up."""
    sums: defaultdict[str, int] = defaultdict(int)
    for name, times in Counter(line.name for line in bill.lines).items():
        if times > 1:
            yield f"{name}: stands twice"
    for line in bill.lines:
        sums[line.currency] += line.micros
        whole = line.carried_nanos + line.adjusted_nanos + line.gross_nanos - line.refunded_nanos
        if (line.micros, line.rest_nanos) != divmod(whole, NANOS_PER_MICRO):
            yield f"{line.name}: {whole} nanos are not {line.micros} micros and {line.rest_nanos} nanos"
        if not 0 <= line.carried_nanos < NANOS_PER_MICRO:
            yield f"{line.name}: {line.carried_nanos} nanos carried are not less than a micro"
    for credit in bill.credits:
        sums[credit.currency] -= credit.micros
        if credit.micros <= 0:
            yield f"a credit of {credit.micros} micros takes nothing off"
    stated = [(total.currency, total.micros) for total in bill.totals]
    if sorted(stated) != sorted(sums.items()):
        yield f"the totals are {stated}, lines and credits add up to {sorted(sums.items())}"


def against(bill: Bill, moved: Iterable[Moved], from_the_beginning: bool) -> Iterator[str]:
    """Where events say something else. ``from_the_beginning``: no event of earlier months is missing."""
    month: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    before: defaultdict[str, int] = defaultdict(int)
    currencies: defaultdict[str, set[str]] = defaultdict(set)
    for event in moved:
        currencies[event.name].add(event.currency)
        if event.before:
            before[event.name] += event.nanos
        else:
            _count(month[event.name], event)
    lines = {line.name: line for line in bill.lines}
    for name in sorted(month.keys() - lines.keys()):
        yield f"{name}: the events come to {dict(month[name])}, the statement has no line of it"
    for name, line in lines.items():
        if others := currencies[name] - {line.currency}:
            yield f"{name}: is in {line.currency}, the events are in {', '.join(sorted(others))}"
        for counted in _COUNTED:
            stated, found = getattr(line, counted), month[name][counted]
            if stated != found:
                yield f"{name}: {counted} {stated}, the events come to {found}"
        # What was stated of the months before was whole micros.
        brought = line.carried_nanos + line.adjusted_nanos
        if from_the_beginning and (brought - before[name]) % NANOS_PER_MICRO:
            yield f"{name}: {brought} nanos brought do not go on from {before[name]} of the months before"


def _count(counts: defaultdict[str, int], event: Moved) -> None:
    if event.nanos < 0:
        counts["refunded"] += event.units
        counts["refunded_nanos"] -= event.nanos
    else:
        counts[UNITS_BY_KIND.get(event.kind, event.kind)] += event.units
        counts["gross_nanos"] += event.nanos


def cited(bill: Bill, closings: Sequence[Closing]) -> Closing | None:
    """Of the closings of its month the one that the bill must be: where money moved at that moment one closed
    nothing, and there may be another behind it. Of several that may stand the one it cites, else the last."""
    standing = [one for one in closings if one.stands is not False]
    last = standing[-1] if standing else None
    return next((one for one in standing if one.journal == bill.journal), last)


def as_closed(bill: Bill, closing: Closing | None) -> Iterator[str]:
    """Where the bill and the closing in the journal disagree. Nobody closes a month in which nothing was
    sold: it is closed with the one behind it."""
    if bill.status != "closed":
        if closing is not None:
            yield "the statement is open, and the month was closed: ask for it again"
        return
    if closing is None:
        if bill.lines or bill.credits or bill.journal is not None:
            yield "the statement is closed, the export knows no closing of it"
        return
    if bill.journal != closing.journal:
        yield f"the statement cites {bill.journal}, the journal {closing.journal}"
    if sorted(map(repr, bill.totals)) != sorted(map(repr, closing.totals)):
        yield f"the statement's totals are {bill.totals}, the journal closed {closing.totals}"
