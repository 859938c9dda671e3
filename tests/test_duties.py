"""What goes on beside serving, as far as it is more than calling somebody."""

from pathlib import Path

from world import World, campaign, publisher

from adserver.domain.records import Status
from adserver.duties import Duties

LONG_MS = 3 * 86_400_000
"""No token lives as long."""


def test_events_are_forgotten_once_they_are_posted(tmp_path: Path) -> None:
    """Before, nobody else would know that they were counted."""
    with World(tmp_path, publishers=[publisher()], campaigns=[campaign()]) as world:
        urls = []
        for _ in range(3):
            answer = world.decide({"placements": [{"id": "top"}]})
            urls.append(answer["decisions"][0]["ads"][0]["impression_url"])
            assert world.event(urls[-1]).status is Status.ACCEPTED
        seen, duties = world.app.states.seen, Duties(world.app)
        world.clock.ms += LONG_MS
        for _ in range(2):
            duties.sweep_seen()
            assert len(seen) == 3, "they are not posted"
        world.app.post()
        duties.sweep_seen()
        assert len(seen) == 3, "what was posted is what there was before all this time"
        duties.sweep_seen()
        assert len(seen) == 0
        assert [world.event(url).status for url in urls] == [Status.DUPLICATE] * 3, "the ledger knows"
        assert world.app.refused == 0
