"""Taking a new snapshot: nothing long happens on the loop, and the one before goes, a little at a time."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from world import OPERATOR, World, campaign, publisher

from adserver.engine.compile import compile_snapshot
from adserver.engine.rates import Rates
from adserver.engine.snapshot import Snapshot
from adserver.engine.worth import Worth

EXPLAINED = {"placements": [{"id": "top", "count": 3}], "explain": True}


class Built:
    """A builder of one snapshot; ``newer`` is asked on the loop."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    async def newer(self) -> Snapshot | None:
        return self._snapshot


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    items = ({"id": f"i{n}", "pricing": {"model": "cpc", "amount": "1.00"}} for n in range(40))
    documents = {"publishers": [publisher()], "campaigns": [campaign("acme/spring", *items)]}
    with World(tmp_path / "world", **documents) as made:
        yield made


@contextmanager
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def anew(world: World) -> Snapshot:
    return compile_snapshot(world.app.store.load())


@pytest.mark.parametrize("follow", [False, True])
def test_what_is_learned_is_applied_in_a_thread(
    world: World, monkeypatch: pytest.MonkeyPatch, follow: bool
) -> None:
    """Also when more is learned meanwhile."""
    app, prepare, where = world.app, world.app.world.prepare, list[int]()

    def prepared(snapshot: Snapshot) -> None:
        prepare(snapshot)
        where.append(threading.get_ident())
        if len(where) == 1:
            app.world.learn(Worth(app.world.snapshot.entries, Rates()))

    monkeypatch.setattr(app.world, "prepare", prepared)
    builder = Built(anew(world))
    asyncio.run(app.publishing.follow(builder) if follow else app.publishing.begin(builder))  # type: ignore[arg-type]
    assert len(where) == 2 and threading.get_ident() not in where
    assert app.world.serving.worth.rates is app.world.rates


@pytest.mark.slow
def test_the_snapshot_before_goes_with_the_last_decision(world: World) -> None:
    """By reference counts: the collector of the server does not look at what is old."""
    with uncollected():
        for _ in range(3):
            world.decide({"placements": [{"id": "top"}]})
        world.decide(EXPLAINED, asker=OPERATOR)
        former = weakref.ref(world.app.world.snapshot)
        asyncio.run(world.app.publishing.follow(Built(anew(world))))
        assert former() is None


def test_it_lets_go_of_little_at_a_time(world: World) -> None:
    world.decide({"placements": [{"id": "top", "count": 40}]}, asker=OPERATOR)
    serving = world.app.world.serving
    entries = serving.snapshot.entries
    sizes = [len(entries._kept)]
    assert sizes[0] >= 40
    for _ in serving.shed():
        sizes.append(len(entries._kept))
    assert max(before - after for before, after in pairwise(sizes)) <= 16 * 3
    assert (len(entries._kept), len(serving.templates)) == (0, 0)


def test_who_still_asks_it_is_told_the_same(world: World) -> None:
    request: dict[str, Any] = {"placements": [{"id": "top", "count": 5}], "mode": "dry_run"}
    before = world.decide(request, seed=7)
    for _ in world.app.world.serving.shed():
        pass
    again = world.decide(request, seed=7)
    assert again["decisions"][0]["ads"] and [ad["creative"] for ad in again["decisions"][0]["ads"]] == [
        ad["creative"] for ad in before["decisions"][0]["ads"]
    ]
