"""Events told to any of several workers: judged where their ad was decided, once; answered when durable."""

import asyncio
import random
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crew import Crew, Member
from msgspec.structs import astuple
from test_lessee import CALL, ads_of, spent_micros, world
from world import BROWSER

from adserver.domain import ids, limits
from adserver.domain.decision import EventKind
from adserver.domain.errands import Happened, Shown
from adserver.domain.records import Status
from adserver.domain.verdicts import Passed, Verdict
from adserver.duties import Duties
from adserver.services.ports import Durable
from adserver.tokens import BadToken

pytestmark = pytest.mark.slow

_KINDS = {"i": EventKind.IMPRESSION, "c": EventKind.CLICK, "r": EventKind.RELEASE}


def run(crew: Crew, play: Callable[[], Awaitable[None]]) -> None:
    """With all doors open."""

    async def whole() -> None:
        for member in crew.members:
            await member.app.doors.open()
        await asyncio.wait_for(play(), 60)
        for member in crew.members:
            await member.app.doors.shut()

    asyncio.run(whole())


async def turns(crew: Crew, number: int = 1) -> None:
    for _ in range(number):
        crew.clock.ms += 200
        for member in crew.members:
            await Duties(member.app).turn()


def told(member: Member, url: str) -> tuple[Verdict | Passed, Durable]:
    path, _, token = url.removeprefix("https://ads.example/").partition("/")
    return member.app.doors.recorder.tell(token, _KINDS[path], CALL)


async def reached(taken: tuple[Verdict | Passed, Durable]) -> Verdict:
    verdict, durable = taken
    if durable is not None:
        await durable
    return verdict.verdict if isinstance(verdict, Passed) else verdict


async def tell(member: Member, url: str) -> Verdict:
    return await reached(told(member, url))


async def some_ads(crew: Crew, member: Member, number: int) -> list[Any]:
    ads = list[Any]()
    while len(ads) < number:
        ads += ads_of(member) or await turns(crew) or []
    return ads[:number]


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    with Crew(tmp_path, 3, **world("1.00")) as opened:
        yield opened


def test_whoever_is_told_of_an_event_it_is_billed_once(crew: Crew) -> None:
    chance = random.Random(5)

    async def play() -> None:
        accepted = 0
        for _ in range(60):
            seller = chance.choice(crew.members)
            for ad in ads_of(seller):
                # At once, to all of them and twice to one.
                at = [*crew.members, chance.choice(crew.members)]
                verdicts = await asyncio.gather(*[tell(member, ad["impression_url"]) for member in at])
                statuses = sorted(verdict.status for verdict in verdicts)
                assert statuses == [Status.ACCEPTED] + [Status.DUPLICATE] * 3
                assert sum(verdict.billed for verdict in verdicts) == 1
                accepted += 1
            await turns(crew)
        assert accepted > 20
        await turns(crew, 2)
        assert spent_micros(crew) == 10_000 * accepted
        assert all(member.app.refused == 0 for member in crew.members)

    run(crew, play)
    assert crew.verified() == []


def test_what_another_says_is_what_the_owner_would(crew: Crew) -> None:
    async def play() -> None:
        owner, other, _ = crew.members
        first, second, third = await some_ads(crew, owner, 3)
        # A click without an impression is filtered, wherever it is told; and leads to its landing page.
        click = await tell(other, first["click_url"])
        assert (click.status, click.location) == (Status.FILTERED, "https://acme.example/")
        assert (await tell(other, first["impression_url"])).status == Status.ACCEPTED
        click = await tell(other, first["click_url"])
        assert (click.status, click.location) == (Status.ACCEPTED, "https://acme.example/")
        token = first["click_url"].rpartition("/")[2]
        peeked = await reached(other.app.doors.recorder.peek(token, EventKind.CLICK, CALL))
        assert (peeked.status, peeked.location) == (Status.UNRECORDED, "https://acme.example/")
        assert (await tell(other, second["release_url"])).status == Status.ACCEPTED
        assert (await tell(other, second["impression_url"])).status == Status.EXPIRED
        forged = third["impression_url"][:-2] + "zz"
        with pytest.raises(BadToken):
            told(other, forged)
        # Nothing of this was written in the other's journal.
        assert other.app.states.seen.keys == type(other.app.states.seen.keys)()

    run(crew, play)


def test_plain_impressions_of_several_owners_in_one_row(crew: Crew) -> None:
    async def play() -> None:
        row = list[Any]()
        for member in crew.members:
            for ad in await some_ads(crew, member, 2):
                token = ad["impression_url"].rpartition("/")[2]
                request = f"GET /i/{token} HTTP/1.1\r\nhost: x\r\nuser-agent: {CALL.user_agent}\r\n\r\n"
                row.append(crew.members[0].app.doors.impressions.read(request.encode()))
        if row[0] is None:
            pytest.skip("built without a compiler")
        random.Random(1).shuffle(row)
        at = crew.members[1].app.doors.impressions
        verdicts = [await reached(one) for one in at.tell([(one, "10.0.0.1") for one in [*row, *row]])]
        assert [verdict.status for verdict in verdicts] == [Status.ACCEPTED] * 6 + [Status.DUPLICATE] * 6
        assert all(verdict.billed for verdict in verdicts[:6])

    run(crew, play)


