"""One builder for all: who is told what, and which files stay. Real images, real children."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import alive
from world import campaign, filled_campaign, filled_publisher, publisher

from adserver.building.builder import NotBuilt
from adserver.building.child import Told
from adserver.building.images import FOLDER
from adserver.catalog.store import Store
from adserver.telemetry.logs import Log
from adserver.workers.force import KEPT, Force
from adserver.workers.handed import Handed
from adserver.workers.messages import Look, Took, ToParent, Unmapped

WITHIN_S = 120.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def store(data: Path) -> Iterator[Store]:
    opened = Store(data / "catalog.sqlite", lambda space, user: b"\0" * 16)
    opened.put("publisher", "gazette", filled_publisher(publisher()))
    put(opened, "1.00")
    yield opened
    opened.close()


def put(store: Store, amount: str) -> int:
    item = {"id": "a", "pricing": {"model": "cpm", "amount": amount}}
    return store.put("campaign", "acme/spring", filled_campaign(campaign("acme/spring", item))).revision


def images(data: Path) -> list[str]:
    return sorted(path.name for path in (data / FOLDER).iterdir() if path.suffix == ".image")


class House:
    """A parent's ``Force`` and workers that hear of it, in one process."""

    def __init__(self, data: Path, workers: int) -> None:
        self.force = Force(data, self.tell, Log("adserver.test"))
        self.told: list[Told] = []
        self.said: list[ToParent] = []
        self.alive = list(range(workers))
        self.workers = [Handed(data, Line(self, number)) for number in range(workers)]  # type: ignore[arg-type]

    def tell(self, told: Told) -> None:
        self.told.append(told)
        for number in self.alive:
            self.workers[number].take(told)

    def hear(self, number: int, message: ToParent) -> None:
        self.said.append(message)
        if isinstance(message, Took):
            self.force.took(number, message.image, message.stores, self.alive)
        elif isinstance(message, Unmapped):
            self.force.unmapped(message.image)
        elif isinstance(message, Look):
            self.force.look()

    async def revisions(self) -> list[int]:
        """That all workers took up."""
        found = [await self.workers[number].newer() for number in self.alive]
        return [snapshot.revision for snapshot in found if snapshot is not None]


class Line:
    def __init__(self, house: House, number: int) -> None:
        self._house, self._number = house, number

    def say(self, message: ToParent) -> None:
        self._house.hear(self._number, message)


def housed(data: Path, store: Store, workers: int, play: Callable[[House], Awaitable[Any]]) -> None:
    async def whole() -> None:
        house = House(data, workers)
        house.force.take_up(*store.content())
        following = asyncio.create_task(house.force.follow())
        try:
            await asyncio.wait_for(play(house), WITHIN_S)
        finally:
            await house.force.end()
            await following

    asyncio.run(whole())


def test_all_take_up_every_change(data: Path, store: Store) -> None:
    async def play(house: House) -> None:
        assert len(set(await house.revisions())) == 1
        revision = put(store, "2.00")
        # Made by way of any worker.
        house.workers[1].look()
        assert house.said[-1] == Look(), "the builder need not find out by itself"
        assert await house.revisions() == [revision] * 2
        assert len(images(data)) == 1, "nobody needs the one before"
        revision = put(store, "3.00")
        assert await house.revisions() == [revision] * 2

    housed(data, store, 2, play)


def test_a_file_stays_until_all_have_a_newer_one(data: Path, store: Store) -> None:
    async def play(house: House) -> None:
        await house.revisions()
        (first,) = images(data)
        put(store, "2.00")
        await house.workers[0].newer()
        assert first in images(data), "the other may be about to map it"
        house.alive.remove(1)
        house.force.lost(1, house.alive)
        assert images(data) == [house.told[-1].image], "who died maps nothing"

    housed(data, store, 2, play)


def test_who_hangs_does_not_fill_the_disk(data: Path, store: Store) -> None:
    async def play(house: House) -> None:
        await house.revisions()
        for cents in range(KEPT + 3):
            put(store, f"2.{cents:02}")
            await house.workers[0].newer()
        assert len(images(data)) == KEPT + 1
        # It wakes, and what it heard first is gone by now.
        snapshot = await house.workers[1].newer()
        assert snapshot is not None and snapshot.revision == house.told[-1].revision
        assert len(images(data)) == 1

    housed(data, store, 2, play)


def test_who_begins_is_told_what_is_in_force(data: Path, store: Store) -> None:
    async def play(house: House) -> None:
        revisions = await house.revisions()
        assert house.force.last is not None
        assert (house.force.last.revision, house.force.last.error) == (revisions[0], "")

    housed(data, store, 1, play)


def test_what_an_earlier_parent_left_is_taken_up(data: Path, store: Store) -> None:
    async def first(house: House) -> None:
        await house.revisions()

    async def again(house: House) -> None:
        assert house.force.last is not None
        (left,) = images(data)
        assert house.force.last.image == left

    housed(data, store, 1, first)
    housed(data, store, 1, again)
    (left,) = images(data)
    (data / FOLDER / left).write_bytes(b"torn")

    async def anew(house: House) -> None:
        assert house.force.last is None
        assert len(await house.revisions()) == 1

    housed(data, store, 1, anew)


def test_an_image_that_is_gone_is_built_again(data: Path, store: Store) -> None:
    async def play(house: House) -> None:
        await house.revisions()
        # A worker is started again, and somebody removed the file.
        assert house.force.last is not None
        (data / FOLDER / house.force.last.image).unlink()
        house.workers[1] = Handed(data, Line(house, 1))  # type: ignore[arg-type]
        house.workers[1].take(house.force.last)
        with pytest.raises(NotBuilt, match="cannot be mapped"):
            await house.workers[1].newer()
        while True:
            try:
                snapshot = await house.workers[1].newer()
                break
            except NotBuilt:
                pass  # the builder was killed
        assert snapshot is not None and snapshot.revision == house.told[-1].revision

    housed(data, store, 2, play)


def test_a_builder_that_dies_is_said_and_loses_nothing(data: Path, store: Store) -> None:
    async def play(house: House) -> None:
        await house.revisions()
        house.force._child.kill()
        with pytest.raises(NotBuilt, match="the builder ended with -9"):
            await house.workers[0].newer()
        assert house.force.last is not None and house.force.last.error == "", "it is still in force"
        revision = put(store, "2.00")
        assert (snapshot := await house.workers[0].newer()) is not None and snapshot.revision == revision

    housed(data, store, 1, play)


def test_the_end(data: Path, store: Store) -> None:
    pids = list[int]()

    async def play(house: House) -> None:
        await house.revisions()
        assert house.force._child.pid is not None
        pids.append(house.force._child.pid)
        waiting = asyncio.create_task(house.workers[0].newer())
        await asyncio.sleep(0)
        await house.workers[0].end()
        assert await waiting is None

    housed(data, store, 1, play)
    assert not alive(pids[0])
