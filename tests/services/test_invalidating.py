"""Events taken back: refunded once, however often it is told, and what they stood for is free again."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from world import World, campaign, publisher

from adserver.ledger.verify import verify
from adserver.services.invalidating import Invalidated, refunded
from adserver.services.refusals import Refused

EURO = {"model": "cpm", "amount": "1000.00"}
REQUEST: dict[str, Any] = {"placements": [{"id": "top"}]}


def sold(tmp_path: Path, **item: Any) -> World:
    line_item = {"id": "a", "pricing": EURO, **item}
    return World(tmp_path / "world", publishers=[publisher()], campaigns=[campaign("acme/a", line_item)])


def show(world: World) -> str:
    """The event id of an ad that was shown."""
    (ad,) = world.decide(REQUEST)["decisions"][0]["ads"]
    assert world.event(ad["impression_url"]).billed
    event_id: str = ad["event_id"]
    return event_id


def take_back(world: World, *event_ids: str) -> list[Invalidated]:
    return asyncio.run(world.app.invalidation.reverse(event_ids, "a farm"))


def numbers(world: World) -> list[int]:
    item = world.delivery("acme/a")["line_items"][0]
    return [item[name] for name in ("impressions", "invalidated", "spend_micros", "remaining_micros")]


def test_a_refund_is_made_once(tmp_path: Path) -> None:
    with sold(tmp_path, budget={"lifetime": "3.00"}) as world:
        shown = [show(world) for _ in range(2)]
        assert take_back(world, shown[0]) == [Invalidated(shown[0], (), "", 0)], "nothing is posted yet"
        world.tick()
        assert numbers(world) == [2, 0, 2_000_000, 1_000_000]
        assert take_back(world, shown[0], shown[0]) == [Invalidated(shown[0], ("impression",), "EUR", 10**9)]
        assert numbers(world) == [2, 1, 1_000_000, 2_000_000]
        for _ in range(2):
            assert take_back(world, shown[0]) == [Invalidated(shown[0], (), "", 0)], (
                "before and after posting"
            )
            world.tick()
        for clean in (False, True):
            world.restart(clean)
            assert numbers(world) == [2, 1, 1_000_000, 2_000_000]
            assert take_back(world, shown[0])[0].kinds == ()
        assert verify(world.folder / "data", lambda line: None) == []


def test_others_have_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adserver.services.invalidating._TURN", 3)
    with sold(tmp_path) as world:
        shown = [show(world) for _ in range(10)]
        world.tick()
        turns = [0]

        async def beside() -> None:
            while True:
                turns.append(numbers(world)[1])
                await asyncio.sleep(0)

        async def together() -> None:
            other = asyncio.create_task(beside())
            await world.app.invalidation.reverse(shown, "a farm")
            other.cancel()

        asyncio.run(together())
        assert numbers(world)[1] == 10
        assert max(after - before for before, after in pairwise(turns)) <= 3


def test_currencies_are_not_added_up() -> None:
    results = [
        Invalidated("a", ("click",), "USD", 1_500),
        Invalidated("b", ("click",), "EUR", 1_500),
        Invalidated("c", (), "", 0),
        Invalidated("d", ("click",), "EUR", 1_500),
    ]
    assert refunded(results) == [("EUR", 3), ("USD", 1)]


def test_the_budget_and_the_goal_have_room_again(tmp_path: Path) -> None:
    for name, item in (("budget", {"budget": {"daily": "1.00"}}), ("goal", {"goal": {"impressions": 1}})):
        (tmp_path / name).mkdir()
        with sold(tmp_path / name, **item) as world:
            shown = show(world)
            world.tick()
            assert world.decide(REQUEST)["decisions"][0]["ads"] == []
            take_back(world, shown)
            world.tick()
            show(world)
            assert world.decide(REQUEST)["decisions"][0]["ads"] == []
            world.tick()
            assert verify(world.folder / "data", lambda line: None) == []


def test_a_day_that_is_over_is_refunded_in_the_books(tmp_path: Path) -> None:
    """Its day account is forgotten by then; the lifetime's is not."""
    with sold(tmp_path, budget={"lifetime": "3.00", "daily": "2.00"}) as world:
        shown = show(world)
        world.tick()
        world.clock.ms += 10 * 86_400_000
        world.tick()
        world.restart()
        assert [one.refunded_nanos for one in take_back(world, shown)] == [10**9]
        assert numbers(world) == [1, 1, 0, 2_000_000]
        world.tick()
        assert verify(world.folder / "data", lambda line: None) == []


def test_what_is_no_event_id_takes_nothing_back(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        shown = show(world)
        world.tick()
        with pytest.raises(Refused) as refused:
            take_back(world, shown, "no id")
        assert (refused.value.status, refused.value.errors[0][0]) == (400, "events[1]")
        assert numbers(world)[:2] == [1, 0]


def test_told_at_once_by_many_it_is_taken_back_once(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        shown = show(world)
        world.tick()

        async def together() -> list[list[Invalidated]]:
            reverse = world.app.invalidation.reverse
            return list(await asyncio.gather(*(reverse([shown], "a farm") for _ in range(20))))

        assert sum(len(found[0].kinds) for found in asyncio.run(together())) == 1
        world.tick()
        assert verify(world.folder / "data", lambda line: None) == []
