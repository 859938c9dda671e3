"""Short ways are the long ways: what a decision skips because it would find nothing changes nothing.

The same random session is played twice, by servers with the same secrets: once as it is, once with every
short way closed, so that each candidate is put to the rules as they are written. Decisions, what dropped
whom, exposures and holds must be the same.
"""

import random
from pathlib import Path
from typing import Any

import pytest
from test_determinism import twin
from world import World, campaign, publisher

from adserver.engine.snapshot import Entry
from adserver.services import deciding, plans, slate
from adserver.services.ask import Asker
from adserver.services.exclusions import Company

BOT = Asker(user_agent="Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")
PUBLISHERS = [
    publisher(
        "gazette",
        placements=[
            {"id": "top", "auction": "second_price", "floor": "1.50"},
            {"id": "side"},
            {"id": "wide", "formats": ["image", "native"]},
            {"id": "news", "surface": "feed", "feed": {"max_share": "0.4", "advertiser_gap": 3}},
        ],
    )
]


def line_item(chance: random.Random, number: int) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": f"l{number}",
        "priority": chance.choice(("auction",) * 8 + ("standard", "house")),
        "pricing": {
            "model": chance.choice(("cpm", "cpm", "vcpm")),
            "amount": chance.choice(("1.00", "2.40")),
        },
        "pacing": chance.choice(("asap", "even")),
        "flight": chance.choice(
            ({}, {"start": "2026-06-01T12:00:20Z"}, {"start": "2026-05-01", "end": "2026-06-01T12:01:00Z"})
        ),
        "suitable_for_minors": chance.random() < 0.8,
        "serve_without_user": chance.random() < 0.3,
    }
    if chance.random() < 0.5:
        per, scope = chance.choice(("1m", "1d", "session")), chance.choice(("line_item", "advertiser"))
        item["frequency_caps"] = [{"limit": chance.randint(1, 4), "per": per, "scope": scope}]
    if chance.random() < 0.1:
        item["frequency_caps"] = [{"limit": 1, "per": "1h", "scope": "creative"}]
    if chance.random() < 0.5:
        item["budget"] = {chance.choice(("lifetime", "daily")): chance.choice(("0.01", "0.005", "9.00"))}
    if chance.random() < 0.2:
        item["goal"] = {"impressions": chance.choice((1, 3, 1000))}
        item["flight"] = {"start": "2026-05-01", "end": "2026-07-01"}
    if chance.random() < 0.3:
        own = [{"id": f"x{number}"}, {"id": f"y{number}", "weight": 3, "categories": ["IAB7"]}]
        item["creatives"] = own[: chance.randint(1, 2)]
    return item


def campaigns(chance: random.Random) -> list[Any]:
    return [
        campaign(
            f"brand{number % 5}/c{number}",
            *(line_item(chance, item) for item in range(chance.choice((1, 1, 3)))),
            repeat_in_request=chance.random() < 0.3,
            labels=chance.choice(([], [], ["cars"], ["alcohol"])),
            exclude_labels=chance.choice(([], [], ["cars"])),
        )
        for number in range(24)
    ]


def request(chance: random.Random, turn: int) -> dict[str, Any]:
    asked: dict[str, Any] = {"mode": chance.choice(("live",) * 6 + ("test", "dry_run"))}
    placements: list[dict[str, Any]] = [
        {"id": name, "count": chance.choice((1, 1, 3))}
        for name in chance.sample(("top", "side", "wide"), chance.randint(1, 3))
    ]
    if chance.random() < 0.2:
        placements[0]["floor"] = "2.00"
    if chance.random() < 0.1:
        placements[0]["properties"] = {"section": "sport"}
    user: dict[str, Any] = {"id": f"u-{chance.randint(1, 3)}"} if chance.random() < 0.8 else {}
    if chance.random() < 0.1:
        user["minor"] = True
    if chance.random() < 0.8:
        asked["session"] = f"s-{chance.randint(1, 3)}"
    if chance.random() < 0.15:
        asked["block"] = chance.choice(
            ({"advertisers": ["brand1"]}, {"labels": ["cars"]}, {"categories": ["IAB7"]})
        )
    if "session" in asked and asked["mode"] == "live" and chance.random() < 0.3:
        page = {"id": f"feed-{turn}", "page": 0, "organic_count": chance.randint(2, 20)}
        placements.append({"id": "news", "feed": page})
    return asked | {"placements": placements, "user": user}


def play(world: World, seed: int) -> list[Any]:
    """All there is to know of a session: decisions, drops, counters and holds."""
    chance, told = random.Random(seed), list[Any]()
    world.chance = 1
    world.put(publishers=PUBLISHERS, campaigns=campaigns(chance))
    for turn in range(70):
        world.clock.ms += chance.choice((0, 1, 400, 3000))
        asker = BOT if chance.random() < 0.05 else Asker()
        outcome = world.outcome(request(chance, turn), asker=asker)
        told.append(outcome.decision)
        for one in outcome.slates:
            if one is not None:
                told.append((list(one.drops.items()), sorted(one.unasked), one.unserved, one.expires_ms))
        if turn % 10 == 9:
            world.tick()
    kept = world.app.decisions._kept
    return [*told, kept.state._counters, kept.holds._holds]  # type: ignore[attr-defined]


def close_short_ways(patch: pytest.MonkeyPatch) -> None:
    """Every candidate is put to every rule."""

    class LongWalk(deciding.Walk):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args[:5])

    def no(*_: object) -> bool:
        return False

    def refused(company: Company, entry: Entry) -> bool:
        return company.refuses(entry) is None

    patch.setattr(deciding, "Walk", LongWalk)
    patch.setattr(slate, "passes_request", no)
    patch.setattr(plans, "is_free", no)
    patch.setattr(Company, "welcomes", refused)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_short_ways_lead_where_the_long_ways_lead(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(tmp_path / "short") as short, twin(short, tmp_path / "long") as long:
        told = play(short, seed)
        with monkeypatch.context() as patch:
            close_short_ways(patch)
            wanted = play(long, seed)
        for number, (one, other) in enumerate(zip(told, wanted, strict=True)):
            assert one == other, number
        ads = sum(len(slot.ads) for outcome in told if hasattr(outcome, "slots") for slot in outcome.slots)
        assert ads > 50
