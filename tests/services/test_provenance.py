"""An event is recorded under the country and device that its decision knew, whoever calls its URL, and a
decision's answer and replay keep them, also after a restart."""

from contextlib import closing
from pathlib import Path

import pytest
from world import World, campaign, publisher

from adserver.domain.books import Position
from adserver.domain.provenance import DEVICES
from adserver.domain.records import Decided, Record, Recorded
from adserver.ledger.reader import Reader
from adserver.replaying import replay

ASKED = {
    "id": "again",
    "placements": [{"id": "top"}],
    "user": {"id": "anna"},
    "consent": {"personalised": True},
    "geo": {"country": "fr"},
    "device": {"type": "Tablet"},
}


def records(world: World) -> list[Record]:
    with closing(Reader(world.app.settings.data / "journal")) as reader:
        return [record for _, record, _ in reader.read(Position())]


def world_at(folder: Path) -> World:
    return World(folder, publishers=[publisher()], campaigns=[campaign("acme/spring")])


def test_an_event_is_recorded_as_its_decision_was_asked(tmp_path: Path) -> None:
    with world_at(tmp_path) as world:
        answer = world.decide_bytes(ASKED)
        ad = world.decide(ASKED)["decisions"][0]["ads"][0]
        world.restart()
        assert world.decide_bytes(ASKED) == answer
        for url in (ad["impression_url"], ad["click_url"], ad["events"]["hide"]):
            assert world.event(url).status == 1
        told = [(one.country, DEVICES[one.device]) for one in records(world) if isinstance(one, Recorded)]
        assert told == [("FR", "tablet")] * 3
        (decided,) = [one.decision for one in records(world) if isinstance(one, Decided)]
        assert (decided.country, DEVICES[decided.device]) == ("FR", "tablet")
        assert replay(world.app.settings.data, decided.request_id).outcome == "identical"


@pytest.mark.parametrize(
    ("geo", "device", "told"),
    [({}, {}, ("", 0)), ({"country": "FRANCE"}, {"type": "fridge"}, ("", DEVICES.index("other")))],
)
def test_what_is_not_known_is_nothing(
    tmp_path: Path, geo: dict[str, str], device: dict[str, str], told: tuple[str, int]
) -> None:
    with world_at(tmp_path) as world:
        ad = world.decide(ASKED | {"geo": geo, "device": device})["decisions"][0]["ads"][0]
        world.event(ad["impression_url"])
        (event,) = [one for one in records(world) if isinstance(one, Recorded)]
        assert (event.country, event.device) == told
