"""What is capped by session counts on where somebody logs in, out, or another does: in a server that is alone
and in Redis, whichever of two workers is asked."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from servers.redis_server import Redis
from test_sharing import PLACEMENT, Shared, names, shared
from test_state_doubt import known, sharing, until
from world import BROWSER, OPERATOR, World, campaign, publisher

from adserver.domain.decision import EventKind
from adserver.services.calls import Call

LIMIT = 2
BY_SESSION = campaign(
    "acme/a",
    {
        "id": "a",
        "frequency_caps": [{"limit": LIMIT, "per": "session"}, {"limit": 3, "per": "1h"}],
    },
)
DOCUMENTS = {"publishers": [publisher(placements=[PLACEMENT])], "campaigns": [BY_SESSION]}
LOST_AFTER = (0, 1, 6)
WHO = [
    # user and session; whether the cap leaves room
    (None, "s-1", True),
    ("u-1", "s-1", True),
    ("u-1", "s-1", False),
    ("u-2", "s-1", False),
    (None, "s-1", False),
    ("u-1", "s-2", True),
    ("u-2", "s-2", True),
    (None, "s-2", False),
    ("u-1", "s-3", True),
    # u-1 has had three in an hour by now.
    ("u-1", "s-3", False),
    ("u-2", "s-3", True),
]


def asked(user: str | None, session: str, **more: Any) -> dict[str, Any]:
    who = {} if user is None else {"user": {"id": user}}
    return {"placements": [{"id": "top"}], "session": session, **who, **more}


async def shown(world: Shared, url: str) -> None:
    await world.app.recorder.record(url.rpartition("/")[2], EventKind.IMPRESSION, Call(user_agent=BROWSER))


def test_alone(tmp_path: Path) -> None:
    with World(tmp_path / "world", **DOCUMENTS) as world:
        for user, session, room in WHO:
            (decision,) = world.decide(asked(user, session))["decisions"]
            assert bool(decision["ads"]) is room, (user, session)


@pytest.mark.parametrize("lost", [False, True], ids=["kept", "lost"])
@pytest.mark.parametrize("why", [False, True], ids=["guessed", "looked"])
def test_shared(tmp_path: Path, redis_server: Redis, why: bool, lost: bool) -> None:
    """``lost``: Redis is emptied in between, and told again."""
    more = {"explain": True, "mode": "live"} if why else {}

    async def play(worlds: list[Shared]) -> None:
        await until(lambda: all(map(known, worlds)))
        for number, (user, session, room) in enumerate(WHO):
            world = worlds[number % 2]
            decision = await world.ask(asked(user, session, **more), OPERATOR)
            found = bool(names(decision)), decision["no_fill"]
            assert found == ((True, None) if room else (False, "frequency_capped")), number
            if room and number % 3 == 0:
                await shown(world, decision["ads"][0]["impression_url"])
            if lost and number in LOST_AFTER:
                redis_server.ask("FLUSHALL")
                await until(lambda: not any(map(known, worlds)))
                await until(lambda: all(map(known, worlds)))

    async def main() -> None:
        redis_server.ask("FLUSHALL")
        with shared(tmp_path / "one", redis_server, **DOCUMENTS) as one:
            (tmp_path / "two" / "data").mkdir(parents=True)
            shutil.copy(tmp_path / "one" / "data" / "secrets.json", tmp_path / "two" / "data")
            with shared(tmp_path / "two", redis_server, **DOCUMENTS) as two:
                async with sharing(one, 0), sharing(two, 1):
                    await play([one, two])

    asyncio.run(main())
