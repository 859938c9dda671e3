"""What reports are made from: what events add up to by quarter of an hour, and who saw them.

A cell is a quarter of an hour (UTC) of the *decision*, a line item, a version of a creative, a placement, a
country and a device. Every hour and day of every time zone is a sum of cells, since zones differ by whole
quarters. A batch adds its cells up in memory and adds each to the ledger's once, in the transaction of its
events; so reports, totals and entries cannot disagree. Cost: some 4 µs an event, 3 µs a cell.

People are kept apart, an impression each, and by event id, which begins with the decision's time: so reach is
exact over any time and group, an invalid impression's person is gone with it, and old ones are removed from
one end.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import add, attrgetter
from typing import Any, Final

from adserver.domain.decision import EventKind
from adserver.domain.records import LineItemTerms, Personal, Record, Recorded, Reversed, Status, Tallied
from adserver.ledger.rolled import ROLLED

QUARTER_MS: Final = 900_000

Cell = tuple[int, int, int, int, str, int]
"""(quarter since the epoch, line item, creative, placement, country, device)."""
Asked = tuple[int, int, str, int]
"""(quarter, placement, country, device)."""

Numbers = tuple[int, int, int, int]
"""What an accepted event adds to its cell: one to the number of its kind, and to ``PAID``."""
PAID: Final = ("billed_nanos", "free_nanos", "earned_nanos")
Kinds = dict[tuple[Any, ...], Numbers]
"""By line item, creative, placement, country and device: of one quarter and one kind of event."""

EARNED: Final = ROLLED.index("earned_nanos")
"""Its place in a cell."""
_ID: Final = attrgetter("event_id")
_KIND: Final = attrgetter("kind")
_WHERE: Final = attrgetter("line_item", "creative", "placement", "country", "device")
_IMPRESSION: Final = int(EventKind.IMPRESSION)
_IS_ACCEPTED: Final = int(Status.ACCEPTED)


def seen_by(records: Iterable[tuple[Record, Personal | None]]) -> Iterator[tuple[bytes, int]]:
    """(event id, person) of impressions whose person is known: 64 bits of the pseudonym, as a signed
    number."""
    for record, personal in records:
        if personal is None or personal.subject is None:
            continue
        if isinstance(record, Recorded) and record.kind == _IMPRESSION and record.status == _IS_ACCEPTED:
            yield record.event_id, int.from_bytes(personal.subject[:8], "big", signed=True)


def quarter_of(event_id: bytes) -> int:
    """Since the epoch: that of its decision."""
    return int.from_bytes(event_id[:6], "big") // QUARTER_MS


class Rollups:
    """What one batch adds. ``cells``: of whatever is told one by one; ``added``: beside those, of accepted
    events that are told together, by quarter and kind of event. ``seen``: event id -> person; ``unseen``: ids
    of impressions taken back; ``tallied``: the number of the last tally of this journal so far, in the ledger
    or here, marked in the ledger as ``mark``."""

    def __init__(self, mark: str, tallied: int, people: Mapping[bytes, int]) -> None:
        self.cells: defaultdict[Cell, list[int]] = defaultdict(lambda: [0] * len(ROLLED))
        self.added: defaultdict[tuple[int, int], Kinds] = defaultdict(dict)
        self.requests: defaultdict[Asked, list[int]] = defaultdict(lambda: [0, 0, 0])
        self.creatives: dict[int, int] = {}
        self.seen: dict[bytes, int] = {}
        self.unseen: list[bytes] = []
        self.mark = mark
        self.tallied = tallied
        self._people = people
        self._event: Recorded | Reversed | None = None
        self._cell: list[int] = []

    def cell(self, event: Recorded | Reversed) -> list[int]:
        """The numbers of ``ROLLED`` that it moves; the same is often asked twice in a row."""
        if event is not self._event:
            self._event, self._cell = event, self._find(event)
        return self._cell

    def _find(self, event: Recorded | Reversed) -> list[int]:
        quarter = quarter_of(event.event_id)
        return self.cells[
            quarter, event.line_item, event.creative, event.placement, event.country, event.device
        ]

    def add(self, events: Sequence[Recorded], numbers: Iterable[Numbers]) -> None:
        """Accepted events, and what each adds. Nearly always each has a cell of its own."""
        for cells, where, more in zip(self._kinds(events), map(_WHERE, events), numbers, strict=False):
            known = cells.get(where)
            cells[where] = more if known is None else tuple(map(add, known, more))

    def _kinds(self, events: Sequence[Recorded]) -> Iterable[Kinds]:
        """Of each; of most batches the same for all."""
        ids, kinds = list(map(_ID, events)), set(map(_KIND, events))
        if ids and len(kinds) == 1 and quarter_of(min(ids)) == quarter_of(max(ids)):
            return repeat(self.added[quarter_of(ids[0]), kinds.pop()])
        return (self.added[quarter_of(event.event_id), event.kind] for event in events)

    def learn(self, terms: LineItemTerms) -> None:
        self.creatives.update(terms.creatives)

    def earn(self, event: Recorded | Reversed, nanos: int) -> None:
        """The publisher's; negative where it is taken back."""
        self.cell(event)[EARNED] += nanos

    def see(self, events: Iterable[Recorded]) -> None:
        """Events that are in no book yet, and no tests."""
        people = self._people
        for event in events:
            if event.event_id in people and event.kind == _IMPRESSION and event.status == _IS_ACCEPTED:
                self.seen[event.event_id] = people[event.event_id]

    def unsee(self, found: Reversed) -> None:
        if found.kind == _IMPRESSION:
            self.seen.pop(found.event_id, None)
            self.unseen.append(found.event_id)

    def tally(self, record: Tallied) -> None:
        """Once, however often it is posted: they are numbered in order."""
        if record.number <= self.tallied:
            return
        self.tallied = record.number
        for quarter, placement, country, device, *counts in record.cells:
            known = self.requests[quarter, placement, country, device]
            for place, count in enumerate(counts):
                known[place] += count
