"""The early stop changes nothing: order and bounds are those of scoring everything, whatever was learned."""

import random
from collections import defaultdict
from collections.abc import Mapping
from itertools import groupby, islice

import pytest
from engine_samples import (
    campaign,
    catalogue,
    context,
    line_item,
    of_items,
    placement,
    random_catalogue,
    random_request,
    request,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scored import Everything, random_multipliers, random_rates

from adserver.domain.books import Shown
from adserver.domain.campaign import Pricing
from adserver.domain.request import PlacementAsk
from adserver.engine import ranking, runs
from adserver.engine.compile import compile_snapshot
from adserver.engine.live import Live
from adserver.engine.postings import CHUNK
from adserver.engine.rates import Rates, learn
from adserver.engine.rules import drop_of_request
from adserver.engine.shortlist import Walk
from adserver.engine.snapshot import Entry, Snapshot
from adserver.engine.worth import Worth

ASK = PlacementAsk("top")


def order(
    kind: type[Walk], whole: Snapshot, rates: Rates, seed: int, many: int | None = None,
    multipliers: Mapping[int, int] = {},
) -> list[int]:  # fmt: skip
    bits = Live(len(whole.entries)).chunks
    seen = context(whole, random_request(seed), ASK, rates, multipliers)
    found = kind(whole, bits, seen, lambda entry, now_ms: entry.line_item.serial % 3, 0).entries()
    return [entry.position for entry in islice(found, many)]


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((None, 1, 3)))
def test_order_equals_scoring_everything(seed: int, many: int | None) -> None:
    whole = compile_snapshot(random_catalogue(seed))
    rates = random_rates(random.Random(seed), whole)
    assert order(Walk, whole, rates, seed, many) == order(Everything, whole, rates, seed, many)


def tied(seed: int) -> Snapshot:
    """Long runs of equal prior scores, of all pricing models that bid."""
    chance = random.Random(seed)
    bids = {"cpm": 1_200_000, "vcpm": 2_000_000, "cpc": 600_000, "cpa": 12_000_000}
    items = []
    for serial in range(1, chance.choice((5, 80, 300))):
        model = chance.choice(list(bids))
        items.append(line_item(serial, pricing=Pricing(model, bids[model] * chance.choice((1, 1, 1, 2)))))
    return compile_snapshot(of_items(*items))


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_long_runs_equal_scoring_everything(seed: int) -> None:
    whole = tied(seed)
    rates = random_rates(random.Random(seed), whole)
    assert order(Walk, whole, rates, seed) == order(Everything, whole, rates, seed)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((None, 1, 3)), st.booleans(), st.booleans())
def test_order_by_what_counts_of_bids_equals_scoring_everything(
    seed: int, many: int | None, runs: bool, learned: bool
) -> None:
    whole = tied(seed) if runs else compile_snapshot(random_catalogue(seed))
    chance = random.Random(seed)
    rates, multipliers = random_rates(chance, whole), random_multipliers(chance, whole)
    asked = rates if learned else Rates(), seed, many, multipliers
    assert order(Walk, whole, *asked) == order(Everything, whole, *asked)


