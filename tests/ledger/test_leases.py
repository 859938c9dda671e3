"""Leases: what a process may spend of a budget that others spend from too."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from till import RENDER_MS, Item, Sale, Shelf, Till
from verified_samples import differences

from adserver.domain import limits
from adserver.ledger.accounts import Account
from adserver.ledger.leases import Held, Leases, Settled
from adserver.ledger.leasing import Leasing
from adserver.ledger.machines import shares
from adserver.ledger.writer import LedgerWriter

TILLS: list[Till] = []


@pytest.fixture(autouse=True)
def closing_tills() -> Iterator[None]:
    yield
    while TILLS:
        TILLS.pop().close()


def opened(data: Path, number: int, stock: Shelf) -> Till:
    TILLS.append(Till(data, number, stock, NOW_MS))
    return TILLS[-1]


NOW_MS = 1_800_000_000_000
ONE = Item(1, 10, 20, 100)
LIFETIME = ("line_item:1", "lifetime")
CAMPAIGN = ("campaign:10", "lifetime")


def test_it_is_known_at_once_that_budgets_are_leased(tmp_path: Path) -> None:
    """Also before a second process has a journal: what the first decides depends on its leases already."""
    place = tmp_path / "ledger.sqlite"
    assert not shares(place)
    LedgerWriter(place).close()
    assert not shares(place)
    with closing(Leases(place, 0)) as leases:
        leases.join(1)
    assert shares(place)


def shelf(revision: int = 1, *items: Item, **units: int) -> Shelf:
    """Limits by level, in prices of the first line item."""
    names = {"line_item": "line_item:1", "campaign": "campaign:10", "advertiser": "advertiser:20"}
    given = {(names[level], "lifetime"): 100 * count for level, count in units.items()}
    return Shelf(items or (ONE,), given, revision)


def sell(till: Till, most: int = 1000, now_ms: int = NOW_MS) -> list[Sale]:
    """As many as there is money for, asking for leases in between."""
    sold = list[Sale]()
    while len(sold) < most:
        found = till.sell([1], now_ms)
        sold += found
        if not found:
            till.turn(now_ms)
            found = till.sell([1], now_ms)
            if not found:
                return sold
            sold += found
    return sold


def show(till: Till, sales: list[Sale], now_ms: int = NOW_MS) -> None:
    assert all(till.show(sale, now_ms) for sale in sales)


def billed(data: Path) -> int:
    with closing(sqlite3.connect(data / "ledger.sqlite")) as books:
        return int(books.execute("SELECT sum(billed_nanos) FROM totals WHERE day = -1").fetchone()[0] or 0)


def test_alone_it_spends_all_and_no_more(tmp_path: Path) -> None:
    till = opened(tmp_path, 1, shelf(campaign=30))
    sold = sell(till)
    assert len(sold) == 30
    show(till, sold)
    till.leave(NOW_MS)
    assert billed(tmp_path) == 3000
    assert differences(tmp_path) == []


def test_two_share_what_there_is(tmp_path: Path) -> None:
    """However they take turns; the last price goes to whoever asks."""
    first, second = (opened(tmp_path, number, shelf(campaign=31, line_item=40)) for number in (1, 2))
    sold: dict[Till, list[Sale]] = {first: [], second: []}
    for _ in range(40):
        for till, mine in sold.items():
            mine += till.sell([1], NOW_MS)
            till.turn(NOW_MS)
    assert sum(map(len, sold.values())) == 31
    assert min(map(len, sold.values())) > 5
    for till, mine in sold.items():
        show(till, mine)
        till.leave(NOW_MS)
    assert billed(tmp_path) == 3100
    assert differences(tmp_path) == []


def test_who_sits_on_the_rest_gives_it_back(tmp_path: Path) -> None:
    first, second = (opened(tmp_path, number, shelf(campaign=10)) for number in (1, 2))
    assert len(sell(first, 1)) == 1
    assert len(sell(second)) < 9, "some of it lies with the first"
    for _ in range(3):
        for till in (first, second):
            till.sell([1], NOW_MS) if till is second else None
            till.turn(NOW_MS)
    sell(second)
    held = [till.budgets.account("campaign:10").held_nanos for till in (first, second)]
    assert held == [100, 900]


def test_scraps_of_two_make_a_price(tmp_path: Path) -> None:
    """What is less than a price at each is one together."""
    small = Item(2, 10, 20, 60)
    stock = shelf(1, ONE, small, campaign=5)
    first, second = (opened(tmp_path, number, stock) for number in (1, 2))
    for till in (first, second) * 20:
        till.sell([2], NOW_MS)
        till.turn(NOW_MS)
    left = 500 - sum(till.budgets.account("campaign:10").held_nanos for till in (first, second))
    assert left == 500 % 60


def test_a_restart_goes_on_with_its_lease(tmp_path: Path) -> None:
    """After a kill: neither what was held nor what was free is lost or there twice."""
    first = opened(tmp_path, 1, shelf(campaign=20))
    second = opened(tmp_path, 2, shelf(campaign=20))
    sold = sell(first, 6)
    show(first, sold[:3])
    first.close()
    first = opened(tmp_path, 1, shelf(campaign=20))
    account = first.budgets.account("campaign:10")
    assert (account.billed_nanos, account.held_nanos) == (300, 300)
    more = [sell(till) for _ in range(4) for till in (first, second)]
    for till in (first, second):
        till.turn(NOW_MS)
    more += [sell(till) for till in (first, second) * 3]
    assert 6 + sum(map(len, more)) == 20
    show(first, sold[3:])


def test_a_clean_end_gives_back_all_but_what_is_out(tmp_path: Path) -> None:
    first = opened(tmp_path, 1, shelf(campaign=20))
    sold = sell(first, 2)
    first.leave(NOW_MS)
    second = opened(tmp_path, 2, shelf(campaign=20))
    assert len(sell(second)) == 18
    first = opened(tmp_path, 1, shelf(campaign=20))
    show(first, sold)
    assert sell(first) == []


def test_who_stays_away_is_closed_when_its_last_ad_is_over(tmp_path: Path) -> None:
    first = opened(tmp_path, 1, shelf(campaign=20))
    sold = sell(first, 2)
    show(first, sold[:1])
    first.post()
    first.close()
    second, noticed = opened(tmp_path, 2, shelf(campaign=20)), NOW_MS + 5000
    over = noticed + limits.RENDER_WITHIN_MS_MAX + limits.GRACE_MS
    mine = sell(second)
    for now_ms, closed in ((noticed, False), (over, False), (over + 1, True)):
        assert second.leases.bury(1, now_ms) is closed
        if not closed:
            assert sell(second) == [], "an ad of the first may still come"
            assert len(mine) < 18
    assert second.leases.bury(1, over + 2)
    mine += sell(second)
    assert len(mine) == 19, "all but what was billed"


def test_a_lowered_limit_binds_at_once_and_a_raised_one_soon(tmp_path: Path) -> None:
    first, second = (opened(tmp_path, number, shelf(campaign=40)) for number in (1, 2))
    counts = [len(sell(till, 5)) for till in (first, second)]
    for till in (first, second):
        till.follow(shelf(2, campaign=11), NOW_MS)
        assert till.sell([1], NOW_MS) == []
        till.turn(NOW_MS)
    more = sum(len(sell(till)) for till in (first, second) * 4)
    assert sum(counts) + more == 11
    for till in (first, second):
        till.follow(shelf(3, campaign=13), NOW_MS)
    assert sum(len(sell(till)) for till in (first, second) * 4) == 2


def test_what_ends_under_a_lowered_limit_is_not_sold_again(tmp_path: Path) -> None:
    """Nor is it after a restart, nor what was granted while the limit was lowered."""
    first, second = (opened(tmp_path, number, shelf(campaign=40)) for number in (1, 2))
    out = sell(first, 20) + sell(second, 0)
    plan = first.leasing.plan(first.budgets, NOW_MS)
    settled = first.leases.settle(*plan, first.leasing.heard)
    lowered = shelf(2, campaign=5)
    for till in (first, second):
        till.follow(lowered, NOW_MS)
    first.leasing.apply(plan[0], settled)
    for sale in out[:10]:
        first.release(sale, NOW_MS)
    assert sell(first) == sell(second) == []
    first.journal.sync()
    first.close()
    first = opened(tmp_path, 1, lowered)
    show(first, out[10:14])
    assert sell(first) == sell(second) == []
    for sale in out[14:]:
        first.release(sale, NOW_MS)
    first.post()
    assert sum(len(sell(till)) for _ in range(3) for till in (first, second)) == 1
    assert differences(tmp_path) == []


def test_a_new_limit_finds_what_both_have_promised(tmp_path: Path) -> None:
    """And nobody leases from it before the other has heard of it."""
    first, second = (opened(tmp_path, number, shelf()) for number in (1, 2))
    sold = [till.sell([1] * 4, NOW_MS) for till in (first, second)]
    show(first, sold[0][:2])
    first.follow(shelf(2, campaign=10), NOW_MS)
    assert sell(first) == []
    second.follow(shelf(2, campaign=10), NOW_MS)
    second.turn(NOW_MS)
    assert sum(len(sell(till)) for till in (first, second) * 4) == 2
    for till in (first, second):
        till.follow(shelf(3), NOW_MS)
        till.turn(NOW_MS)
        assert len(till.sell([1] * 5, NOW_MS)) == 5, "no limit any more"
    show(second, sold[1])
    for till in (first, second):
        till.turn(NOW_MS)
        till.leave(NOW_MS)
    assert differences(tmp_path) == []


def test_nobody_leases_before_all_that_was_promised_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some line items a turn, and only then the limit has been heard of."""
    monkeypatch.setattr(limits, "LEASES_LOOKED_AT", 1)
    items = (ONE, Item(2, 11, 20, 100))
    stocks = [
        Shelf(items, {(f"campaign:{number}", "lifetime"): 500 for number in (10, 11)} if new else {}, 1 + new)
        for new in (False, True)
    ]
    first, second = (opened(tmp_path, number, stocks[0]) for number in (1, 2))
    for till in (first, second):
        till.turn(NOW_MS)
    assert len(second.sell([1, 2] * 4, NOW_MS)) == 8
    for till in (first, second):
        till.follow(stocks[1], NOW_MS)
    for turn, promised in enumerate((8, 8, 10)):
        for _ in range(3):
            first.sell([1, 2] * 5, NOW_MS)
            first.turn(NOW_MS)
        held = [till.budgets.account("advertiser:20").held_nanos // 100 for till in (first, second)]
        assert sum(held) == promised, turn
        second.turn(NOW_MS)


@pytest.mark.parametrize("finder", [1, 2])
def test_refunds_are_for_everybody(tmp_path: Path, finder: int) -> None:
    """Whoever finds them invalid: the budget has room again once the ledger knows."""
    tills = [opened(tmp_path, number, shelf(campaign=4)) for number in (1, 2)]
    sold = sell(tills[0])
    show(tills[0], sold)
    tills[0].post()
    assert tills[finder - 1].reverse(sold[0], NOW_MS) == 100
    assert [till.sell([1], NOW_MS) for till in tills] == [[], []]
    tills[finder - 1].post()
    assert len(sell(tills[1])) == 1
    assert sell(tills[0]) == []


def test_expired_holds_are_sold_again(tmp_path: Path) -> None:
    first, second = (opened(tmp_path, number, shelf(campaign=6)) for number in (1, 2))
    assert sum(len(sell(till)) for till in (first, second) * 3) == 6
    later = NOW_MS + RENDER_MS + limits.GRACE_MS + 1
    for till in (first, second):
        till.states.hot.sweep(later)
    assert sum(len(sell(till, now_ms=later)) for till in (first, second) * 3) == 6


def test_what_is_granted_is_on_disk(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "ledger.sqlite", 1)
    with leases._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    leases.close()


@pytest.mark.parametrize(
    "change", ["UPDATE leases SET spent_nanos = 1", "UPDATE leases SET granted_nanos = 50"]
)
def test_the_audit_of_leases(tmp_path: Path, change: str) -> None:
    till = opened(tmp_path, 1, shelf(campaign=6))
    show(till, sell(till, 3))
    till.leave(NOW_MS)
    assert differences(tmp_path) == []
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as books, books:
        books.execute(f"{change} WHERE account = 'campaign:10'")
    assert any("lease" in found for found in differences(tmp_path))


def test_a_ledger_of_before_there_were_leases(tmp_path: Path) -> None:
    """Audited as it is, and given the tables when it is opened."""
    till = opened(tmp_path, 1, shelf())
    show(till, till.sell([1], NOW_MS))
    till.post()
    till.close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as books, books:
        books.execute("DROP TABLE alembic_version")
        books.execute("DROP TABLE leases")
        books.execute("DROP TABLE holders")
    assert differences(tmp_path) == []
    assert len(sell(opened(tmp_path, 2, shelf(campaign=5)))) == 4


def test_days_that_are_over_are_forgotten(tmp_path: Path) -> None:
    till = opened(
        tmp_path, 1, Shelf((ONE,), {("campaign:10", "day"): 500, ("campaign:10", "lifetime"): 700}, 1)
    )
    show(till, sell(till))
    later = NOW_MS + 4 * 86_400_000
    assert len(sell(till, now_ms=later)) == 2, "another day, the same lifetime"
    till.post()
    today = later // 86_400_000
    till.budgets.forget_days(today - 3)
    till.leases.forget_days(today - 3)
    assert {key[1] for key in till.leases.join(1)} == {-1, today}
    till.turn(later)
    till.leave(later)
    assert differences(tmp_path) == []


@pytest.mark.parametrize("count", [3, 4])
def test_a_turn_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """So many line items are asked for at a time, so many leases looked at; the others in the next turn."""
    monkeypatch.setattr(limits, "LEASES_ASKED", 3)
    monkeypatch.setattr(limits, "LEASES_LOOKED_AT", 3)
    items = [Item(serial, 10, 20, 100) for serial in range(1, count + 1)]
    stock = Shelf(items, {(f"line_item:{item.serial}", "lifetime"): 1000 for item in items}, 1)
    till = opened(tmp_path, 1, stock)
    for turn in range(2):
        sold = till.sell([item.serial for item in items], NOW_MS)
        assert len(sold) == min(3 * turn, count)
        till.turn(NOW_MS)
    assert len(till.sell([item.serial for item in items], NOW_MS)) == count
    looks = [len(till.leasing._some()) for _ in range(3)]
    assert sum(looks) >= count and max(looks) == 3


@pytest.mark.parametrize("ended", [False, True])
def test_a_lifted_limit_binds_until_the_ledger_has_heard(tmp_path: Path, ended: bool) -> None:
    """Whatever is posted, and however the process ends in between: nobody spent more than it held."""
    till = opened(tmp_path, 1, shelf(campaign=30))
    out = sell(till, 3)
    till.follow(shelf(2), NOW_MS)
    out += till.sell([1] * 30, NOW_MS)
    assert len(out) < 30
    show(till, out)
    till.post()
    assert differences(tmp_path) == []
    if ended:
        till.close()
        till = opened(tmp_path, 1, shelf(2))
    assert till.sell([1], NOW_MS) == [], "not yet"
    till.turn(NOW_MS)
    assert till.budgets.remaining_nanos(1, NOW_MS) is None
    more = till.sell([1] * 50, NOW_MS)
    show(till, more)
    till.post()
    assert (len(more), billed(tmp_path)) == (50, 100 * (len(out) + 50))
    assert differences(tmp_path) == []


def test_what_was_leased_binds_a_process_that_never_knew_the_limit() -> None:
    """It goes on from a checkpoint behind the change, and has nothing to say of it but to the ledger."""
    key, account = ("campaign:10", -1), Account(used_nanos=300)
    leasing = Leasing({key: Held(400, 300)}, [(*key, 300)], 2)
    assert leasing.bind(key, account, None) is not None
    returned = leasing.give_all_back()
    assert returned == {key: None}
    leasing.apply(returned, Settled({}, set()))
    assert (leasing.bind(key, account, None), leasing.give_all_back()) == (None, {})


def test_a_limit_that_is_back_before_the_ledger_heard_it_was_lifted(tmp_path: Path) -> None:
    """The first was told that it is, while it was not any more; the second heard of nothing."""
    first, second = (opened(tmp_path, number, shelf(campaign=10)) for number in (1, 2))
    (sale,) = sell(first, 1)
    first.release(sale, NOW_MS)
    assert first.budgets.remaining_nanos(1, NOW_MS), "it holds more"
    first.follow(shelf(2), NOW_MS)
    plan = first.leasing.plan(first.budgets, NOW_MS)
    settled = first.leases.settle(*plan, first.leasing.heard)
    for till in (first, second):
        till.follow(shelf(3, campaign=10), NOW_MS)
        if till is first:
            assert till.sell([1], NOW_MS) == []
    first.leasing.apply(plan[0], settled)
    sold = [sell(till) for till in (second, first, second, first)]
    assert sum(map(len, sold)) == 10


def test_a_limit_that_is_back_is_leased_from_when_all_have_heard(tmp_path: Path) -> None:
    """What was sold while there was none is told first."""
    first, second = (opened(tmp_path, number, shelf(campaign=10)) for number in (1, 2))
    assert len(sell(first, 1)) == 1
    for till in (first, second):
        till.follow(shelf(2), NOW_MS)
        till.budgets.standing(1, NOW_MS)
    assert len(sell(second, 30)) == 30
    first.follow(shelf(3, campaign=10), NOW_MS)
    assert sell(first) == []
    second.follow(shelf(3, campaign=10), NOW_MS)
    assert [sell(till) for till in (first, second) * 3] == [[]] * 6


@pytest.mark.parametrize("sold", [0, 30])
def test_a_limit_that_one_never_heard_was_lifted(tmp_path: Path, sold: int) -> None:
    """The other has sold without it meanwhile, or could have: nothing is leased before it has told."""
    first, second = (opened(tmp_path, number, shelf(campaign=10)) for number in (1, 2))
    (_,), (ended,) = sell(first, 1), sell(second, 1)
    second.release(ended, NOW_MS)
    second.follow(shelf(2), NOW_MS)
    second.turn(NOW_MS)
    assert len(second.sell([1] * sold, NOW_MS)) == sold
    for till in (first, second):
        till.follow(shelf(3, campaign=10), NOW_MS)
    held = len(sell(first))
    assert held < 5, "what it was leased"
    second.turn(NOW_MS)
    assert len(sell(first)) == (0 if sold else 9 - held)
