"""Requests judged in a row: all before the first answer leaves, none for nobody, each fault its own."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from adserver.api.hot import HotRoute
from adserver.api.messages import Head, Reply
from adserver.api.pages import Guard
from adserver.api.row import Row
from adserver.api.turn import Turn
from adserver.domain import limits
from adserver.services.ports import Durable


class Told:
    """Metrics and log."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def refused(self, *_: Any) -> None: ...

    def failure(self, what: str, error: BaseException, **_: str) -> None:
        self.failures.append(what)


class Line:
    def __init__(self, name: int, happened: list[tuple[str, int]], breaks: bool = False) -> None:
        self.name = name
        self.ended = False
        self.breaks = breaks
        self.happened = happened

    def settle(self, turn: Turn, reply: Reply) -> None:
        self.happened.append(("settled", self.name))
        if self.breaks:
            raise OSError("gone")


class Scene:
    def __init__(self) -> None:
        self.told = Told()
        self.happened: list[tuple[str, int]] = []
        self.row = Row(Guard(self.told, self.told))  # type: ignore[arg-type]
        self.durable: Durable = None

    def line(self, name: int, breaks: bool = False) -> Line:
        return Line(name, self.happened, breaks)

    def join(self, line: Line, soon: bool = False, durable: Durable = None) -> None:
        def now(head: Head, body: bytes) -> Reply:
            self.happened.append(("judged", line.name))
            return Reply(204, ())

        route = HotRoute("/x", ("POST",), "", {}, now=now)
        if soon:
            route = HotRoute(
                "/x", ("POST",), "", {}, soon=lambda head, body: (now(head, body), durable or self.durable)
            )
        turn = Turn(Head("POST", "/x", b"", (), ""), route, True, False)
        self.row.join(line, turn, asyncio.get_running_loop())

    def names(self, what: str) -> list[int]:
        return [name for kind, name in self.happened if kind == what]


def played(play: Callable[[Scene], None], turns: int = 5) -> Scene:
    async def run() -> Scene:
        scene = Scene()
        play(scene)
        assert not scene.happened
        for _ in range(turns):
            await asyncio.sleep(0)
        return scene

    return asyncio.run(run())


@pytest.mark.parametrize("number", [1, limits.JUDGED_IN_A_ROW, limits.JUDGED_IN_A_ROW + 1])
def test_a_row_is_judged_before_its_answers_leave_and_bounded(number: int) -> None:
    def play(scene: Scene) -> None:
        for name in range(number):
            scene.join(scene.line(name))

    scene = played(play)
    first = min(number, limits.JUDGED_IN_A_ROW)
    assert scene.happened[: 2 * first] == [
        *(("judged", name) for name in range(first)),
        *(("settled", name) for name in range(first)),
    ]
    assert scene.names("judged") == scene.names("settled") == list(range(number))


def test_nothing_is_decided_for_who_is_gone_but_what_they_told_counts() -> None:
    def play(scene: Scene) -> None:
        for name, soon in enumerate((False, True)):
            line = scene.line(name)
            scene.join(line, soon)
            line.ended = True

    assert played(play).names("judged") == [1]


def test_a_connection_that_fails_is_alone_with_it() -> None:
    def play(scene: Scene) -> None:
        for name in range(3):
            scene.join(scene.line(name, breaks=name == 1))

    scene = played(play)
    assert scene.names("settled") == [0, 1, 2]
    assert scene.told.failures == ["a connection failed"]


def test_an_event_is_settled_when_it_is_durable_and_holds_up_nobody() -> None:
    async def run() -> None:
        scene = Scene()
        scene.durable = asyncio.get_running_loop().create_future()
        scene.join(scene.line(0), soon=True)
        scene.join(scene.line(1))
        for _ in range(5):
            await asyncio.sleep(0)
        assert scene.names("settled") == [1]
        scene.durable.set_result(None)
        await asyncio.sleep(0)
        assert scene.names("settled") == [1, 0]

    asyncio.run(run())


def test_each_of_a_row_waits_for_its_own_sync() -> None:
    async def run() -> None:
        scene, loop = Scene(), asyncio.get_running_loop()
        syncs = [loop.create_future(), loop.create_future()]
        for name, sync in enumerate((syncs[0], syncs[1], syncs[0])):
            scene.join(scene.line(name), soon=True, durable=sync)
        await asyncio.sleep(0)
        for sync, settled in ((syncs[1], [1]), (syncs[0], [1, 0, 2])):
            sync.set_result(None)
            await asyncio.sleep(0)
            assert scene.names("settled") == settled

    asyncio.run(run())
