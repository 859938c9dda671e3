"""Winners, their order and what they pay are those of scoring everything: with caps and budgets refusing,
floors, ties, learned rates, both auctions, and several placements in a request."""

import random
from pathlib import Path
from typing import Any

import pytest
from scored import Everything, random_multipliers, random_rates
from world import World, campaign, publisher

from adserver.domain.decision import Decision
from adserver.engine.worth import Worth
from adserver.services import deciding

pytestmark = pytest.mark.slow

PUBLISHERS = [
    publisher(
        "gazette",
        placements=[
            {"id": "top", "auction": "second_price", "floor": "0.50"},
            {"id": "side"},
            {"id": "mid", "auction": "second_price"},
        ],
    )
]
BIDS = {"cpm": ("1.20", "1.20", "2.40", "0.40"), "vcpm": ("2.00", "4.00"), "cpc": ("0.60", "0.60", "1.20")}


def line_item(chance: random.Random, number: int) -> dict[str, Any]:
    model = chance.choice(("cpm", "cpm", "vcpm", "cpc"))
    item: dict[str, Any] = {
        "id": f"l{number}",
        "pricing": {"model": model, "amount": chance.choice(BIDS[model])},
        "level": chance.choice((5, 5, 5, 6)),
    }
    if chance.random() < 0.4:
        item["frequency_caps"] = [{"limit": chance.randint(1, 2), "per": "1d"}]
    if chance.random() < 0.3:
        item["budget"] = {"lifetime": chance.choice(("0.01", "0.003", "2.00"))}
    if chance.random() < 0.2:
        item["targeting"] = {"custom": chance.choice(('section = "sport"', "depth > 2", "depth > 1"))}
    return item


def campaigns(chance: random.Random) -> list[Any]:
    return [
        campaign(
            f"brand/c{number}",
            *(line_item(chance, item) for item in range(chance.choice((1, 1, 4)))),
            repeat_in_request=chance.random() < 0.2,
        )
        for number in range(30)
    ]


def request(chance: random.Random, mode: str) -> dict[str, Any]:
    names = chance.sample(("top", "side", "mid"), chance.randint(1, 3))
    return {
        "placements": [{"id": name, "count": chance.choice((1, 2, 9))} for name in names],
        "user": {"id": f"u-{chance.randint(1, 2)}"},
        "properties": {"section": "sport", "depth": 2},
        "mode": mode,
    }


def show_all(world: World) -> None:
    """What a decision found exhausted is asked again by the next, as after a sweep."""
    live = world.app.world.serving.live
    for position in list(live.cleared):
        live.set(position)


@pytest.mark.parametrize("seed", range(12))
def test_decisions_equal_scoring_everything(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    with World(tmp_path, publishers=PUBLISHERS, campaigns=campaigns(chance)) as world:
        sold, cleared = 0, set()
        for turn in range(16):
            snapshot = world.app.world.snapshot
            world.app.world.learn(Worth(snapshot.entries, random_rates(chance, snapshot)))
            world.app.world.weigh(tuple(random_multipliers(chance, snapshot).items()) if seed % 2 else ())
            asked, decisions = request(chance, "dry_run"), list[Decision]()
            for kind in (deciding.Walk, Everything):
                with monkeypatch.context() as patch:
                    patch.setattr(deciding, "Walk", kind)
                    show_all(world)
                    decisions.append(world.outcome(asked, seed=seed * 1000 + turn).decision)
            assert decisions[0] == decisions[1]
            for slot in decisions[0].slots:
                sold += len(slot.ads)
                cleared |= {
                    ad.price_nanos < ad.rate_micros * (1000 if ad.model == 2 else 1) for ad in slot.ads
                }
            world.outcome(request(chance, "live"))
            world.clock.ms += 1000
        assert sold > 16
        assert cleared == {True, False}
