"""Serving over a database answers what it does over files, though it must have it brought; and while the
database is away nothing waits, is lost, or is counted twice."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from world import BROWSER, NOON_MS, Ticks, World, campaign, publisher

from adserver.api.messages import Head, Reply
from adserver.api.turn import brought
from adserver.domain import limits
from adserver.domain.changes import Unread
from adserver.services.elsewhere import AWAY_MS, BELIEVED_MS, Brought, Elsewhere
from adserver.services.refusals import Refused

MINUTE_MS = 60_000
CPC = campaign("acme/spring", {"id": "a", "pricing": {"model": "cpc", "amount": "0.50"}})
FIRST = {"id": "a", "format": "image", "landing_url": "https://acme.example/first"}
SECOND = {"id": "a", "format": "image", "landing_url": "https://acme.example/second"}


def opened(folder: Path, url: str) -> World:
    class Placed(World):
        settings = msgspec.structs.replace(World.settings, database=url)

    world = Placed(folder)
    show(world, FIRST)
    return world


def show(world: World, creative: dict[str, Any]) -> None:
    """From now on, and no other."""
    item = {"id": "a", "pricing": {"model": "cpc", "amount": "0.50"}, "creatives": [creative]}
    world.put(publishers=[publisher()], campaigns=[campaign("acme/spring", item)])


def decided(world: World) -> dict[str, Any]:
    (ad,) = world.decide({"placements": [{"id": "top"}], "user": {"id": "u-1"}})["decisions"][0]["ads"]
    return dict(ad)


def told(world: World, url: str, method: str = "GET") -> tuple[int, str, str]:
    """(status, event, location) of a call on a tracking URL, as the wire makes it."""
    head = Head(method, urlsplit(url).path, b"", ((b"user-agent", BROWSER.encode()),), "203.0.113.9")
    route = world.app.asgi.hot.find(head.path)
    assert route is not None

    async def call() -> Reply:
        try:
            reply, durable = route.answer(head, b"")
        except Elsewhere as missing:
            return await brought(lambda: route.answer(head, b""), missing)
        if durable is not None:
            await durable
        return reply

    try:
        reply = asyncio.run(call())
    except Refused as refused:
        return refused.status, "", ""
    headers = dict(reply.headers)
    return reply.status, headers[b"x-adserver-event"].decode(), headers.get(b"location", b"").decode()


def asked_for(world: World, request: dict[str, Any]) -> Any:
    """A decision, as the wire asks for it."""
    named = ((b"content-type", b"application/json"), (b"user-agent", BROWSER.encode()))
    head = Head("POST", "/v1/decisions", b"", named, "203.0.113.9")
    route = world.app.asgi.hot.find(head.path)
    assert route is not None

    async def call() -> Reply:
        try:
            return route.answer(head, msgspec.json.encode(request))[0]
        except Elsewhere as missing:
            return await brought(lambda: route.answer(head, msgspec.json.encode(request)), missing)

    reply = asyncio.run(call())
    assert reply.status == 200
    return msgspec.json.decode(reply.body)


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    url = "" if request.param == "sqlite" else request.getfixturevalue("database")
    with opened(tmp_path, url) as world:
        yield world


def test_a_click_long_after_its_ad_was_shown_and_is_no_more(world: World) -> None:
    shown, unseen, late = decided(world), decided(world), decided(world)
    assert told(world, shown["impression_url"]) == (200, "accepted", "")
    show(world, SECOND)
    world.clock.ms += 60 * MINUTE_MS
    world.tick()
    first = FIRST["landing_url"]
    assert told(world, shown["click_url"], "HEAD")[2] == first
    assert told(world, shown["click_url"]) == (302, "accepted", first)
    assert told(world, shown["click_url"]) == (302, "duplicate", first)
    assert told(world, unseen["click_url"]) == (302, "filtered", first)
    assert told(world, late["impression_url"]) == (200, "expired", "")
    assert told(world, late["impression_url"]) == (200, "duplicate", "")
    # Expired events are remembered for ten minutes, and then in the books alone.
    world.tick()
    world.clock.ms += 30 * MINUTE_MS
    world.tick()
    assert told(world, late["impression_url"]) == (200, "duplicate", "")
    assert told(world, shown["impression_url"]) == (200, "duplicate", "")


def test_a_page_is_answered_again_when_its_creatives_are_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = {"id": "once", "placements": [{"id": "top"}], "user": {"id": "u-1"}}
    before = world.decide(request)
    show(world, SECOND)
    assert world.decide(request)["decisions"] == before["decisions"]
    world.restart()
    decide, calls = world.app.decisions.decide, list[object]()

    def counted(*asked: Any) -> Any:
        calls.append(asked)
        return decide(*asked)

    monkeypatch.setattr(world.app.decisions, "decide", counted)
    assert asked_for(world, request)["decisions"] == before["decisions"]
    assert len(calls) == 1, "what is brought is for its words alone"
    assert decided(world)["creative"]["id"] == "a"


def away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise Unread("the database is away")

    monkeypatch.setattr(world.app.store, "creative", none)
    monkeypatch.setattr(world.app.ledger, "status", none)


def test_while_the_database_is_away(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, database) as world:
        shown, other = decided(world), decided(world)
        assert told(world, shown["impression_url"])[1] == "accepted"
        world.clock.ms += 60 * MINUTE_MS
        world.tick()
        with monkeypatch.context() as now:
            away(world, now)
            landing = FIRST["landing_url"]
            assert told(world, shown["click_url"]) == (302, "unrecorded", landing)
            assert told(world, other["impression_url"])[:2] == (503, "unrecorded")
            assert decided(world)["creative"]["id"] == "a"
            show(world, SECOND)
            assert told(world, shown["click_url"])[0] == 503
        world.clock.ms += AWAY_MS
        # Nothing of it was counted: told again, it is taken as if for the first time.
        assert told(world, shown["click_url"]) == (302, "accepted", landing)
        assert told(world, other["impression_url"])[1] == "expired"


# -- what is brought -------------------------------------------------------------------------------


def fetched(find: Callable[[], int]) -> int:
    async def fetch() -> int:
        while True:
            try:
                return find()
            except Elsewhere as missing:
                await missing.bring()

    return asyncio.run(fetch())


def test_an_answer_is_believed_for_a_while() -> None:
    clock, asked = Ticks(NOON_MS), list[int]()

    def ask(key: int) -> int:
        asked.append(key)
        return len(asked)

    brought = Brought(ask, clock)
    with pytest.raises(Elsewhere):
        brought.check(7)
    assert fetched(lambda: brought.find(7)) == 1
    clock.ms += BELIEVED_MS
    brought.check(7)
    clock.ms += 1
    with pytest.raises(Elsewhere):
        brought.check(7)
    assert brought.find(7) == 1, "what was checked before"
    brought.close()


def test_where_it_cannot_be_had_nobody_asks_for_a_moment() -> None:
    clock, asked = Ticks(NOON_MS), list[int]()

    def ask(key: int) -> int:
        asked.append(key)
        raise Unread("away")

    brought = Brought(ask, clock)
    for _ in range(3):
        with pytest.raises(Unread, match="away"):
            fetched(lambda: brought.find(7))
    assert asked == [7]
    clock.ms += AWAY_MS
    with pytest.raises(Unread, match="away"):
        fetched(lambda: brought.find(8))
    assert asked == [7, 8]
    brought.close()


def test_so_many_ask_and_so_many_answers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DATABASE_ASKED", 3)
    monkeypatch.setattr(limits, "DATABASE_REMEMBERED", 3)
    gate = threading.Event()
    brought = Brought(lambda key: key if gate.wait(60) else -1, Ticks(NOON_MS))

    async def ask() -> None:
        waiting = []
        for key in range(3):
            with pytest.raises(Elsewhere) as missing:
                brought.check(key)
            waiting.append(asyncio.ensure_future(missing.value.bring()))
            await asyncio.sleep(0)
        with pytest.raises(Unread, match="too many"):
            brought.check(3)
        gate.set()
        await asyncio.gather(*waiting)

    asyncio.run(ask())
    assert [fetched(lambda key=key: brought.find(key)) for key in range(4)] == [0, 1, 2, 3]  # type: ignore[misc]
    # In whatever order they came, the first of them went.
    assert sum(is_missing(brought, key) for key in range(3)) == 1
    assert not is_missing(brought, 3)
    brought.close()


def is_missing(brought: Brought[int, int], key: int) -> bool:
    try:
        brought.check(key)
    except Elsewhere:
        return True
    return False
