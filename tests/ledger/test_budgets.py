"""Budgets, one promise after the other; test_budgets_law.py mixes everything."""

import random
from itertools import count

import pytest
from budget_samples import DAY_MS, RENDER_MS, Catalogue, span_of

from adserver.domain import limits
from adserver.ledger.budgets import Budgets


def one(**budgets: int) -> Budgets:
    found = Budgets(span_of)
    found.follow(Catalogue([1], {("line_item:1", period): nanos for period, nanos in budgets.items()}))
    return found


def test_the_final_bill_is_the_budget_when_everything_was_rendered() -> None:
    chance = random.Random(3)
    budgets, held, made = one(lifetime=1000), dict[bytes, int](), count(1)
    for now_ms in range(0, 400_000, 1000):
        ident = next(made).to_bytes(16, "big")
        if budgets.reserve(ident, 1, 10, now_ms, now_ms + RENDER_MS):
            held[ident] = now_ms
        for known in chance.sample(sorted(held), min(len(held), chance.randint(0, 2))):
            at_ms = held.pop(known)
            if chance.random() < 0.3:
                budgets.void(known)
                continue
            assert budgets.affords(known, 1, 10, at_ms)
            budgets.void(known)
            budgets.bill(1, 10, at_ms)
        assert budgets.account("line_item:1").billed_nanos <= 1000
        budgets.sweep(now_ms)
        held = {
            known: at_ms for known, at_ms in held.items() if at_ms + RENDER_MS + limits.GRACE_MS >= now_ms
        }
    assert budgets.account("line_item:1").billed_nanos == 1000
    assert not budgets.reserve(b"x" * 16, 1, 1, 400_000, 400_000)


def test_a_hold_lives_a_grace_longer_than_its_token() -> None:
    budgets = one(lifetime=10)
    assert budgets.reserve(b"1" * 16, 1, 10, 0, RENDER_MS)
    until_ms = RENDER_MS + limits.GRACE_MS
    budgets.sweep(until_ms)
    assert not budgets.room(1, 1, until_ms)
    budgets.sweep(until_ms + 1)
    assert budgets.room(1, 10, until_ms + 1)


def test_a_hold_ends_in_the_accounts_of_its_own_day() -> None:
    budgets, late_ms = one(lifetime=100, day=60), DAY_MS - 1
    assert budgets.reserve(b"1" * 16, 1, 40, late_ms, late_ms + RENDER_MS)
    assert budgets.reserve(b"2" * 16, 1, 50, DAY_MS, DAY_MS + RENDER_MS)

    def held() -> list[int]:
        return [budgets.account("line_item:1", day).held_nanos for day in (0, 1, None)]

    assert held() == [40, 50, 90]
    budgets.lower(b"1" * 16, 30)
    assert held() == [30, 50, 80]
    assert budgets.void(b"1" * 16)
    assert held() == [0, 50, 50]
    assert budgets.void(b"2" * 16)
    assert held() == [0, 0, 0]


def test_an_unknown_line_item_has_no_room() -> None:
    budgets = Budgets(span_of)
    assert not budgets.room(7, 0, 0)
    assert not budgets.reserve(b"1" * 16, 7, 0, 0, 0)
    assert not budgets.affords(b"1" * 16, 7, 1, 0)
    assert budgets.totals(7) is None
    assert budgets.remaining_nanos(7, 0) is None
    budgets.bill(7, 1, 0)
    budgets.restore(b"1" * 16, 7, 1, 0, 0)
    assert not budgets.void(b"1" * 16)


def test_what_remains_is_the_least_of_all_levels() -> None:
    budgets = Budgets(span_of)
    limits_now = {
        ("line_item:1", "lifetime"): 50,
        ("campaign:1", "day"): 30,
        ("advertiser:1", "lifetime"): 40,
    }
    budgets.follow(Catalogue([1, 2], limits_now))
    assert budgets.remaining_nanos(1, 0) == 30
    budgets.reserve(b"1" * 16, 2, 25, 0, 1000)
    assert budgets.remaining_nanos(1, 0) == 5
    assert budgets.remaining_nanos(1, DAY_MS) == 15
    assert budgets.campaign_nanos(1) == (0, 25)


@pytest.mark.parametrize("period", ["lifetime", "day"])
def test_a_budget_given_later_finds_what_was_spent_before(period: str) -> None:
    budgets = one()
    budgets.bill(1, 30, 5)
    budgets.follow(Catalogue([1], {("line_item:1", period): 35}))
    assert budgets.room(1, 5, 5)
    assert not budgets.room(1, 6, 5)


@pytest.mark.parametrize("firm", [True, False])
@pytest.mark.parametrize("rendered", [True, False])
@pytest.mark.parametrize("price", [7, 0])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("now_ms", [DAY_MS - 1, DAY_MS])
def test_a_posted_event_is_a_hold_voided_and_a_price_billed(
    firm: bool, rendered: bool, price: int, known: bool, now_ms: int
) -> None:
    """Also when budgets have since been asked about another day."""

    def posted(at_once: bool) -> object:
        budgets, at_ms, ident = one(lifetime=100, day=60), DAY_MS - 1, b"1" * 16
        if known:
            assert budgets.reserve(ident, 1, 7, at_ms, at_ms + RENDER_MS, firm)
        assert budgets.reserve(b"2" * 16, 1, 3, at_ms, at_ms + RENDER_MS, not firm)
        if rendered:
            budgets.rendered(ident)
        budgets.remaining_nanos(1, now_ms)
        if at_once:
            budgets.post(ident, 1, price, at_ms)
        else:
            budgets.void(ident)
            budgets.bill(1, price, at_ms)
        accounts = [
            budgets.account(name, day) for name in ("line_item:1", "campaign:1") for day in (0, 1, None)
        ]
        return accounts, budgets.totals(1), budgets.delivered(), budgets.dump()

    assert posted(True) == posted(False)
