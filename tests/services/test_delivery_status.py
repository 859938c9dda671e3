"""``serving_status`` and the numbers beside it, one state after the other."""

from pathlib import Path
from typing import Any

import pytest
from world import World, campaign, publisher

REQUEST: dict[str, Any] = {"placements": [{"id": "top"}]}
EURO = {"model": "cpm", "amount": "1000.00"}


@pytest.mark.parametrize(
    ("status", "item"),
    [
        ("delivering", {}),
        ("paused", {"status": "paused"}),
        ("paused", {"status": "draft"}),
        ("no_creatives", {"creatives": []}),
        ("no_creatives", {"creatives": [{"id": "x", "status": "paused"}]}),
        ("scheduled", {"flight": {"start": "2026-06-02"}}),
        ("ended", {"flight": {"end": "2026-05-31"}}),
        ("budget_spent", {"budget": {"daily": "0.99"}}),
    ],
)
def test_status_of_a_line_item(tmp_path: Path, status: str, item: dict[str, Any]) -> None:
    sold = campaign("acme/a", {"id": "a", "pricing": EURO, **item})
    with World(tmp_path / "world", publishers=[publisher()], campaigns=[sold]) as world:
        told = world.delivery("acme/a")
        assert (told["serving_status"], told["line_items"][0]["serving_status"]) == (status, status)


def test_the_liveliest_line_item_speaks_for_its_campaign(tmp_path: Path) -> None:
    sold = campaign(
        "acme/a", {"id": "a", "flight": {"end": "2026-05-31"}}, {"id": "b", "status": "paused"}, {"id": "c"}
    )
    with World(tmp_path / "world", publishers=[publisher()], campaigns=[sold]) as world:
        told = world.delivery("acme/a")
        assert told["serving_status"] == "delivering"
        world.put(campaigns=[{**sold, "status": "paused"}])
        assert world.delivery("acme/a")["serving_status"] == "paused"
        assert world.delivery("acme/b") is None


def test_numbers_follow_what_happens(tmp_path: Path) -> None:
    sold = campaign(
        "acme/a",
        {"id": "a", "pricing": EURO, "budget": {"lifetime": "24.00"}, "pacing": "even",
         "flight": {"start": "2026-06-01T00:00", "end": "2026-06-02T00:00"}},
        budget={"lifetime": "30.00"},
    )  # fmt: skip
    with World(tmp_path / "world", publishers=[publisher()], campaigns=[sold]) as world:

        def told() -> Any:
            item = world.delivery("acme/a")["line_items"][0]
            names = ("reserved", "impressions", "spend_micros", "remaining_micros", "pace")
            return [item[name] for name in names]

        assert told() == [0, 0, 0, 24_000_000, 0.0]
        ads = [world.decide(REQUEST)["decisions"][0]["ads"][0] for _ in range(3)]
        assert told() == [3, 0, 0, 21_000_000, 0.25]
        assert world.delivery("acme/a")["remaining_micros"] == 27_000_000
        world.event(ads[0]["impression_url"])
        world.event(ads[1]["release_url"])
        assert told() == [1, 1, 1_000_000, 22_000_000, 0.1667]
        for _ in range(11):
            world.decide(REQUEST)
        assert world.delivery("acme/a")["serving_status"] == "paced"
