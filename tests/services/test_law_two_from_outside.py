"""Ways around the frequency cap that somebody outside could try; each was open once."""

from pathlib import Path
from typing import Any

import pytest
from world import World, campaign, publisher

from adserver.ledger.verify import verify
from adserver.services.ask import Asker
from adserver.services.calls import Call

GOOGLEBOT = Asker(user_agent="Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")
REQUEST = {"placements": [{"id": "top"}], "session": "s-1"}


def ads(world: World, asker: Asker | None = None) -> list[dict[str, Any]]:
    answer = world.decide(REQUEST, asker=asker or Asker())
    found: list[dict[str, Any]] = answer["decisions"][0]["ads"]
    return found


@pytest.mark.parametrize(
    ("house", "served"),
    [
        ({"pricing": {"model": "cpm", "amount": "0.00"}}, 1),
        ({"pricing": {"model": "cpm", "amount": "2.00"}}, 0),
        ({"pricing": {"model": "cpm", "amount": "0.00"}, "frequency_caps": [{"limit": 1, "per": "1d"}]}, 0),
    ],
)
def test_a_crawler_gets_nothing_that_costs_or_counts(tmp_path: Path, house: Any, served: int) -> None:
    """Its answer leaves no record, and its URLs work in any browser."""
    item = {"id": "own", "priority": "house", **house}
    with World(tmp_path, publishers=[publisher()], campaigns=[campaign("acme/own", item)]) as world:
        written = world.app.journal.position
        assert [len(ads(world, GOOGLEBOT)) for _ in range(3)] == [served] * 3
        assert world.app.journal.position == written


def test_what_became_of_a_crawlers_house_ad_is_sound_to_audits(tmp_path: Path) -> None:
    """Its URLs are filtered for the crawler and count for a person who follows them, and no decision is there
    to be found."""
    item = {"id": "own", "priority": "house", "pricing": {"model": "cpm", "amount": "0.00"}}
    with World(tmp_path, publishers=[publisher()], campaigns=[campaign("acme/own", item)]) as world:
        for _ in range(2):
            [ad] = ads(world, GOOGLEBOT)
            for call in (Call(GOOGLEBOT.user_agent), None):
                for url in ("impression_url", "viewable_url", "click_url"):
                    world.event(ad[url], call)
                    world.clock.ms += 1000
            world.restart()
        world.tick()
        [told] = world.delivery("acme/own")["line_items"]
        assert (told["impressions"], told["clicks"], told["filtered"]) == (2, 2, 6)
        assert verify(world.folder / "data", lambda line: None) == []


@pytest.mark.parametrize("clean", [None, False, True])
def test_an_impression_after_its_release_counts_for_the_session(tmp_path: Path, clean: bool | None) -> None:
    item = {"id": "once", "frequency_caps": [{"limit": 1, "per": "session"}]}
    with World(tmp_path, publishers=[publisher()], campaigns=[campaign("acme/s", item)]) as world:
        [ad] = ads(world)
        world.event(ad["release_url"])
        if clean is not None:
            world.restart(clean)
        assert world.event(ad["impression_url"]).status.name == "EXPIRED"
        assert ads(world) == []