def test_of_a_bid_counts_what_its_multiplier_says() -> None:
    items = [line_item(1, 4_000_000), line_item(2, 3_000_000), line_item(3, 9_000_000, priority="standard")]
    whole = compile_snapshot(of_items(*items))
    seen = context(whole, multipliers={1: 500, 3: 250, 77: 250})
    score = {entry.line_item.serial: seen.score(entry) for entry in whole.entries}
    assert score == {1: 2_000_000, 2: 3_000_000, 3: 9_000_000}, "outside of the auction bids do not rank"
    assert [seen.earns(entry) for entry in whole.entries] == [entry.score for entry in whole.entries]
    seen.worth.weigh({})
    assert seen.score(whole.by_serial[1]) == 4_000_000


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_no_score_is_above_its_bound(seed: int) -> None:
    whole = tied(seed) if seed % 2 else compile_snapshot(random_catalogue(seed))
    chance = random.Random(seed)
    worth = Worth(whole.entries, random_rates(chance, whole))
    worth.weigh(random_multipliers(chance, whole) if seed % 3 else {})
    if not worth.learned:
        return
    for tier in filter(ranking.is_auction, worth.tiers):
        mine = [entry.position for entry in whole.entries if entry.tier == tier]
        for spot in (1, 2, 3, 9):
            alike = [p for p in mine if worth.others[p // CHUNK] >> p % CHUNK & 1]
            whole_runs = [list(run) for _, run in groupby(alike, key=lambda p: whole.entries.runs[p])]
            for source in worth.sources(tier, spot, iter(whole_runs), defaultdict(lambda: -1)):
                while source.bound >= 0:
                    bound = source.bound
                    assert all(score <= bound for score, _ in source.read(0.0))


def reads(
    whole: Snapshot, rates: Rates, monkeypatch: pytest.MonkeyPatch, multipliers: Mapping[int, int] = {},
    many: int = 3,
) -> int:  # fmt: skip
    """How many line items are looked at for the best."""
    looked: list[object] = []
    numbers = runs.numbers

    def counting(first: int, bits: int) -> object:
        looked.extend(found := numbers(first, bits))
        return found

    monkeypatch.setattr(runs, "numbers", counting)
    bits = Live(len(whole.entries)).chunks
    seen = context(whole, request(), ASK, rates, multipliers)
    found = Walk(whole, bits, seen, lambda entry, now_ms: 1.0, 0).entries()
    assert len(list(islice(found, many))) == many
    return len(looked)


def test_the_early_stop_stops_behind_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs from 1.00 to 10.00; of the best hundred only four fifths count: it goes on to those of 8.00."""
    items = [line_item(n, 1_000_000 + n // 2 * 9_000) for n in range(2, 2002)]
    whole = compile_snapshot(of_items(*items))
    multipliers = dict.fromkeys(range(1902, 2002), 800)
    seen = context(whole, request(), ASK, None, multipliers)
    looked = [
        e.score for e in islice(Walk(whole, Live(2000).chunks, seen, lambda e, now_ms: 1.0, 0).entries(), 3)
    ]
    assert looked == sorted(looked, reverse=True) and looked[0] == 9_550_000
    assert reads(whole, Rates(), monkeypatch, multipliers) <= 110
    assert reads(whole, Rates(), monkeypatch) <= 8


def test_who_counts_in_part_elsewhere_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs from 1.00 to 10.00, of all of which but the best of every pair of the best ten a part counts."""
    items = [line_item(n, 1_000_000 + n // 2 * 9_000) for n in range(2, 2002)]
    whole = compile_snapshot(of_items(*items))
    multipliers = dict.fromkeys([*range(2, 1982), *range(1982, 2002, 2)], 800)
    assert reads(whole, Rates(), monkeypatch, multipliers) <= 8
    few = dict.fromkeys((2000, 2001), 999)
    assert reads(whole, Rates(), monkeypatch, few) <= 10, "two are moved back behind the next"
    assert reads(whole, Rates(), monkeypatch, {2000: 800}, many=1) == 2, "the other one waits for nobody"


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((None, 1, 3)))
def test_runs_in_several_tiers_of_which_parts_count_equal_scoring_everything(
    seed: int, many: int | None
) -> None:
    """Whoever is moved back stays before the next tier, whatever counts there."""
    chance = random.Random(seed)
    amounts = (0, 1, 900_000, 1_000_000, 2_000_000, 2_000_001)[chance.choice((0, 2)) :]
    bids = [chance.choice(amounts) for _ in range(120)]
    items = [line_item(n, bid, level=chance.choice((4, 5, 5))) for n, bid in enumerate(bids, 1)]
    whole = compile_snapshot(of_items(*items, line_item(200, 7, priority="house")))
    asked = Rates(), seed, many, random_multipliers(chance, whole)
    assert order(Walk, whole, *asked) == order(Everything, whole, *asked)


def test_the_early_stop_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of equal bids from 1.00 to 10.00 a click. That one is clicked more than others makes the walk go
    on to where it stands only if it could be among the best."""
    items = [line_item(n, pricing=Pricing("cpc", 1_000_000 + n // 2 * 9_000)) for n in range(2, 2002)]
    whole = compile_snapshot(of_items(*items))
    for clicked, most in ((1990, 20), (2, 8), (1200, 8), (1800, 220)):
        rates = learn(1, [Shown(clicked, 7, 1, 10_000, 0, 80)])
        assert reads(whole, rates, monkeypatch) <= most, clicked


def test_nothing_learned_leaves_the_prior_scores() -> None:
    whole = tied(81)
    for rates in (Rates(), learn(0, [])):
        worth = Worth(whole.entries, rates)
        assert not worth.learned
        assert [worth.score(e.position, 1) for e in whole.entries] == [e.score for e in whole.entries]


def test_prices_by_the_thousand_do_not_move() -> None:
    whole = compile_snapshot(of_items(*(line_item(serial, serial * 1000) for serial in range(1, 9))))
    rates = learn(1, [Shown(serial, 1, serial, 1000, 1000, 900) for serial in range(1, 9)])
    assert not Worth(whole.entries, rates).learned


def test_scores_follow_what_is_learned_here() -> None:
    """A click at 1.00 is worth 2.00 a thousand by the prior; at placement 1 it is clicked far more often, at
    placement 2 hardly."""
    items = [line_item(1, pricing=Pricing("cpc", 1_000_000)), line_item(2, 3_000_000)]
    whole = compile_snapshot(of_items(*items))
    rates = learn(1, [Shown(1, 1, 1, 10**6, 0, 20_000), Shown(1, 2, 1, 10**6, 0, 100)])
    worth = Worth(whole.entries, rates)
    clicked = position(whole, 1)
    assert 18_000_000 < worth.score(clicked, 1) < 20_000_000
    assert 90_000 < worth.score(clicked, 2) < 120_000
    assert [e.line_item.serial for e in served(whole, rates)] == [1, 2]
    assert [e.line_item.serial for e in served(whole, Rates())] == [2, 1]


def test_a_floor_is_asked_of_the_score_here() -> None:
    item = line_item(1, pricing=Pricing("cpc", 1_000_000))
    floored = compile_snapshot(catalogue([campaign(1, item)], placement(floor_micros=3_000_000)))
    entry = floored.entries[0]
    poor = drop_of_request(entry, context(floored))
    assert poor is not None and (poor.wanted, poor.got) == (3_000_000, 2_000_000)
    clicked = learn(1, [Shown(1, 1, 1, 10**6, 0, 20_000)])
    assert drop_of_request(entry, context(floored, rates=clicked)) is None


def position(whole: Snapshot, serial: int) -> int:
    return whole.by_serial[serial].position


def served(whole: Snapshot, rates: Rates) -> list[Entry]:
    bits = Live(len(whole.entries)).chunks
    return list(Walk(whole, bits, context(whole, rates=rates), lambda entry, now_ms: 1.0, 0).entries())
