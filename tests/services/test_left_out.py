"""What a person has capped is no candidate any more, and is told all the same."""

from pathlib import Path
from typing import Any

import pytest
from world import OPERATOR, World, campaign, publisher

SEEN = campaign("acme/seen", {"id": "seen", "frequency_caps": [{"limit": 1, "per": "1h"}],
                              "pricing": {"model": "cpm", "amount": "9.00"}})  # fmt: skip
REQUEST: dict[str, Any] = {"placements": [{"id": "top"}], "user": {"id": "u-1"}}
EXPLAIN = {**REQUEST, "explain": True}


def won(world: World, request: dict[str, Any] = REQUEST) -> list[str]:
    return [ad["line_item"] for ad in world.decide(request, asker=OPERATOR)["decisions"][0]["ads"]]


def told(world: World) -> dict[str, Any]:
    (placement,) = world.decide(EXPLAIN, asker=OPERATOR)["explain"]
    found: dict[str, Any] = next(
        one for one in placement["line_items"] if one["line_item"] == "acme/seen/seen"
    )
    return found


def test_it_is_not_walked_over_and_told_when_asked(tmp_path: Path) -> None:
    with World(tmp_path / "world", publishers=[publisher()], campaigns=[SEEN, campaign("bolt/b")]) as world:
        assert won(world) == ["seen"]
        (slate,) = world.outcome(REQUEST, asker=OPERATOR).slates
        assert slate is not None and slate.drops == {}
        assert [winner.entry.line_item.id for winner in slate.winners] == ["a"]
        assert (told(world)["reason"], told(world)["outcome"]) == ("frequency_capped", "dropped")
        world.clock.ms += 3_600_000 + 15 * 60_000 + 1
        assert won(world) == ["seen"]


def test_somebody_else_has_not_capped_it(tmp_path: Path) -> None:
    with World(tmp_path / "world", publishers=[publisher()], campaigns=[SEEN]) as world:
        assert won(world) == ["seen"]
        answer = world.decide(REQUEST, asker=OPERATOR)["decisions"][0]
        assert (answer["ads"], answer["no_fill"]) == ([], "frequency_capped")
        assert won(world, {**REQUEST, "user": {"id": "u-2"}}) == ["seen"]


def test_a_capped_one_that_does_not_match_is_no_reason(tmp_path: Path) -> None:
    """The person has it capped; the request is not for it anyway."""
    german = {**SEEN, "line_items": [{**SEEN["line_items"][0], "targeting": {"languages": ["de"]}}]}
    with World(tmp_path / "world", publishers=[publisher()], campaigns=[german]) as world:
        assert won(world, {**REQUEST, "device": {"language": "de"}}) == ["seen"]
        answer = world.decide({**REQUEST, "device": {"language": "fr"}}, asker=OPERATOR)["decisions"][0]
        assert (answer["ads"], answer["no_fill"]) == ([], "no_match")


@pytest.mark.parametrize("scope", ["line_item", "campaign", "advertiser", "creative"])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_caps_hold_within_one_request(tmp_path: Path, scope: str, limit: int) -> None:
    """Nothing is left out before the walk: it is the grants of this very request that fill the cap."""
    caps = [{"limit": limit, "per": "1h", "scope": scope}]
    items = [{"id": name, "frequency_caps": caps, "creatives": [{"id": name}]} for name in "ab"]
    pages = publisher(placements=[{"id": "top"}, {"id": "side"}, {"id": "end"}])
    asked = {**REQUEST, "placements": [{"id": name, "count": 6} for name in ("top", "side", "end")]}
    sold = campaign("acme/spring", *items, repeat_in_request=True)
    with World(tmp_path / "world", publishers=[pages], campaigns=[sold]) as world:
        found = [ad["line_item"] for slot in world.decide(asked)["decisions"] for ad in slot["ads"]]
        both = scope in ("line_item", "creative")
        assert [found.count(name) for name in "ab"] == [limit, limit] if both else len(found) == limit
        assert [slot["no_fill"] for slot in world.decide(asked)["decisions"]] == ["frequency_capped"] * 3
