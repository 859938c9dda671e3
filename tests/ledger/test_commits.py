"""A sync is put off as long as others come to share it, and no longer."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adserver.domain import limits
from adserver.ledger import disk
from adserver.ledger.commits import Batch, Commits
from adserver.ledger.disk import Synced


class Scene:
    """``total`` bytes were written; ``begun``: how many there were as each sync began."""

    def __init__(self) -> None:
        self.total = 0
        self.begun = list[int]()
        self.commits = Commits(self.begin, self.proved)

    def begin(self) -> Batch:
        self.begun.append(self.total)
        return Batch(Synced(1, self.total, b"", self.total), [], None)

    def proved(self, batch: Batch) -> None:
        self.commits.answer(batch.goal.total)

    def join(self) -> asyncio.Future[None]:
        self.total += 1
        return self.commits.join(self.total)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(disk, "flush", lambda files, directory: None)
    scene = Scene()
    yield scene
    scene.commits.close()


def run(act: Callable[[], Awaitable[Any]], at_s: Callable[[], float] = lambda: 0.0) -> None:
    """``at_s``: the loop's clock, which stands still unless told otherwise."""

    async def main() -> None:
        asyncio.get_running_loop().time = at_s  # type: ignore[method-assign]
        await act()

    asyncio.run(main())


def test_who_is_alone_does_not_wait_for_others(scene: Scene) -> None:
    async def act() -> None:
        await scene.join()
        await scene.join()

    run(act)
    assert scene.begun == [1, 2]


def test_all_who_come_turn_by_turn_share_a_sync(scene: Scene) -> None:
    async def act() -> None:
        futures = []
        for _ in range(5):
            futures.append(scene.join())
            await asyncio.sleep(0)
        await asyncio.gather(*futures)
        assert len(set(futures)) == 1

    run(act)
    assert scene.begun == [5]


@pytest.mark.parametrize("number", [limits.JUDGED_IN_A_ROW - 1, limits.JUDGED_IN_A_ROW])
def test_as_many_as_a_row_are_enough(scene: Scene, number: int) -> None:
    """Whoever else comes in the same turn is too late only if there were enough."""

    async def act() -> None:
        for _ in range(number):
            scene.join()
        await asyncio.sleep(0)
        enough = number == limits.JUDGED_IN_A_ROW
        assert scene.begun == ([number] if enough else [])
        await scene.join()

    run(act)
    assert len(scene.begun) == (2 if number == limits.JUDGED_IN_A_ROW else 1)


def test_nobody_waits_longer_than_a_bound(scene: Scene) -> None:
    """Every turn brings one more, and takes a third of the bound."""
    now_s = 0.0

    async def act() -> None:
        nonlocal now_s
        while not scene.begun:
            scene.join()
            await asyncio.sleep(0)
            now_s += limits.SYNC_WAIT_MS / 3000

    run(act, lambda: now_s)
    assert 3 <= scene.begun[0] <= 5 < limits.JUDGED_IN_A_ROW


def test_closing_waits_for_the_sync_that_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scene, ended = Scene(), list[int]()
    monkeypatch.setattr(disk, "flush", lambda files, directory: ended.append(scene.total))

    async def act() -> None:
        scene.join()
        for _ in range(5):
            await asyncio.sleep(0)
        scene.commits.close()
        assert ended == [1]
        scene.join()
        for _ in range(5):
            await asyncio.sleep(0)

    run(act)
    assert scene.begun == ended == [1]
