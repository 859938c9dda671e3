"""Law 3's check: the delivery numbers must be what visitors were told, and within every budget."""

from typing import Any

import pytest
from told import START_MS, WORLD, ad, answered, event

from loadtests import budgets, live, repeats
from loadtests.records import NEVER, Ad, Change, Decision, Event, Price

DAY_MS = 86_400_000


def delivered(**line_items: dict[str, int]) -> budgets.Delivery:
    """Numbers of ``brise/scarce``; every other campaign has delivered nothing."""
    found: dict[str, Any] = {}
    for name, campaign in WORLD.campaigns.items():
        nothing = {"spend_micros": 0, "impressions": 0, "viewable": 0, "clicks": 0}
        numbers = {item.id: {"id": item.id, **nothing} for item in campaign.line_items}
        if name == "brise/scarce":
            for item, changed in line_items.items():
                numbers[item].update(changed)
        found[name] = {"line_items": list(numbers.values())}
    return found


def shown(
    number: int, line_item: str = "brise/scarce/rest", apart_ms: int = 1
) -> tuple[list[Ad], list[Decision], list[Event]]:
    """So many ads at 0.007 each, rendered and billed."""
    ads = [ad(line_item, "banner", START_MS + n * apart_ms) for n in range(number)]
    decisions = [answered("banner", [one], START_MS + n * apart_ms) for n, one in enumerate(ads)]
    return ads, decisions, [event(one, "impression", START_MS + 9 * DAY_MS, billed=True) for one in ads]


def violations(decisions: list[Decision], events: list[Event], delivery: budgets.Delivery) -> list[str]:
    return budgets.check(decisions, events, delivery, WORLD).violations


def test_sound_books_pass() -> None:
    _, decisions, events = shown(58)
    numbers = {"spend_micros": 406_000, "impressions": 58}
    found = budgets.check(decisions, events, delivered(rest=numbers), WORLD)
    assert found.holds and found.checked["budgets spent"] == 1


def test_budgets_that_nobody_came_near_to_were_not_put_to_the_test() -> None:
    _, decisions, events = shown(10)
    numbers = {"spend_micros": 70_000, "impressions": 10}
    found = budgets.check(decisions, events, delivered(rest=numbers), WORLD)
    assert found.violations == [] and found.empty == ["budgets spent"]


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ({"spend_micros": 70_001, "impressions": 10}, "spend_micros is 70001"),
        ({"spend_micros": 63_000, "impressions": 10}, "add up to 70000..70000"),
        ({"spend_micros": 70_000, "impressions": 11}, "impressions is 11"),
    ],
)
def test_wrong_books_are_named(numbers: dict[str, int], named: str) -> None:
    _, decisions, events = shown(10)
    assert any(named in v for v in violations(decisions, events, delivered(rest=numbers)))


@pytest.mark.parametrize(("number", "broken"), [(71, False), (72, True)])
def test_campaign_budget(number: int, broken: bool) -> None:
    """0.50 are 71 impressions at 0.007."""
    _, decisions, events = shown(number)
    found = violations(
        decisions, events, delivered(rest={"spend_micros": number * 7000, "impressions": number})
    )
    assert any("lifetime budget 0.500000 of campaign brise/scarce" in v for v in found) == broken


@pytest.mark.parametrize(("apart_ms", "broken"), [(1, True), (DAY_MS, False)])
def test_daily_budget_goes_by_the_day_of_the_decision(apart_ms: int, broken: bool) -> None:
    """0.09 a day are 10 impressions at 0.009."""
    _, decisions, events = shown(11, "brise/scarce/daily", apart_ms)
    found = violations(decisions, events, delivered(daily={"spend_micros": 99_000, "impressions": 11}))
    assert any("daily budget 0.090000" in v for v in found) == broken


def test_a_call_that_was_never_answered_leaves_it_open() -> None:
    ads, decisions, events = shown(2)
    lost = event(ads[1], "impression", START_MS, "", status=0, received_ms=NEVER)
    for spend, impressions in ((7_000, 1), (14_000, 2)):
        delivery = delivered(rest={"spend_micros": spend, "impressions": impressions})
        assert violations(decisions, [events[0], lost], delivery) == []
    wrong = delivered(rest={"spend_micros": 21_000, "impressions": 2})
    assert violations(decisions, [events[0], lost], wrong)


def test_twice_wrongly_and_secretly_billed() -> None:
    ads, decisions, events = shown(1)
    twice = delivered(rest={"spend_micros": 14_000, "impressions": 2})
    assert any("accepted twice" in v for v in violations(decisions, [*events, *events], twice))
    once = delivered(rest={"spend_micros": 7_000, "impressions": 1, "clicks": 1})
    click = event(ads[0], "click", START_MS + 9, billed=True)
    assert any("click of cpm ad" in v for v in violations(decisions, [*events, click], once))
    late = event(ads[0], "impression", START_MS + 9, "expired", billed=True)
    assert any("was billed" in v for v in violations(decisions, [late], delivered()))


def test_a_second_price_is_known_to_a_micro() -> None:
    one = ad("brise/scarce/rest", "rail", price=Price("cpm", 7_000_000, 1000, "EUR", 3_333))
    told = [event(one, "impression", START_MS + 9, billed=True)]
    for spend, sound in ((3_332, False), (3_333, True), (3_334, False)):
        delivery = delivered(rest={"spend_micros": spend, "impressions": 1})
        assert (violations([answered("rail", [one])], told, delivery) == []) == sound


def test_nothing_sold_is_no_success() -> None:
    assert not budgets.check([], [], delivered(), WORLD).holds


def test_bids_must_be_in_force() -> None:
    """A bid of 7.00 is replaced by 8.00, and that by 9.00 ten seconds later."""
    changes = [
        Change(at_ms, at_ms + 10, 200, "brise/scarce", {"brise/scarce/rest": micros}, at_ms + 90)
        for at_ms, micros in ((START_MS, 8_000_000), (START_MS + 10_000, 9_000_000))
    ]

    def sound(micros: int, after_ms: int) -> bool:
        at_ms = START_MS + after_ms
        one = ad(
            "brise/scarce/rest", "banner", at_ms, price=Price("cpm", micros, 1000, "EUR", micros // 1000)
        )
        return live.check(changes, [answered("banner", [one], at_ms)], WORLD).holds

    assert sound(7_000_000, 1_900) and sound(8_000_000, 1_900)
    assert not sound(7_000_000, 2_100) and sound(8_000_000, 9_000)
    assert not sound(9_000_000, 9_000) and not sound(8_000_000, 12_100)


def test_slow_and_unseen_changes_are_found() -> None:
    slow = Change(START_MS, START_MS, 200, "brise/scarce", {}, START_MS + 2001)
    unseen = Change(START_MS, START_MS, 200, "brise/scarce", {}, None)
    refused = Change(START_MS, START_MS, 409, "brise/scarce", {}, None)
    assert [len(live.check([c], [], WORLD).violations) for c in (slow, unseen, refused)] == [1, 1, 1]


def test_repeated_requests_have_one_answer() -> None:
    one = answered("banner", [], request="r", digest="a")
    assert repeats.check([one, one]).holds
    assert not repeats.check([one, answered("banner", [], request="r", digest="b")]).holds