def test_events_wait_for_the_successor_of_a_worker_that_was_killed(crew: Crew) -> None:
    async def play() -> None:
        owner, other, third = crew.members
        ads = await some_ads(crew, owner, 6)
        assert (await tell(other, ads[0]["impression_url"])).billed
        # Judged, journalled, and killed before the answer left.
        judged = told(other, ads[1]["impression_url"])
        for _ in range(1000):
            if ids.decode(ads[1]["event_id"]) + b"\1" in owner.app.states.seen.keys:
                break
            await asyncio.sleep(0)
        await kill(owner)
        waiting = [told(member, ad["impression_url"]) for ad in ads[2:5] for member in (other, third)]
        await asyncio.sleep(0.2)
        assert not any(durable.done() for _, durable in waiting if durable is not None)
        owner.app = owner._open()
        await owner.app.doors.open()
        statuses = [(await reached(taken)).status for taken in waiting]
        assert sorted(statuses) == [Status.ACCEPTED] * 3 + [Status.DUPLICATE] * 3
        assert (await reached(judged)).status == Status.DUPLICATE
        await turns(crew, 2)
        assert spent_micros(crew) == 50_000

    run(crew, play)
    assert crew.verified() == []


def test_nobody_judges_what_another_knows_of(crew: Crew) -> None:
    """Whoever brings it may have heard of an earlier time, when it was this one's."""

    async def play() -> None:
        owner, other, _ = crew.members
        [ad] = await some_ads(crew, owner, 1)
        text = ad["impression_url"].rpartition("/")[2]
        _, token = owner.app.signer.open(text, EventKind.IMPRESSION)
        happened = Happened(text, int(EventKind.IMPRESSION), False, BROWSER, "", "GET", False, None, False)
        plain: Any = (token.event_id, b"", 0, 0, *astuple(token)[1:], BROWSER, None)
        for errand in (happened, Shown(plain, "")):
            [taken] = other.app.doors._judge([errand])
            assert (await reached(taken)).status == Status.UNRECORDED
        [taken] = owner.app.doors._judge([happened])
        assert (await reached(taken)).billed

    run(crew, play)


async def kill(member: Member) -> None:
    """As a process that ends at once: its connections break, nothing is answered any more."""
    door = member.app.doors._door
    assert door is not None and door._home is not None
    for server in door._home._servers:
        server.close()
    for guest in list(door._home._guests):
        guest._transport.abort()
    member.app.close()
    await asyncio.sleep(0)


def test_who_waits_too_long_is_told_to_send_it_again(crew: Crew, monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "PASSED_WAITS_S", 0.2)

    async def play() -> None:
        owner, other, _ = crew.members
        first, second = await some_ads(crew, owner, 2)
        assert (await tell(other, first["impression_url"])).billed
        await kill(owner)
        assert (await tell(other, second["impression_url"])).status == Status.UNRECORDED
        click = await tell(other, first["click_url"])
        assert click == Verdict(Status.UNRECORDED, False, "https://acme.example/")
        owner.app = owner._open()
        await owner.app.doors.open()
        assert (await tell(other, second["impression_url"])).billed
        assert (await tell(other, first["click_url"])).status == Status.ACCEPTED

    run(crew, play)


def test_what_waits_is_bounded(crew: Crew, monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "PASSED_WAITING", 3)
    monkeypatch.setattr(limits, "PASSED_WAITS_S", 0.2)

    async def play() -> None:
        owner, other, _ = crew.members
        ads = await some_ads(crew, owner, 4)
        await kill(owner)
        taken = [told(other, ad["impression_url"]) for ad in ads]
        assert [durable is None for _, durable in taken] == [False, False, False, True]
        assert [(await reached(one)).status for one in taken] == [Status.UNRECORDED] * 4
        owner.app = owner._open()
        await owner.app.doors.open()
        assert (await tell(other, ads[0]["impression_url"])).billed

    run(crew, play)


def test_the_door_is_its_users_alone(crew: Crew) -> None:
    async def play() -> None:
        run_folder = crew.folder / "data" / "run"
        assert stat.S_IMODE(run_folder.stat().st_mode) == 0o700
        sockets = sorted(run_folder.iterdir())
        assert [path.name for path in sockets] == ["0.sock", "1.sock", "2.sock"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in sockets} == {0o600}

    run(crew, play)


def test_what_is_not_understood_ends_the_connection_alone(crew: Crew) -> None:
    async def play() -> None:
        owner, other, _ = crew.members
        [ad] = await some_ads(crew, owner, 1)
        path = other.app.doors._door._sockets.path(0)
        for octets in (b"\xff\xff\xff\xff", b"\0\0\0\1\xc1", b"\0\0\0\3abc"):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(octets)
            with pytest.raises(ConnectionResetError):
                assert await reader.read() == b""
                raise ConnectionResetError
            writer.close()
        assert (await tell(other, ad["impression_url"])).billed

    run(crew, play)
