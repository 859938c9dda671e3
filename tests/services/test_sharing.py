"""Decisions asked of a state in Redis, in one process with it: what is given back, told and left alone."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from servers.redis_server import Redis
from world import BROWSER, NOBODY, OPERATOR, World, campaign, publisher

from adserver.api import bodies
from adserver.domain.books import JournalClosed
from adserver.ledger.journal import Journal
from adserver.services.ask import DECODER, Asker, Terms

ONCE = [{"limit": 1, "per": "1h"}]
CAPPED = campaign("acme/a", {"id": "a", "frequency_caps": ONCE})
PLACEMENT = {"id": "top", "surface": "page", "formats": ["image"]}
FEED = {"id": "river", "surface": "feed", "formats": ["image"], "feed": {"max_share": "0.5"}}
DOCUMENTS = {"publishers": [publisher(placements=[PLACEMENT, FEED])], "campaigns": [CAPPED]}
REQUEST: dict[str, Any] = {"placements": [{"id": "top"}], "user": {"id": "u-1"}, "session": "s-1"}
PAGE: dict[str, Any] = {
    "placements": [{"id": "river", "feed": {"id": "main", "page": 0, "organic_count": 20}}],
    "session": "s-1",
}


class Shared(World):
    async def ask(self, request: dict[str, Any], asker: Asker = NOBODY) -> Any:
        ask = bodies.decode(DECODER, msgspec.json.encode(request))
        asker = msgspec.structs.replace(asker, user_agent=BROWSER)
        answer = await self.app.server.decide_later(ask, asker, Terms())
        decoded = msgspec.json.decode(answer.body)
        (decision,) = decoded["decisions"]
        return {**decision, "explain": decoded["explain"]} if ask.explain else decision


def shared(folder: Path, redis: Redis, doubt: str = "stop", **documents: Any) -> Shared:

    class There(Shared):
        settings = msgspec.structs.replace(
            World.settings, redis=redis.url, redis_deadline_ms=1000, on_state_doubt=doubt
        )

    return There(folder, **{**DOCUMENTS, **documents})


def played(tmp_path: Path, redis: Redis, play: Callable[[Shared], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        with shared(tmp_path / "world", redis) as world:
            state = world.app.shared
            assert state is not None
            staying = asyncio.create_task(state.stay())
            async with asyncio.timeout(20):
                while not state.there:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                await play(world)
                await state.leave()
                await staying

    asyncio.run(main())


def names(decision: Any) -> list[str]:
    return [ad["line_item"] for ad in decision["ads"]]


def closed(*_: Any) -> None:
    raise JournalClosed


@pytest.mark.parametrize("request_", [{**REQUEST, "id": "once"}, PAGE], ids=["capped, by id", "feed"])
def test_what_the_journal_has_no_room_for_is_taken_back(
    tmp_path: Path, redis_server: Redis, request_: dict[str, Any]
) -> None:
    async def play(world: Shared) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Journal, "append", closed)
            refused = await world.ask(request_)
            assert (names(refused), refused["no_fill"]) == ([], "disk_full")
        given = await world.ask(request_)
        assert names(given) == ["a"]
        assert len(world.app.states.exposures) == 1, "decided anew, and kept"
        assert await world.ask(request_) == given

    played(tmp_path, redis_server, play)


def test_a_dry_run_leaves_no_trace(tmp_path: Path, redis_server: Redis) -> None:
    async def play(world: Shared) -> None:
        for request in (REQUEST, PAGE):
            assert names(await world.ask({**request, "mode": "dry_run"}, OPERATOR)) == ["a"]
        assert redis_server.ask("KEYS", "s*") == []
        assert names(await world.ask(REQUEST)) == ["a"]

    played(tmp_path, redis_server, play)


def test_why_is_told_as_it_was_decided_also_while_it_is_away(tmp_path: Path, redis_server: Redis) -> None:
    async def play(world: Shared) -> None:
        asked = {**REQUEST, "explain": True}
        there = await world.ask(asked, OPERATOR)
        assert names(there) == ["a"]
        state = world.app.shared
        assert state is not None
        await state.leave()
        away = await world.ask({**asked, "user": {"id": "u-2"}}, OPERATOR)
        assert (names(away), away["no_fill"]) == ([], "state_unavailable")
        told = str(away["explain"])
        assert "state_unavailable" in told

    played(tmp_path, redis_server, play)
