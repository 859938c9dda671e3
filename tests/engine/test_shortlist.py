"""The shortlist is in serving order, drawn lazily without changing what comes first, and
fair among equals."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pytest
from engine_samples import (
    campaign,
    catalogue,
    context,
    line_item,
    of_items,
    random_catalogue,
    random_request,
    request,
    shuffled,
)

from adserver.domain import limits
from adserver.domain.campaign import Goal
from adserver.domain.properties import Properties
from adserver.domain.request import PlacementAsk
from adserver.domain.targeting import Targeting
from adserver.engine import ranking
from adserver.engine.compile import compile_snapshot
from adserver.engine.draw import mix
from adserver.engine.live import Live
from adserver.engine.shortlist import Walk
from adserver.engine.snapshot import Entry, Snapshot

SEEDS = 3000


def need_of_serial(entry: Entry, now_ms: int) -> float:
    return float(entry.line_item.serial)


def alike(entry: Entry, now_ms: int) -> float:
    return 1.0


def listed(whole: Snapshot, seed: int, salt: int = 0, need: object = alike) -> Iterator[Entry]:
    bits = Live(len(whole.entries)).chunks
    return Walk(whole, bits, context(whole, random_request(seed)), need, salt).entries()  # type: ignore[arg-type]


def drawn(whole: Snapshot, seed: int, need: object = alike) -> list[int]:
    """Serials in serving order for a plain request of this seed."""
    bits = Live(len(whole.entries)).chunks
    asked = request(mix(seed, 1))
    found = Walk(whole, bits, context(whole, asked), need, 0).entries()  # type: ignore[arg-type]
    return [entry.line_item.serial for entry in found]


def test_order_equals_scoring_everything() -> None:
    for seed in range(300):
        whole = compile_snapshot(random_catalogue(seed))
        order = list(listed(whole, seed))
        keys = [(e.tier, -e.score if ranking.is_auction(e.tier) else 0) for e in order]
        assert keys == sorted(keys), f"seed {seed}"
        assert len({e.position for e in order}) == len(order)


@pytest.mark.slow
def test_an_early_stop_changes_nothing() -> None:
    for seed in range(200):
        whole = compile_snapshot(random_catalogue(seed))
        everything = [e.position for e in listed(whole, seed)]
        for many in (1, 2, 5):
            assert [e.position for e in islice(listed(whole, seed), many)] == everything[:many]


@pytest.mark.slow
def test_the_order_of_the_documents_does_not_matter() -> None:
    for seed in range(200):
        given = random_catalogue(seed)
        one, other = compile_snapshot(given), compile_snapshot(shuffled(given, seed + 1))
        assert [e.line_item.serial for e in one.entries] == [e.line_item.serial for e in other.entries]
        assert [set(e.caps) for e in one.entries] == [set(e.caps) for e in other.entries]
        orders = [[e.line_item.serial for e in listed(whole, seed)] for whole in (one, other)]
        assert orders[0] == orders[1], f"seed {seed}"


def test_the_same_seed_gives_the_same_order_and_another_salt_another() -> None:
    whole = compile_snapshot(of_items(*(line_item(serial) for serial in range(1, 30))))
    first = [e.position for e in listed(whole, 5)]
    assert first == [e.position for e in listed(whole, 5)]
    assert first != [e.position for e in listed(whole, 5, salt=1)]


def fair(wins: Counter[int], shares: dict[int, float], total: int) -> None:
    """Within 4.5 standard deviations of a fair draw: of a thousand sound builds, none fails."""
    for serial, share in shares.items():
        spread = 4.5 * (total * share * (1 - share)) ** 0.5
        assert abs(wins[serial] - total * share) <= spread, f"{serial}: {wins[serial]} of {total}"


@pytest.mark.parametrize("count", [2, 3, 7])
def test_equal_bids_win_equally_often(count: int) -> None:
    items = [line_item(serial) for serial in range(1, count + 1)]
    whole = compile_snapshot(of_items(line_item(100, 2_000_000), *items))
    orders = [drawn(whole, seed) for seed in range(SEEDS)]
    assert all(order[0] == 100 for order in orders)
    for place in (1, 2, count):
        wins = Counter(order[place] for order in orders)
        fair(wins, {item.serial: 1 / count for item in items}, SEEDS)


def test_orders_of_equal_bids_are_all_alike() -> None:
    whole = compile_snapshot(of_items(*(line_item(serial) for serial in (1, 2, 3))))
    orders = Counter(tuple(drawn(whole, seed)) for seed in range(SEEDS))
    assert len(orders) == 6
    for many in orders.values():
        assert abs(many - SEEDS / 6) <= 4.5 * (SEEDS * 5 / 36) ** 0.5


def test_guaranteed_line_items_are_drawn_by_need() -> None:
    items = [line_item(serial, priority="standard") for serial in (1, 2, 5)]
    whole = compile_snapshot(of_items(*items))
    wins = Counter(drawn(whole, seed, need_of_serial)[0] for seed in range(SEEDS))
    fair(wins, {1: 1 / 8, 2: 2 / 8, 5: 5 / 8}, SEEDS)


def test_who_needs_nothing_comes_last() -> None:
    whole = compile_snapshot(of_items(*(line_item(serial, priority="standard") for serial in (1, 2, 3))))

    def need(entry: Entry, now_ms: int) -> float:
        return float(entry.line_item.serial != 2)

    assert all(drawn(whole, seed, need)[-1] == 2 for seed in range(100))


def test_shares_of_a_sponsorship() -> None:
    half = line_item(1, priority="sponsorship", goal=Goal("share", 500_000))
    tenth = line_item(2, priority="sponsorship", goal=Goal("share", 100_000))
    whole = compile_snapshot(of_items(half, tenth, line_item(3)))
    orders = [drawn(whole, seed) for seed in range(SEEDS)]
    fair(Counter(order[0] for order in orders), {1: 0.5, 2: 0.1, 3: 0.4}, SEEDS)
    assert {tuple(order) for order in orders} == {(1, 3), (2, 3), (3,)}


@pytest.mark.parametrize("placements", [1, 2, 5])
def test_so_much_is_asked_in_vain_and_no_more(placements: int) -> None:
    """Behind the limit, who would have to be asked does not serve, and all others do."""
    most = limits.CHECKS_IN_VAIN // placements
    false, true = Targeting(custom="depth > 5"), Targeting(custom="depth > 1")
    for many, served in ((most - 1, [3001, 3002]), (most, [3002])):
        items = [line_item(serial, 9_000_000 - serial, targeting=false) for serial in range(1, many + 1)]
        items += [line_item(3001, 500, targeting=true), line_item(3002, 400)]
        whole = compile_snapshot(of_items(*items))
        asked = request(
            placements=(PlacementAsk("top"),) * placements, properties=Properties(request={"depth": 2})
        )
        walk = Walk(whole, Live(len(items)).chunks, context(whole, asked), alike, 0)
        assert [entry.line_item.serial for entry in walk.entries()] == served
        assert walk.unasked == ({many} if many == most else set())


def test_levels_and_priorities_come_before_bids() -> None:
    items = [
        line_item(1, 10**7, priority="house"),
        line_item(2, 9 * 10**6, level=6),
        line_item(3, 1, level=4),
        line_item(4, 0, priority="standard", level=10),
        line_item(5, 0, priority="sponsorship"),
        line_item(6, 0, priority="standard", level=9),
    ]
    whole = compile_snapshot(catalogue([campaign(1, *items)]))
    assert all(drawn(whole, seed) == [5, 6, 4, 3, 2, 1] for seed in range(20))
