"""A data directory without fault, to be broken one way at a time."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import msgspec
from ledger_samples import (
    DAY,
    NOW_MS,
    PRICE,
    budget,
    converted,
    decided,
    page,
    person,
    placement,
    recorded,
    request,
    reversed_,
    tallied,
    terms,
)
from plain_books import Books as PlainBooks

from adserver.databases import Place
from adserver.domain import counted
from adserver.domain.counted import event_of
from adserver.domain.decision import EventKind, Origin
from adserver.domain.fees import Accrued
from adserver.domain.records import (
    Closed,
    Credited,
    Decided,
    Personal,
    Record,
    Recorded,
    Released,
    Status,
    Unbilled,
)
from adserver.domain.statements import month_of
from adserver.ledger.journal import Journal
from adserver.ledger.place import LEDGER
from adserver.ledger.poster import Poster
from adserver.ledger.reader import Reader
from adserver.ledger.verify import verify
from adserver.ledger.writer import LedgerWriter

DAY_MS = 86_400_000
MONTH = month_of(DAY)
Totals = tuple[tuple[str, int], ...]


def sound() -> list[Record]:
    """A journal without fault: decisions, events of every verdict, feeds, a lowered budget, a share."""
    feed = placement(9, share_num=6, share_den=100, account_idle_ms=1000)
    records: list[Record] = [
        terms(1, (budget("line_item:1", 100 * PRICE), budget("campaign:10", 30 * PRICE, "day"))),
        terms(2, (budget("campaign:10", 30 * PRICE, "day"),), model="cpc"),
        placement(),
        feed,
    ]
    promised = []
    for number in range(1, 25):
        mine = request(number, NOW_MS + number * 1000)
        records.append(decided(mine, (1, 2), clicked=2))
        promised.append(mine)
    records.append(terms(1, (budget("line_item:1", 5 * PRICE),), at_ms=NOW_MS + 30_000, revision=2))
    records.append(placement(revenue_share_ppm=700_001))
    for number, mine in enumerate(promised, 1):
        if number % 5 == 0:
            records.append(recorded(mine, status=Status.FILTERED, unbilled=Unbilled.FILTERED))
        if number % 7 == 0:
            records.append(
                recorded(mine, status=Status.EXPIRED, unbilled=Unbilled.EXPIRED, after_ms=1_000_000)
            )
        else:
            records.append(recorded(mine))
        if number % 3 == 0:
            records.append(recorded(mine, 2, EventKind.CLICK, line_item=2, billed=PRICE))
        elif number % 3 == 1:
            over = {"unbilled": Unbilled.OVER_BUDGET, "free": PRICE}
            records.append(recorded(mine, 2, EventKind.CLICK, line_item=2, **over))  # type: ignore[arg-type]
        else:
            records.append(Released(recorded(mine, 2).event_id, NOW_MS + 60_000, 2))
    taken_back = [r for r in records if isinstance(r, Recorded) and r.status == Status.ACCEPTED]
    records += [reversed_(event) for event in taken_back[::9]]
    records += [credited("a", "deposit", 10**6), credited("b"), credited("b")]
    for party in ("advertiser:20", "publisher:3"):
        records.append(closes(records, party, MONTH, NOW_MS + 10**9))
    records += [reversed_(event) for event in taken_back[1::9]]
    records.append(credited("c", "make_good", 7))
    records += conversions()
    records += fees()
    tested = request(900)
    records += [decided(tested, mode=1), recorded(tested, test=True, unbilled=Unbilled.TEST)]
    first = page(request(801), 0, 0, 21, ((16, 1),), place=9)
    slot = first.decision.slots[0]
    again = msgspec.structs.replace(slot, repeated=Origin(first.decision.request_id, 0, 0))
    decision = msgspec.structs.replace(first.decision, request_id=request(802), slots=(again,))
    records += [first, msgspec.structs.replace(first, decision=decision)]
    records.append(tallied(1, *records, unanswered=3))
    last = page(request(803), 1, 21, 21, ((33, 1),), place=9)
    return [*records, last, tallied(2, last)]


def person_of(record: Record) -> Personal | None:
    """Some of the readers are somebody else, one in four nobody."""
    if isinstance(record, Decided):
        return person()
    number = record.event_id[13] % 4 if isinstance(record, Recorded) else 0
    return person(number << 64) if number else None


def conversions() -> list[Record]:
    """Of a line item sold by them and of one that is not: billed, repeated, over budget, owed to a view, owed
    to nobody, and one taken back with its click."""
    sold = [request(number, NOW_MS + number) for number in (701, 702, 703)]
    records: list[Record] = [terms(3, (budget("line_item:3", 2 * PRICE),), model="cpa")]
    shown, clicks = list[Recorded](), list[Recorded]()
    for mine in sold:
        shown.append(recorded(mine, line_item=3, unbilled=Unbilled.NOT_BILLABLE))
        clicks.append(
            recorded(mine, kind=EventKind.CLICK, line_item=3, unbilled=Unbilled.NOT_BILLABLE, after_ms=2000)
        )
        records += [decided(mine, (3,), converted=3), shown[-1], clicks[-1]]
    first = converted(1, clicks[0], PRICE)
    back = reversed_(clicks[0])
    owed = event_of(first)
    assert owed is not None
    records += [first, converted(2, clicks[0], unbilled=Unbilled.REPEATED), converted(3, shown[1], PRICE)]
    records += [converted(4, clicks[2], unbilled=Unbilled.OVER_BUDGET), converted(5), back, reversed_(owed)]
    free = recorded(request(2, NOW_MS + 2000))
    return [*records, converted(6, free, unbilled=Unbilled.NOT_BILLABLE, after_ms=86_399_999)]


def fees() -> list[Record]:
    """Of a line item sold for three days: one at two placements, one that is found over budget, one of which
    nothing is left that counts; a click, impressions and a part of a fee are taken back."""
    price = 100 * PRICE
    flat = terms(4, (budget("line_item:4", 80 * 1000 * PRICE),), model="flat")
    flat = msgspec.structs.replace(flat, amount_micros=price, first_day=DAY, days=3)
    records: list[Record] = [placement(8, publisher=5), flat]
    events = list[Recorded]()
    for number, (day, place) in enumerate(((0, 7), (0, 8), (0, 7), (0, 7), (1, 8), (2, 7)), 601):
        mine = request(number, DAY * DAY_MS + day * DAY_MS + 61_000)
        records.append(decided(mine, (4,), place, flat=4))
        events.append(recorded(mine, line_item=4, place=place, unbilled=Unbilled.FLAT))
        records.append(events[-1])
    click = recorded(request(602, DAY * DAY_MS + 61_000), kind=EventKind.CLICK, line_item=4, place=8,
                     unbilled=Unbilled.FLAT, after_ms=2000)  # fmt: skip
    records += [click, reversed_(click), reversed_(events[0], 1), reversed_(events[5], 1)]
    whole = price * 1000
    first = whole // 3
    records.append(_fee(0, 0, ((7, 2, first * 2 // 3), (8, 1, first // 3 + 1))))
    records.append(_fee(1, int(Unbilled.OVER_BUDGET), ((8, 1, whole * 2 // 3 - first),)))
    parts = counted.events_of(records[-2])
    return [*records, reversed_(parts[1]), reversed_(events[1])]


def _fee(day: int, unbilled: int, parts: tuple[tuple[int, int, int], ...]) -> Accrued:
    start_ms = (DAY + day) * DAY_MS
    return Accrued(4, DAY + day, start_ms, start_ms + DAY_MS, unbilled, parts)


def credited(name: str, kind: str = "credit", micros: int = 5000) -> Credited:
    return Credited(name, 20, kind, "EUR", micros, NOW_MS, "an excuse")


def closes(
    records: Iterable[Record], party: str, month: int, at_ms: int, totals: Totals | None = None
) -> Closed:
    """One that stands behind these records, unless other totals are given; it cites the journal's start."""
    books = PlainBooks(lambda _: None)
    for record in records:
        books.take(record)
    said = books.due(party, month)[1] if totals is None else totals
    return Closed(party, month, at_ms, said, 0, 0, bytes(16))


def keep(
    directory: Path, records: Iterable[Record], holder: int | None = None, place: Place | None = None
) -> Path:
    """Journal and post them, out of the leases of a ``holder``; into the ledger there, or at ``place``."""
    journal = Journal(directory / "journal", 16 * 1024)
    for record in records:
        journal.append(record, person_of(record))
    journal.close()
    ledger = LedgerWriter(place or directory / LEDGER, holder=holder)
    with closing(Reader(directory / "journal")) as reader:
        Poster(reader, ledger).drain()
    ledger.close()
    return directory


def differences(directory: Path) -> list[str]:
    lines: list[str] = []
    found = verify(directory, lines.append)
    assert set(found) <= set(lines)
    return found
