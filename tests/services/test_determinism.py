"""Law 5: the same catalogue, requests, events, times and seeds give the same bytes, wherever."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from random_session import PUBLISHERS, Session, campaigns
from world import World, campaign, publisher

pytestmark = pytest.mark.slow


class Listening(Session):
    """A session that keeps every answer."""

    def __init__(self, world: World, seed: int) -> None:
        super().__init__(world, seed)
        self.told: list[Any] = []
        decide = world.decide_bytes

        def listening(*args: Any) -> bytes:
            answer = decide(*args)
            self.told.append(answer)
            return answer

        world.decide_bytes = listening  # type: ignore[method-assign]

    def run(self, steps: int) -> list[Any]:
        for _ in range(steps):
            self.step()
        return [*self.told, *self.verdicts]


def twin(one: World, folder: Path) -> World:
    """Another server with the secrets of the first."""
    (folder / "data").mkdir(parents=True)
    shutil.copy(one.folder / "data" / "secrets.json", folder / "data" / "secrets.json")
    return World(folder)


def test_the_same_session_gives_the_same_bytes(tmp_path: Path) -> None:
    with World(tmp_path / "one") as one, twin(one, tmp_path / "two") as two:
        told = Listening(one, 5).run(120)
        assert len(told) > 60
        assert Listening(two, 5).run(120) == told


def test_restarts_in_between_change_nothing(tmp_path: Path) -> None:
    """Rates are learned at the same moments; the restarted server learns them again."""
    with World(tmp_path / "one") as one, twin(one, tmp_path / "two") as two:
        calm, interrupted = Listening(one, 6), Listening(two, 6)
        for step in range(80):
            calm.step()
            interrupted.step()
            if step % 10 == 9:
                one.tick()
                two.tick()
                two.restart(clean=step % 20 == 9)
        assert [*interrupted.told, *interrupted.verdicts] == [*calm.told, *calm.verdicts]


def test_another_seed_gives_another_answer(tmp_path: Path) -> None:
    with World(tmp_path / "one", publishers=PUBLISHERS, campaigns=campaigns(0)) as world:
        request = {"placements": [{"id": "top"}], "mode": "dry_run"}
        assert world.decide_bytes(request, 1) != world.decide_bytes(request, 2)
        assert world.decide_bytes(request, 3) == world.decide_bytes(request, 3)


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    """What is sold is the same whatever was uploaded first: the winner of each seed as well, as far as
    serials are (they are given in the order of uploads, and break ties)."""
    sold = [campaign(f"{owner}/a", {"id": "x", "pricing": {"model": "cpm", "amount": f"{n}.00"}})
            for n, owner in enumerate(("acme", "bolt", "corn"), 1)]  # fmt: skip
    request = {"placements": [{"id": "top", "count": 3}], "mode": "dry_run"}
    orders = []
    for number, documents in enumerate((sold, sold[::-1])):
        with World(tmp_path / str(number), publishers=[publisher()]) as world:
            for document in documents:
                world.put(campaigns=[document])
            answer = world.decide(request, 9)
            orders.append([ad["advertiser"] for ad in answer["decisions"][0]["ads"]])
    assert orders == [["corn", "bolt", "acme"]] * 2
