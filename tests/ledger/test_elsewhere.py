"""What of the books is other processes': asked of either database."""

from contextlib import closing

from ledger_samples import NOW_MS, PRICE, budget, decided, placement, recorded, request, terms

from adserver.databases import Place
from adserver.domain.books import Position
from adserver.ledger.accounts import LIFETIME
from adserver.ledger.leases import Leases
from adserver.ledger.ledger import Ledger
from adserver.ledger.writer import LedgerWriter

ACCOUNT = ("line_item:1", LIFETIME)


def sold(place: Place, holder: int, first: int, number: int) -> None:
    """So many impressions of line item 1, posted by one process."""
    records = [terms(1, (budget("line_item:1", 10**6 * PRICE),)), placement()]
    for serial in range(first, first + number):
        mine = request(serial, NOW_MS + serial)
        records += [decided(mine), recorded(mine)]
    with closing(LedgerWriter(place, f"posting:{holder}", holder)) as books:
        books.post(records, Position(1, 100 * number))


def test_what_is_posted_of_others(place: Place) -> None:
    sold(place, 1, 0, 3)
    sold(place, 2, 10, 5)
    with closing(Ledger(place, "posting:1")) as ledger:
        assert ledger.sold_after(-1, 10) == [1]
        assert ledger.sold_after(1, 10) == []
        [totals] = ledger.totals_of([1, 7])
        assert (totals.line_item, totals.impressions, totals.billed_nanos) == (1, 8, 8 * PRICE)
        nobody = ("line_item:7", LIFETIME)
        assert ledger.billed_elsewhere(1, [ACCOUNT, nobody]) == {ACCOUNT: 5 * PRICE}
        assert ledger.billed_elsewhere(2, [ACCOUNT]) == {ACCOUNT: 3 * PRICE}
        assert ledger.billed_elsewhere(3, [ACCOUNT]) == {ACCOUNT: 8 * PRICE}


def test_who_shares_is_known_until_nobody_does(place: Place) -> None:
    sold(place, 1, 0, 1)
    with (
        closing(Ledger(place)) as ledger,
        closing(Leases(place, 0)) as mine,
        closing(Leases(place, 4)) as other,
    ):
        assert ledger.holders() == set()
        mine.join(1)
        other.join(1)
        assert ledger.holders() == {0, 4}
        mine.dissolve()
        assert ledger.holders() == set()
        assert mine.join(1) == {}
