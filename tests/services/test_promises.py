"""Terms are journalled when something relies on them, and budgets bound when somebody touches them: whatever
came between, the limits in force bind at once, and the books agree."""

from pathlib import Path
from typing import Any

import pytest
from world import World, campaign, publisher

from adserver.domain.records import Status
from adserver.ledger.journal import Journal
from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow

TOP: dict[str, Any] = {"placements": [{"id": "top"}], "user": {"id": "u-1"}}
CLICKS = {"model": "cpc", "amount": "1.00"}
EUROS = {"model": "cpm", "amount": "1000.00"}
"""An impression for a euro."""


def only(shown: str, lifetime: str, pricing: dict[str, str] = EUROS) -> dict[str, Any]:
    """A campaign of two line items, one of them paused, with a budget over both."""
    items = [
        {"id": name, "pricing": pricing, "status": "active" if name == shown else "paused"} for name in "ab"
    ]
    return campaign("acme/spring", *items, budget={"lifetime": lifetime})


def opened(tmp_path: Path, *campaigns: dict[str, Any]) -> World:
    return World(tmp_path / "world", publishers=[publisher()], campaigns=campaigns)


def ads(world: World, number: int = 1) -> list[dict[str, Any]]:
    """As many of ``number`` requests as got one."""
    answers = [world.decide(TOP)["decisions"][0]["ads"] for _ in range(number)]
    return [ad for answer in answers for ad in answer]


def shown(world: World, number: int = 1) -> list[dict[str, Any]]:
    """The same, their impressions told: what is clicked was shown before."""
    found = ads(world, number)
    assert all(world.event(ad["impression_url"]).status is Status.ACCEPTED for ad in found)
    return found


def billed(world: World, found: list[dict[str, Any]], event: str = "impression_url") -> int:
    return sum(world.event(ad[event]).billed for ad in found)


def in_order(world: World) -> None:
    world.tick()
    assert world.app.refused == 0
    assert verify(world.folder / "data", report=lambda line: None) == []


def test_a_swap_walks_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, only("a", "9.00")) as world:
        written = world.app.journal.position
        world.put(campaigns=[campaign(f"acme/c{number}") for number in range(30)])
        assert world.app.journal.position == written
        assert world.app.states.budgets._bound == {}
        ads(world)
        assert len(world.app.states.hot.terms) == 1, "of what was sold alone"


def test_a_budget_lowered_and_raised_again_while_its_sibling_sold(tmp_path: Path) -> None:
    """The terms of ``a`` are the same as before, but ``b`` said less of their campaign meanwhile."""
    with opened(tmp_path, only("a", "8.00")) as world:
        assert billed(world, ads(world, 2)) == 2
        world.put(campaigns=[only("b", "4.00")])
        assert billed(world, ads(world, 9)) == 2
        world.put(campaigns=[only("a", "8.00")])
        assert billed(world, ads(world, 9)) == 4
        in_order(world)


@pytest.mark.parametrize("restart", [False, True])
def test_a_raised_budget_pays_a_click_before_anything_is_sold_under_it(tmp_path: Path, restart: bool) -> None:
    with opened(tmp_path, only("a", "1.00", CLICKS)) as world:
        first, second, third = shown(world, 3)
        assert billed(world, [first, second], "click_url") == 1
        world.put(campaigns=[only("b", "2.00", CLICKS)])
        if restart:
            world.restart()
        assert billed(world, [third], "click_url") == 1
        in_order(world)


@pytest.mark.parametrize("restart", [False, True])
def test_a_lowered_budget_stops_clicks_of_who_was_not_asked_since(tmp_path: Path, restart: bool) -> None:
    with opened(tmp_path, only("a", "9.00", CLICKS)) as world:
        found = shown(world, 4)
        assert billed(world, found[:2], "click_url") == 2
        world.put(campaigns=[only("b", "2.50", CLICKS)])
        if restart:
            world.restart()
        assert billed(world, found[2:], "click_url") == 0
        assert ads(world, 3), "a click is held by a small part of its price"
        in_order(world)


@pytest.mark.parametrize("restart", [None, "kill", "clean"])
@pytest.mark.parametrize("rest", [(), ("b",)])
def test_what_is_archived_takes_its_last_budget_along(
    tmp_path: Path, restart: str | None, rest: tuple[str, ...]
) -> None:
    """Lowered and then archived, the line item alone or its campaign, with nothing sold in between."""
    own = {"id": "a", "pricing": CLICKS, "budget": {"lifetime": "9.00"}}
    others = [{"id": name, "pricing": CLICKS} for name in rest]
    with opened(tmp_path, campaign("acme/spring", own, budget={"lifetime": "9.00"})) as world:
        found = shown(world, 4)
        assert billed(world, found[:2], "click_url") == 2
        low = {**own, "budget": {"lifetime": "2.50"}}
        world.put(campaigns=[campaign("acme/spring", low, *others)])
        if rest:
            world.put(campaigns=[campaign("acme/spring", *others)])
        else:
            world.archive("campaign", "acme/spring")
        if restart is not None:
            world.restart(restart == "clean")
        assert billed(world, found[2:], "click_url") == 0
        in_order(world)


