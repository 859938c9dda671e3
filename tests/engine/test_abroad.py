"""Several currencies in one auction: the order is that of scoring everything, and nothing is compared by a
rate that there is not."""

import random
from collections.abc import Mapping
from itertools import islice

import pytest
from engine_samples import (
    NOON_MS,
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
from msgspec.structs import replace
from scored import Everything, random_multipliers, random_rates

from adserver.domain.campaign import Pricing
from adserver.domain.catalogue import Catalogue
from adserver.domain.exchange import UNIT, ExchangeRates, RateTable
from adserver.domain.request import PlacementAsk
from adserver.engine import rules
from adserver.engine.compile import compile_snapshot
from adserver.engine.live import Live
from adserver.engine.rates import Rates
from adserver.engine.shortlist import Walk
from adserver.engine.snapshot import Snapshot

DAY = NOON_MS // 86_400_000
ASK = PlacementAsk("top")
NOBODY: Mapping[int, int] = {}
NAMES = ("EUR", "USD", "GBP", "JPY")


def random_exchange(chance: random.Random, day: int = DAY) -> ExchangeRates:
    """Of some days before and after, some currencies each; also rates at which much becomes equal, or 0."""
    base = chance.choice(NAMES)
    tables = []
    for at in sorted(chance.sample(range(day - 12, day + 3), chance.randint(1, 4))):
        names = [name for name in NAMES if name != base and chance.random() < 0.8]
        rates = {
            name: chance.choice((1, UNIT // 3, UNIT, 1_084_200_000, 169 * UNIT, 10**15)) for name in names
        }
        tables.append(RateTable(at, {base: UNIT, **rates}))
    return ExchangeRates(base, 7, tuple(tables))


def mixed(found: Catalogue, chance: random.Random) -> Catalogue:
    """The same, sold in several currencies."""
    campaigns = tuple(replace(one, currency=chance.choice(NAMES)) for one in found.campaigns)
    return replace(found, campaigns=campaigns, rates=random_exchange(chance))


def tied(chance: random.Random) -> Catalogue:
    """Long runs of equal bids, of all pricing models."""
    bids = {"cpm": 1_200_000, "vcpm": 2_000_000, "cpc": 600_000, "cpa": 12_000_000}
    items = []
    for serial in range(1, chance.choice((5, 80, 300))):
        model = chance.choice(tuple(bids))
        items.append(line_item(serial, pricing=Pricing(model, bids[model] * chance.choice((1, 1, 1, 2)))))
    return of_items(*items)


def order(
    kind: type[Walk], whole: Snapshot, rates: Rates, seed: int, many: int | None = None,
    multipliers: Mapping[int, int] = NOBODY,
) -> list[int]:  # fmt: skip
    bits = Live(len(whole.entries)).chunks
    seen = context(whole, random_request(seed), ASK, rates, multipliers)
    found = kind(whole, bits, seen, lambda entry, now_ms: entry.line_item.serial % 3, 0).entries()
    return [entry.position for entry in islice(found, many)]


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((None, 1, 3)), st.booleans())
def test_order_equals_scoring_everything(seed: int, many: int | None, long_runs: bool) -> None:
    chance = random.Random(seed)
    whole = compile_snapshot(mixed(tied(chance) if long_runs else random_catalogue(seed), chance))
    for rates in (Rates(), random_rates(chance, whole)):
        for multipliers in (NOBODY, random_multipliers(chance, whole)):
            asked = whole, rates, seed, many, multipliers
            assert order(Walk, *asked) == order(Everything, *asked)


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_the_index_equals_the_scan(seed: int) -> None:
    """Who is a candidate is who passes the rules, one by one; what is told of the others has both sides."""
    chance = random.Random(seed)
    whole = compile_snapshot(mixed(random_catalogue(seed), chance))
    seen = context(whole, random_request(seed), ASK)
    passing = {e.position for e in whole.entries if rules.first_drop(e, seen) is None}
    walked = set(order(Walk, whole, Rates(), seed))
    found = {p for p in walked if rules.drop_of_request(whole.entries[p], seen) is None}
    assert found <= passing <= found | _shares(whole)
    for entry in whole.entries:
        drop = rules.candidate_drop(entry, seen)
        if drop is not None and drop.rule == "rates":
            assert entry.campaign.currency not in seen.currencies


def _shares(whole: Snapshot) -> set[int]:
    """Those that this request may not be drawn for."""
    goals = ((entry.position, entry.line_item.goal) for entry in whole.entries)
    return {position for position, goal in goals if goal is not None and goal.kind == "share"}


def abroad(rates: ExchangeRates, floor: int = 0) -> Snapshot:
    """A bid of 1.00 in dollars, at a publisher who counts in euros."""
    sold = campaign(1, line_item(1, 1_000_000), currency="USD")
    return compile_snapshot(replace(catalogue([sold], placement(floor_micros=floor)), rates=rates))


@pytest.mark.parametrize(
    ("dollars", "floor", "passes"),
    [
        (2 * UNIT, 500_000, True),
        (2 * UNIT, 500_001, False),
        (3 * UNIT, 333_333, True),
        (3 * UNIT, 333_334, False),
        (UNIT // 2, 2_000_000, True),
    ],
)
def test_a_floor_is_met_by_what_is_left_when_rounded_down(dollars: int, floor: int, passes: bool) -> None:
    whole = abroad(ExchangeRates("EUR", 7, (RateTable(DAY, {"EUR": UNIT, "USD": dollars}),)), floor)
    seen, (entry,) = context(whole, request()), list(whole.entries)
    assert (rules.first_drop(entry, seen) is None) == passes == rules.passes_request(entry, seen)


def test_between_two_others_than_the_base() -> None:
    """Two roundings would be one too many: 1.00 at 3 to 7 is 0.428571, however the base divides."""
    table = RateTable(DAY, {"JPY": UNIT, "USD": 7, "EUR": 3})
    seen = context(abroad(ExchangeRates("JPY", 7, (table,))), request())
    assert seen.exchange is not None and seen.exchange.worth(1_000_000, "USD") == 428_571


@pytest.mark.parametrize(
    ("days", "used"),
    [((), None), ((0,), 0), ((1,), None), ((-7,), -7), ((-8,), None), ((-8, -2, 1), -2), ((-2, 0, 3), 0)],
)
def test_the_newest_that_is_not_of_a_later_day(days: tuple[int, ...], used: int | None) -> None:
    tables = tuple(RateTable(DAY + at, {"EUR": UNIT, "USD": UNIT + at}) for at in days)
    seen = context(abroad(ExchangeRates("EUR", 7, tables)), request())
    assert seen.exchange is not None
    found = seen.exchange.rates.get("USD")
    assert found == (None if used is None else (UNIT, UNIT + used))


def test_a_day_changes_at_midnight() -> None:
    tables = (RateTable(DAY, {"EUR": UNIT, "USD": UNIT}), RateTable(DAY + 1, {"EUR": UNIT, "USD": 2 * UNIT}))
    whole, midnight = abroad(ExchangeRates("EUR", 7, tables)), (DAY + 1) * 86_400_000
    for now_ms, score in ((midnight - 1, 1_000_000), (midnight, 500_000), (midnight - 1, 1_000_000)):
        seen = context(whole, request(now_ms=now_ms))
        assert seen.score(whole.entries[0]) == score


def test_the_newest_table_counts_alone() -> None:
    """A currency that it does not know is not taken from an older one: rates of one day agree."""
    tables = (RateTable(DAY - 1, {"EUR": UNIT, "USD": UNIT}), RateTable(DAY, {"EUR": UNIT, "GBP": UNIT}))
    whole = abroad(ExchangeRates("EUR", 7, tables))
    seen, (entry,) = context(whole, request()), list(whole.entries)
    drop = rules.first_drop(entry, seen)
    assert drop is not None
    assert (drop.reason, drop.rule) == ("currency", "rates")
    assert (drop.wanted, drop.got) == (
        "a rate of USD in EUR of 2026-05-25 or later", "rates of 2026-06-01, without it",
    )  # fmt: skip


def test_an_exchange_is_offered_its_own_currency() -> None:
    whole = abroad(ExchangeRates("EUR", 7, (RateTable(DAY, {"EUR": UNIT, "USD": UNIT}),)))
    seen = context(whole, request(), replace(ASK, strict_floor=True))
    assert seen.exchange is None
    drop = rules.first_drop(whole.entries[0], seen)
    assert drop is not None and drop.rule == "currency"
