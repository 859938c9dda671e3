"""Events that their home must look up in a database: judged there as if a client had told it, once; and
nobody else waits for that."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crew import Crew, Member
from test_doors import reached, run, some_ads, turns
from test_doors import told as told_at
from test_lessee import spent_micros
from world import campaign, publisher

from adserver.domain import limits
from adserver.domain.changes import Unread
from adserver.domain.records import Status
from adserver.domain.verdicts import Passed, Verdict
from adserver.services.elsewhere import AWAY_MS, Elsewhere
from adserver.services.ports import Durable

MINUTE_MS = 60_000
FIRST, SECOND = "https://acme.example/first", "https://acme.example/second"


def world(landing_url: str, model: str = "cpc", amount: str = "0.50") -> dict[str, Any]:
    creative = {"id": "a", "format": "image", "landing_url": landing_url}
    item = {"id": "a", "pricing": {"model": model, "amount": amount}, "creatives": [creative]}
    return {"publishers": [publisher()], "campaigns": [campaign("acme/spring", item)]}


@pytest.fixture
def crew(tmp_path: Path, database: str) -> Iterator[Crew]:
    with Crew(tmp_path, 2, url=database, **world(FIRST)) as opened:
        yield opened


async def told(member: Member, url: str) -> tuple[Verdict | Passed, Durable]:
    """As a client tells it: what is missing where it is told is brought first."""
    while True:
        try:
            return told_at(member, url)
        except Elsewhere as missing:
            await missing.bring()


async def tell(member: Member, url: str) -> Verdict:
    return await reached(await told(member, url))


async def later(crew: Crew, minutes: int = 60) -> None:
    """All that was told is posted, and forgotten where it is forgotten by then."""
    await turns(crew)
    crew.clock.ms += minutes * MINUTE_MS
    await turns(crew)


def test_what_its_home_must_look_up(crew: Crew) -> None:
    async def play() -> None:
        owner, other = crew.members
        shown, unseen, late = await some_ads(crew, owner, 3)
        assert (await tell(other, shown["impression_url"])).status == Status.ACCEPTED
        await asyncio.to_thread(crew.put, **world(SECOND))
        await later(crew)
        assert await tell(other, shown["click_url"]) == Verdict(Status.ACCEPTED, True, FIRST)
        assert await tell(other, shown["click_url"]) == Verdict(Status.DUPLICATE, False, FIRST)
        assert await tell(other, unseen["click_url"]) == Verdict(Status.FILTERED, False, FIRST)
        assert (await tell(other, late["impression_url"])).status == Status.EXPIRED
        assert (await tell(other, late["impression_url"])).status == Status.DUPLICATE
        await later(crew, 30)
        # Forgotten by now, and in the books alone.
        both = await asyncio.gather(tell(other, late["impression_url"]), tell(owner, late["impression_url"]))
        assert [verdict.status for verdict in both] == [Status.DUPLICATE] * 2
        await turns(crew)
        assert spent_micros(crew) == 500_000

    run(crew, play)
    assert crew.verified() == []


def test_what_is_looked_up_keeps_nobody_waiting(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PASSED_WAITS_S", 60.0)

    async def play() -> None:
        owner, other = crew.members
        [late] = await some_ads(crew, owner, 1)
        await later(crew)
        fresh = await some_ads(crew, owner, 3)
        gate, status = threading.Event(), owner.app.ledger.status
        monkeypatch.setattr(
            owner.app.ledger, "status", lambda *asked: gate.wait(60) and status(*asked), raising=True
        )
        # In the same turn of the loop, and so on the same way.
        quick = [await told(other, fresh[0]["impression_url"])]
        slow = await told(other, late["impression_url"])
        quick += [await told(other, ad["impression_url"]) for ad in fresh[1:]]
        assert [(await reached(one)).status for one in quick] == [Status.ACCEPTED] * 3
        assert slow[1] is not None and not slow[1].done()
        gate.set()
        assert (await reached(slow)).status == Status.EXPIRED

    run(crew, play)


def test_no_more_are_looked_up_than_may_be(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DATABASE_ASKED", 2)

    async def play() -> None:
        owner, other = crew.members
        ads = await some_ads(crew, owner, 5)
        await later(crew)
        gate, status = threading.Event(), owner.app.ledger.status
        with monkeypatch.context() as now:
            now.setattr(owner.app.ledger, "status", lambda *asked: gate.wait(60) and status(*asked))
            taken = [asyncio.ensure_future(tell(other, ad["impression_url"])) for ad in ads]
            done, waiting = set[Any](), set(taken)
            while len(done) < 3:
                more, waiting = await asyncio.wait(waiting, timeout=20, return_when=asyncio.FIRST_COMPLETED)
                assert more, "too many are looked up"
                done |= more
            assert [one.result().status for one in done] == [Status.UNRECORDED] * 3
            gate.set()
            assert [(await one).status for one in waiting] == [Status.EXPIRED] * 2
        again = sorted([(await tell(other, ad["impression_url"])).status for ad in ads])
        assert again == [Status.EXPIRED] * 3 + [Status.DUPLICATE] * 2

    run(crew, play)


def test_while_the_database_is_away(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        owner, other = crew.members
        shown, late = await some_ads(crew, owner, 2)
        assert (await tell(other, shown["impression_url"])).status == Status.ACCEPTED
        await later(crew)
        with monkeypatch.context() as now:
            away(crew, now)
            click = await tell(other, shown["click_url"])
            assert click == Verdict(Status.UNRECORDED, False, FIRST), "it leads on"
            assert (await tell(other, late["impression_url"])).status == Status.UNRECORDED
            await asyncio.to_thread(owner.put, **world(SECOND))
            click = await tell(other, shown["click_url"])
            assert click == Verdict(Status.UNRECORDED, False, FIRST), (
                "its owner cannot tell where, the other can"
            )
            await asyncio.to_thread(crew.put, **world(SECOND))
            click = await tell(other, shown["click_url"])
            assert click == Verdict(Status.UNRECORDED), "where it leads nobody can tell"
        crew.clock.ms += AWAY_MS
        assert await tell(other, shown["click_url"]) == Verdict(Status.ACCEPTED, True, FIRST)
        assert (await tell(other, late["impression_url"])).status == Status.EXPIRED
        await turns(crew)
        assert spent_micros(crew) == 500_000

    run(crew, play)
    assert crew.verified() == []


def away(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise Unread("the database is away")

    for member in crew.members:
        monkeypatch.setattr(member.app.store, "creative", none)
        monkeypatch.setattr(member.app.ledger, "status", none)


def watched(member: Member, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The events that it judges, as they come to be."""
    screen, judged = member.app.recorder._screen, list[object]()
    judge = screen.judge

    def noted(*asked: Any, **how: Any) -> Any:
        judged.append(asked)
        return judge(*asked, **how)

    monkeypatch.setattr(screen, "judge", noted)
    return judged


def test_events_of_a_worker_that_is_no_more(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it recorded is in the ledger alone; its ads are its successor's, once."""

    async def show() -> list[Any]:
        ads = await some_ads(crew, crew.members[2], 2)
        assert (await tell(crew.members[2], ads[0]["impression_url"])).billed
        return ads

    documents = world(FIRST, "cpm", "10.00")
    with Crew(tmp_path, 3, url=database, **documents) as crew:
        shown, unseen = asyncio.run(show())
        now_ms = crew.clock.ms + 1000
    with Crew(tmp_path, 2, now_ms, database) as crew:

        async def play() -> None:
            first, second = crew.members
            judged = watched(first, monkeypatch)
            assert (await tell(second, shown["impression_url"])).status == Status.DUPLICATE
            both = await asyncio.gather(*(tell(one, unseen["impression_url"]) for one in (second, first)))
            assert sorted(verdict.status for verdict in both) == [Status.ACCEPTED, Status.DUPLICATE]
            assert (await tell(second, shown["click_url"])).status == Status.ACCEPTED
            await turns(crew)
            assert spent_micros(crew) == 20_000
            assert len(judged) == 4, "nothing moves before all is here"

        run(crew, play)
        assert crew.verified() == []
