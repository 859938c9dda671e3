"""What an audit costs: ``adserver verify`` over a journal of so many records, and the ledger posted from it.

``python -m loadtests.bench_audit --records 10000000 --work DIR``: writes a week of decisions and events as a
server would (or takes the folder that is there), posts them, and audits them in a process of its own. Prints
how long that took by the clock and by the processor, and the most memory it held. The audit must find
nothing: line items have caps, three levels of budgets have limits, every fifth decision is a page of a feed,
and of the events some are filtered, over budget or taken back.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from adserver.domain import ids
from adserver.domain.campaign import MODELS
from adserver.domain.decision import Ad, Decision, EventKind, FeedPage, Slot, event_id
from adserver.domain.records import (
    BudgetTerms,
    CapTerms,
    Decided,
    LineItemTerms,
    Personal,
    PlacementTerms,
    Record,
    Recorded,
    Reversed,
    Status,
)
from adserver.ledger.journal import Journal
from adserver.ledger.place import LEDGER
from adserver.ledger.poster import Poster
from adserver.ledger.reader import JOURNAL, Reader
from adserver.ledger.writer import LedgerWriter
from loadtests.server import ROOT

GOAL_S: Final = 300.0
_SEED: Final = 20261122
_LINE_ITEMS: Final = 2_000
_PER_CAMPAIGN: Final = 10
_PEOPLE: Final = 200_000
_FEED: Final = 1
_PLACES: Final = range(2, 20)
_START_MS: Final = 1_800_000_000_000
_WEEK_MS: Final = 7 * 86_400_000
_DAY_MS: Final = 86_400_000
_SEGMENT_BYTES: Final = 256 * 2**20
_PLENTY: Final = 10**16


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtests.bench_audit", description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--work", type=Path, help="kept, for the next time")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="adserver-audit-") as folder:
        data = asked.work or Path(folder)
        if not (data / JOURNAL).exists():
            write(data, asked.records)
        if not (data / LEDGER).exists():
            post(data)
        audit(data)


def write(data: Path, records: int) -> None:
    """A journal of about so many records."""
    began = time.perf_counter()
    data.mkdir(parents=True, exist_ok=True)
    journal = Journal(data / JOURNAL, _SEGMENT_BYTES)
    written = 0
    for record, personal in Week(records):
        journal.append(record, personal)
        written += 1
    journal.close()
    print(f"{written} records written in {time.perf_counter() - began:.0f} s", flush=True)


def post(data: Path) -> None:
    """The ledger of what the journal says."""
    began = time.perf_counter()
    ledger, reader = LedgerWriter(data / LEDGER), Reader(data / JOURNAL)
    Poster(reader, ledger).drain()
    reader.close()
    ledger.close()
    print(f"posted in {time.perf_counter() - began:.0f} s", flush=True)


def audit(data: Path) -> None:
    began = time.perf_counter()
    command = [sys.executable, "-m", "adserver", "verify", "--data", str(data)]
    process = subprocess.Popen(command, cwd=ROOT)
    _, status, used = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    met = status == 0 and took <= GOAL_S
    print(
        f"VERDICT {'met' if met else 'NOT MET'}: {took:.0f} s by the clock, "
        f"{used.ru_utime + used.ru_stime:.0f} s of the processor, {used.ru_maxrss / 2**20:.1f} GiB; "
        f"ended with {os.waitstatus_to_exitcode(status)} (goal 0, <= {GOAL_S:g} s)"
    )


class Week:
    """Records of a week, about so many."""

    def __init__(self, records: int) -> None:
        self._left = records
        self._records = records
        self._chance = Random(_SEED)
        self._number = 0

    def __iter__(self) -> Iterator[tuple[Record, Personal | None]]:
        for serial in range(1, _LINE_ITEMS + 1):
            yield _terms(serial), None
        yield _placement(_FEED), None
        for place in _PLACES:
            yield _placement(place), None
        while self._left > 0:
            yield from self._visit()

    def _visit(self) -> Iterator[tuple[Record, Personal | None]]:
        chance = self._chance
        self._number += 1
        at_ms = _START_MS + _WEEK_MS * (self._records - self._left) // self._records
        request_id = ids.mint(at_ms, self._number, 0)
        who = chance.randrange(_PEOPLE).to_bytes(16, "big")
        personal = Personal(chance.randbytes(8), who, who)
        place = _FEED if self._number % 5 == 0 else chance.choice(_PLACES)
        items = chance.sample(range(1, _LINE_ITEMS + 1), 1 if place == _FEED else chance.choice((1, 2, 3, 4)))
        ads = tuple(_ad(index, item, place) for index, item in enumerate(items, 1))
        feed = _page(self._number) if place == _FEED else None
        slot = Slot(place, f"p{place}", ads, expires_ms=at_ms + 900_000, feed=feed)
        self._left -= 1
        yield Decided(Decision(request_id, 1, self._number, (slot,))), personal
        for ad in ads:
            for event in self._events(request_id, ad, place, at_ms):
                self._left -= 1
                yield event, personal if isinstance(event, Recorded) else None

    def _events(self, request_id: bytes, ad: Ad, place: int, at_ms: int) -> Iterator[Record]:
        chance, ident = self._chance, event_id(request_id, ad.index)
        if chance.random() > 0.85:
            return
        yield (seen := _event(ident, ad, place, EventKind.IMPRESSION, at_ms + 900))
        if chance.random() < 0.6:
            yield _event(ident, ad, place, EventKind.VIEWABLE, at_ms + 2_000)
        if chance.random() < 0.02:
            click = _event(ident, ad, place, EventKind.CLICK, at_ms + 5_000)
            yield click if chance.random() < 0.9 else _filtered(click)
        if chance.random() < 0.001:
            yield Reversed(
                seen.event_id, seen.kind, at_ms + 9_000, seen.line_item, seen.creative, seen.placement,
                seen.day, seen.billed_nanos, "a farm",
            )  # fmt: skip


def _terms(serial: int) -> LineItemTerms:
    campaign, advertiser = serial // _PER_CAMPAIGN + 1, serial // (10 * _PER_CAMPAIGN) + 1
    levels = (f"line_item:{serial}", f"campaign:{campaign}", f"advertiser:{advertiser}")
    budgets = tuple(
        BudgetTerms(name, period, _PLENTY, "UTC") for name in levels for period in ("lifetime", "day")
    )
    caps = (CapTerms(f"line_item:{serial}", 20, _DAY_MS, "impression"),) if serial % 2 else ()
    return LineItemTerms(
        _START_MS, 1, serial, f"brand-{advertiser}/c{campaign}/l{serial}", campaign, advertiser, "EUR", "UTC",
        "cpm", 1_000_000 + serial, caps, budgets, ((serial, serial),),
    )  # fmt: skip


def _placement(serial: int) -> PlacementTerms:
    terms = PlacementTerms(_START_MS, 1, serial, f"gazette/p{serial}", serial // 5 + 1, "EUR")
    if serial != _FEED:
        return terms
    return PlacementTerms(
        _START_MS, 1, serial, "gazette/feed", 1, "EUR", share_num=6, share_den=100, account_idle_ms=_DAY_MS
    )


def _ad(index: int, item: int, place: int) -> Ad:
    price = 1_000_000 + item
    return Ad(index, item, item, price, price, price, 16 if place == _FEED else -1, model=MODELS.index("cpm"))


def _page(number: int) -> FeedPage:
    """The first of an account of its own: one ad at the first position that the share allows."""
    return FeedPage(number.to_bytes(16, "big"), "main", 0, 0, 21, 20, 1)


def _event(ident: bytes, ad: Ad, place: int, kind: EventKind, at_ms: int) -> Recorded:
    day = ids.minted_ms(ident) // _DAY_MS
    billed = ad.price_nanos if kind is EventKind.IMPRESSION else 0
    unbilled = 0 if billed else 6
    return Recorded(
        ident, int(kind), int(Status.ACCEPTED), at_ms, ad.line_item, ad.creative, place, billed, unbilled, day
    )


def _filtered(event: Recorded) -> Recorded:
    return Recorded(
        event.event_id, event.kind, int(Status.FILTERED), event.at_ms, event.line_item, event.creative,
        event.placement, 0, 4, event.day, "a crawler",
    )  # fmt: skip


if __name__ == "__main__":
    main()
