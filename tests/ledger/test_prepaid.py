"""Who pays ahead, in the books: what the ledger refuses, what the audit tells, and several processes."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from ledger_samples import NOW_MS, PRICE, budget, decided, placement, recorded, request, terms
from test_leases import TILLS, opened, sell, shelf, show
from till import Shelf
from verified_samples import credited, differences, keep

from adserver.domain.records import Credited, Record, Unbilled
from adserver.ledger.guards import WINDOW_MS
from adserver.ledger.leases import Leases
from adserver.ledger.writer import LedgerWriter

AHEAD = budget("advertiser:20", 0, "prepaid")
PRICE_MICROS = PRICE // 1000
SOLD_MS = NOW_MS + WINDOW_MS + 1
"""So long after the terms that whatever was promised before them is over."""


def sold(number: int, billed: int = PRICE) -> list[Record]:
    mine = request(number, SOLD_MS + number)
    unbilled = Unbilled.NONE if billed else Unbilled.OVER_BUDGET
    free = PRICE - billed
    return [decided(mine), recorded(mine, billed=billed, unbilled=unbilled, free=free)]


def paid(name: str, prices: int, kind: str = "deposit") -> Credited:
    return credited(name, kind, prices * PRICE_MICROS)


def told(tmp_path: Path, *records: Record) -> list[str]:
    return differences(keep(tmp_path, [terms(1, (AHEAD,)), placement(), *records]))


def test_billed_up_to_what_was_paid_in(tmp_path: Path) -> None:
    assert (
        told(tmp_path, paid("a", 2), *sold(1), paid("b", 1, "credit"), *sold(2), *sold(3), *sold(4, 0)) == []
    )


OVER = {
    "nothing was paid in": (0, sold(1)),
    "not yet": (0, [*sold(1), paid("a", 1)]),
    "more than was": (1, [paid("a", 1), *sold(1), *sold(2)]),
    "the same twice": (1, [paid("a", 1), paid("a", 1), *sold(1), *sold(2)]),
    "somebody else's": (0, [msgspec.structs.replace(paid("a", 2), advertiser=21), *sold(1)]),
    "in another currency": (0, [msgspec.structs.replace(paid("a", 2), currency="USD"), *sold(1)]),
    "more than the budget": (
        0,
        [
            terms(1, (AHEAD, budget("advertiser:20", 0)), revision=2, at_ms=NOW_MS + 1),
            paid("a", 2),
            *sold(1),
        ],
    ),
}
"""What the ledger bills all the same, in prices."""


@pytest.mark.parametrize(("prices", "records"), OVER.values(), ids=OVER.keys())
def test_whatever_is_billed_beyond_it_is_told_and_not_posted(
    tmp_path: Path, prices: int, records: list[Record]
) -> None:
    lines = told(tmp_path, *records)
    assert any("advertiser:20 lifetime billed" in line for line in lines), lines
    wanted = "SELECT coalesce(sum(billed_nanos), 0) FROM budgets WHERE account = 'advertiser:20' AND day < 0"
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as books:
        assert books.execute(wanted).fetchone() == (prices * PRICE,)


def test_what_was_promised_before_it_pays_ahead_stands(tmp_path: Path) -> None:
    """Decided while it was invoiced: of the books' own second look nothing is refused either."""
    mine = request(1, NOW_MS + 1)
    records = [
        terms(1), placement(), decided(mine),
        terms(1, (AHEAD,), revision=2, at_ms=NOW_MS + 2), recorded(mine),
    ]  # fmt: skip
    assert differences(keep(tmp_path, records)) == []


def test_a_ledger_opened_again_knows_what_was_paid_in(tmp_path: Path) -> None:
    keep(tmp_path, [terms(1, (AHEAD,)), placement(), paid("a", 2), *sold(1)])
    with closing(LedgerWriter(tmp_path / "ledger.sqlite")) as books:
        behind = msgspec.structs.replace(books.position, segment=2)
        books.post([*sold(2), *sold(3)], behind)
        assert books.refused == 1
        assert list(books.paid_in()) == [(20, "EUR", 2 * PRICE_MICROS)]


# -- several processes -----------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def closing_tills() -> Iterator[None]:
    yield
    while TILLS:
        TILLS.pop().close()


def ahead(revision: int = 1, **units: int) -> Shelf:
    stock = shelf(revision, **units)
    stock.limits["advertiser:20", "prepaid"] = 0
    return stock


def test_a_deposit_in_one_process_is_spent_by_all_and_not_twice(tmp_path: Path) -> None:
    one, other = opened(tmp_path, 0, ahead()), opened(tmp_path, 1, ahead())
    assert sell(one, 1) == sell(other, 1) == []
    one.deposit("a", 20, 1, NOW_MS)
    assert sell(one, 1) == [], "it is not posted"
    one.post()
    for till in (one, other):
        till.turn(NOW_MS)
    sales = {till.number: sell(till, 4) for till in (one, other)}
    for till in (other, one, other, one):
        till.turn(NOW_MS)
        sales[till.number] += sell(till)
    assert sum(map(len, sales.values())) == 10
    for till in (one, other):
        show(till, sales[till.number])
        till.post()
    assert differences(tmp_path) == []


def test_a_process_that_was_killed_goes_on_with_what_is_left(tmp_path: Path) -> None:
    one = opened(tmp_path, 0, ahead())
    one.deposit("a", 20, 1, NOW_MS)
    one.post()
    one.turn(NOW_MS)
    sales = sell(one, 3)
    TILLS.remove(one)
    one.close()
    one = opened(tmp_path, 0, ahead())
    show(one, sales)
    sales = sell(one)
    assert len(sales) == 7
    show(one, sales)
    one.post()
    assert differences(tmp_path) == []


def test_who_begins_to_pay_ahead_takes_leases_back(tmp_path: Path) -> None:
    """What is free of a lease is no longer to be spent; what was promised under it is."""
    one = opened(tmp_path, 0, shelf(advertiser=100))
    sales = sell(one, 4)
    one.follow(ahead(2, advertiser=100), NOW_MS + 1)
    assert one.sell([1], NOW_MS + 1) == []
    show(one, sales, NOW_MS + 1)
    one.turn(NOW_MS + 1)
    assert sell(one, 1, NOW_MS + 1) == []
    one.post()
    assert differences(tmp_path) == []
    assert Leases(tmp_path / "ledger.sqlite", 0).join(2)["advertiser:20", -1].granted_nanos == 400
