"""Whoever waits for the disk waits with others, and leaves without them: a server that stops cancels calls of
operators, and an event beside them must not be told before it is durable."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from world import World, campaign, publisher

from adserver.domain.statements import parse_month
from adserver.services.converting import Told
from adserver.services.normalise import Asker

OPERATOR = Asker(role="operator")
YEAR_MS = 366 * 86_400_000
Call = Callable[[World, str], Coroutine[Any, Any, Any]]


def convert(world: World, event_id: str) -> Coroutine[Any, Any, Any]:
    return world.app.conversions.tell("acme", [Told("o-1", user="u-1")])


def invalidate(world: World, event_id: str) -> Coroutine[Any, Any, Any]:
    return world.app.invalidation.reverse([event_id], "a farm")


def credit(world: World, event_id: str) -> Coroutine[Any, Any, Any]:
    return world.app.crediting.book(OPERATOR, "acme", "c-1", "credit", "EUR", 1000, "late")


def close(world: World, event_id: str) -> Coroutine[Any, Any, Any]:
    return world.app.statements.close(OPERATOR, "advertiser", "acme", parse_month("2020-01"))


@pytest.mark.parametrize("call", [convert, invalidate, credit, close])
def test_a_call_that_is_cancelled_cancels_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    with World(tmp_path / "world", publishers=[publisher()], campaigns=[campaign("acme/a")]) as world:
        (ad,) = world.decide({"placements": [{"id": "top"}]})["decisions"][0]["ads"]
        world.event(ad["impression_url"])
        world.tick()

        async def leave() -> None:
            shared: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waits = asyncio.Event()

            def synced() -> asyncio.Future[None]:
                waits.set()
                return shared

            monkeypatch.setattr(world.app.journal, "synced", synced)
            task = asyncio.create_task(call(world, ad["event_id"]))
            await asyncio.wait_for(waits.wait(), 10)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() and not shared.cancelled()

        asyncio.run(leave())
        monkeypatch.undo()