def test_what_found_no_room_at_the_swap_is_journalled_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, only("a", "9.00", CLICKS)) as world:
        found = shown(world, 4)
        assert billed(world, found[:2], "click_url") == 2
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "open", property(lambda journal: False))
            world.put(campaigns=[only("b", "2.50", CLICKS)])
            world.archive("campaign", "acme/spring")
        world.tick()
        world.restart()
        assert billed(world, found[2:], "click_url") == 0
        in_order(world)


def test_a_campaign_lowered_after_its_line_item_had_left(tmp_path: Path) -> None:
    items = [{"id": name, "pricing": CLICKS} for name in "ab"]
    with opened(tmp_path, campaign("acme/spring", items[0], budget={"lifetime": "9.00"})) as world:
        found = shown(world, 4)
        assert billed(world, found[:2], "click_url") == 2
        world.put(campaigns=[campaign("acme/spring", items[1], budget={"lifetime": "9.00"})])
        world.put(campaigns=[campaign("acme/spring", items[1], budget={"lifetime": "2.00"})])
        world.archive("campaign", "acme/spring")
        assert billed(world, found[2:], "click_url") == 0
        in_order(world)


def test_a_changed_cap_counts_the_click_that_comes_before_the_next_sale(tmp_path: Path) -> None:
    """What lived and what is read back agree, though nothing was sold under the new cap."""
    once = [{"limit": 1, "per": "1d", "event": "click"}]
    with opened(tmp_path, campaign("acme/spring", {"id": "a"})) as world:
        (found,) = shown(world)
        world.put(campaigns=[campaign("acme/spring", {"id": "a", "frequency_caps": once})])
        world.event(found["click_url"])
        assert ads(world) == []
        world.restart()
        assert ads(world) == []


@pytest.mark.parametrize("restart", [False, True])
def test_a_click_on_what_is_gone_counts_for_its_siblings(tmp_path: Path, restart: bool) -> None:
    once = [{"limit": 1, "per": "1d", "event": "click", "scope": "advertiser"}]
    with opened(tmp_path, campaign("acme/spring", {"id": "a", "frequency_caps": once})) as world:
        (found,) = ads(world)
        world.archive("campaign", "acme/spring")
        world.event(found["impression_url"])
        world.event(found["click_url"])
        world.put(campaigns=[campaign("acme/other", {"id": "b", "frequency_caps": once})])
        if restart:
            world.restart()
        assert ads(world) == []
        in_order(world)


def test_a_hold_ends_with_what_was_sold_and_not_with_what_is(tmp_path: Path) -> None:
    """Also where it is read back: the impression was paid, so nothing of it is reserved any more."""
    seen = {"model": "vcpm", "amount": "1000.00"}
    budget = {"lifetime": "2.00"}
    item = {"id": "a", "pricing": EUROS}
    with opened(tmp_path, campaign("acme/spring", item, budget=budget)) as world:
        (found,) = ads(world)
        world.put(campaigns=[campaign("acme/spring", {"id": "a", "pricing": seen}, budget=budget)])
        assert billed(world, [found]) == 1
        (serial,) = (entry.line_item.serial for entry in world.app.world.snapshot.entries)
        held = world.app.states.budgets.account(f"line_item:{serial}").held_nanos
        world.restart()
        assert (world.app.states.budgets.account(f"line_item:{serial}").held_nanos, held) == (0, 0)
        in_order(world)


@pytest.mark.parametrize("clean", [False, True])
def test_a_click_on_a_replaced_version_counts_for_its_creative(tmp_path: Path, clean: bool) -> None:
    once = [{"limit": 1, "per": "1d", "event": "click", "scope": "creative"}]

    def leading(to: str) -> dict[str, Any]:
        shown = {"id": "box", "landing_url": f"https://acme.example/{to}"}
        return campaign("acme/spring", {"id": "a", "frequency_caps": once, "creatives": [shown]})

    with opened(tmp_path, leading("one")) as world:
        first, second = shown(world, 2)
        world.put(campaigns=[leading("two")])
        (third,) = ads(world)
        assert third["creative"] == first["creative"]
        if clean:
            world.restart(clean=True)
        world.event(second["click_url"])
        assert ads(world) == []
        world.restart()
        assert ads(world) == []
        in_order(world)
