"""Conversions told to any of several workers: owed to the last touch that any of them knows, kept once."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from crew import Crew, Member
from test_doors import kill, reached, run, tell, turns
from test_lessee import spent_micros
from world import campaign, publisher

from adserver.domain import ids, limits
from adserver.domain.books import Position
from adserver.domain.conversions import Converted, Fate, Outcome
from adserver.domain.errands import Conveyed, Errand, Owed, Sought
from adserver.domain.verdicts import Passed
from adserver.services.converting import Told
from adserver.services.refusals import Refused

pytestmark = pytest.mark.slow

CPA = {"id": "a", "pricing": {"model": "cpa", "amount": "2.00"}, "budget": {"lifetime": "2000.00"}}


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    documents = {"publishers": [publisher()], "campaigns": [campaign("acme/spring", CPA)]}
    with Crew(tmp_path, 3, **documents) as opened:
        yield opened


async def shown(crew: Crew, member: Member, user: str = "u-1", clicked: bool = False) -> bytes:
    """The event id of an ad of this member that this person saw."""
    while True:
        request = {"publisher": "gazette", "placements": [{"id": "top"}], "user": {"id": user}}
        ads = member.decide(request)["decisions"][0]["ads"]
        if ads:
            break
        await turns(crew)
    crew.clock.ms += 1000
    teller = random.Random(len(user)).choice(crew.members)
    assert (await tell(teller, ads[0]["impression_url"])).status == 1
    crew.clock.ms += 1000
    if clicked:
        assert (await tell(teller, ads[0]["click_url"])).status == 1
    return ids.decode(ads[0]["event_id"])


async def converted(member: Member, *told: Told) -> list[Outcome]:
    return await member.app.conversions.tell("acme", told)


async def turning(crew: Crew) -> None:
    """As long as a conversion waits for room."""
    for _ in range(4):
        await asyncio.sleep(0.05)
        await turns(crew)


async def at_rest(*members: Member) -> None:
    """Nobody tries any more: what was refused to whoever told it may be kept yet by whom it was passed on
    to, and then it is a duplicate when it is told again."""
    for member in members:
        while busy := list(member.app.doors.settling._settling.values()):
            await busy[0].wait()


def kept(crew: Crew) -> list[int]:
    """How many conversions each has in its journal."""
    return [
        sum(isinstance(record, Converted) for _, record, _ in member.app.reader.read(Position()))
        for member in crew.members
    ]


def test_the_last_touch_of_all_whoever_is_told(crew: Crew) -> None:
    async def play() -> None:
        for last in crew.members:
            for teller in crew.members:
                user = f"u-{last.worker.number}{teller.worker.number}"
                others = [member for member in crew.members if member is not last]
                for member in (*others, last):
                    await shown(crew, member, user)
                [one] = await converted(teller, Told(f"view-{user}", user=user))
                assert (one.fate, one.touch, one.billed) == (Fate.ATTRIBUTED, "view", True)
                # A click counts before any view, also where it was earlier.
                clicked = await shown(crew, others[0], user, clicked=True)
                await shown(crew, last, user)
                [one] = await converted(teller, Told(f"click-{user}", user=user))
                assert (one.touch, one.event_id[:10]) == ("click", ids.encode(clicked)[:10])
                # Who names a click is believed, whoever was seen since.
                [one] = await converted(teller, Told(f"named-{user}", user=user, click=clicked))
                assert (one.touch, one.billed) == ("click", False), "the ad was billed before"
        [one] = await converted(crew.members[1], Told("nobody", user="u-nobody"))
        assert one.fate == Fate.UNATTRIBUTED
        await turns(crew, 2)
        assert spent_micros(crew) == 18 * 2_000_000
        assert all(kept(crew))

    run(crew, play)
    assert crew.verified() == []


def test_at_once_at_all_of_them_one_is_kept(crew: Crew) -> None:
    async def play() -> None:
        for number, member in enumerate(crew.members):
            await shown(crew, member, f"u-{number}")
        # One id, of people whose ads were others': within one batch, and later in all of them at once.
        twice = await converted(crew.members[0], *(Told("twice", user=f"u-{n}") for n in range(3)))
        assert [one.fate for one in twice] == [Fate.ATTRIBUTED, Fate.DUPLICATE, Fate.DUPLICATE]
        batch = [Told(f"o-{n}", user=f"u-{n % 4}") for n in range(60)]
        batch += [Told(f"o-{n}", user=f"u-{(n + 1) % 4}") for n in range(0, 60, 7)]
        tellers = [member for member in crew.members for _ in range(3)]
        answers = await asyncio.gather(*(converted(member, *batch) for member in tellers))
        first = Counter(one.id for some in answers for one in some if one.fate != Fate.DUPLICATE)
        assert first == Counter(f"o-{n}" for n in range(60))
        fates = Counter(one.fate for some in answers for one in some)
        assert set(fates) == {Fate.ATTRIBUTED, Fate.UNATTRIBUTED, Fate.DUPLICATE}
        assert sum(kept(crew)) == 61
        await turns(crew, 2)
        # An ad is billed for one.
        assert spent_micros(crew) == 3 * 2_000_000
        again = await converted(crew.members[2], *batch)
        assert {one.fate for one in again} == {Fate.DUPLICATE}

    run(crew, play)
    assert crew.verified() == []


def test_where_one_is_away_nothing_is_kept(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PASSED_WAITS_S", 0.3)

    async def play() -> None:
        first, second, third = crew.members
        await shown(crew, third)
        await kill(third)
        batch = [Told(f"o-{n}", user="u-1") for n in range(5)]
        for teller in (first, second):
            with pytest.raises(Refused) as refused:
                await converted(teller, *batch)
            assert refused.value.status == 503
        await at_rest(first, second)
        third.app = third._open()
        await third.app.doors.open()
        # What it leased before is its ads'; what it lacks now it asks for.
        outcomes, _ = await asyncio.gather(converted(first, *batch), turning(crew))
        assert [one.fate for one in outcomes] == [Fate.ATTRIBUTED] * 5
        assert [one.billed for one in outcomes].count(True) == 1
        assert kept(crew) == [0, 0, 5]

    run(crew, play)
    assert crew.verified() == []


def test_what_was_kept_before_its_answer_was_lost_is_a_duplicate(crew: Crew) -> None:
    """Whoever settled it dies, and its successor is told of it once more."""

    async def play() -> None:
        await shown(crew, crew.members[2])
        told = {
            home: next(Told(f"o-{n}", user="u-1") for n in range(99) if by(crew, n) == home)
            for home in (0, 1)
        }
        for home, one in told.items():
            member = crew.members[home]
            assert [o.fate for o in await converted(crew.members[2], one)] == [Fate.ATTRIBUTED]
            await kill(member)
            member.app = member._open()
            await member.app.doors.open()
            assert [o.fate for o in await converted(crew.members[2], one)] == [Fate.DUPLICATE]
        assert kept(crew) == [0, 0, 2]

    run(crew, play)
    assert crew.verified() == []


def by(crew: Crew, number: int) -> int:
    """Which of them settles it."""
    key = crew.members[0].app.names.conversion(1, f"o-{number}")
    return int.from_bytes(key[:4], "big") % 3


def test_a_later_question_makes_an_earlier_ones_answer_worthless(crew: Crew) -> None:
    """What was sent by one that died meanwhile may be read late: after its successor asked."""

    async def play() -> None:
        await shown(crew, crew.members[0])
        conveying = crew.members[0].app.doors.settling
        asked = [crew.members[1].app.conversions._read(1, Told("o-1", user="u-1"), ["gazette"])]

        async def said(errand: Errand) -> bytes:
            [(passed, done)] = conveying.judge([errand])
            await reached((passed, done))
            assert isinstance(passed, Passed)
            return passed.said

        assert await said(Sought(b"first", 1, asked))
        assert await said(Sought(b"second", 1, asked))
        assert await said(Owed(b"first", 1, asked)) == b""
        assert await said(Owed(b"second", 1, asked)) != b""
        assert sum(kept(crew)) == 1
        assert b"duplicate" in await said(Conveyed(1, asked))

    run(crew, play)
    assert crew.verified() == []


def test_what_is_found_invalid_is_taken_back_at_home(crew: Crew) -> None:
    """Whoever is told: then nothing is owed to it any more, wherever that is told."""

    async def play() -> None:
        first, second, third = crew.members
        older, ad = await shown(crew, first), await shown(crew, third)
        [sale] = await converted(second, Told("o-1", user="u-1"))
        assert (sale.fate, sale.billed) == (Fate.ATTRIBUTED, True)
        await turns(crew, 2)
        texts = [ids.encode(ad), sale.event_id, ids.encode(older)[:-1] + "9"]
        # At once, by several, and under its own name as well as with its ad.
        reverse = [member.app.invalidation.reverse(texts, "a farm") for member in (first, second, second)]
        answers = await asyncio.gather(*reverse)
        kinds = Counter(kind for some in answers for one in some for kind in one.kinds)
        assert kinds == {"impression": 1, "conversion": 1}
        assert all([one.event_id for one in some] == texts for some in answers)
        await turns(crew, 2)
        [again] = await converted(first, Told("o-2", user="u-1"))
        assert (again.fate, again.event_id[:10]) == (Fate.ATTRIBUTED, ids.encode(older)[:10])
        await turns(crew, 2)
        totals = list(first.app.ledger.totals())
        assert sum(total.billed_nanos for total in totals) // 1000 == 4_000_000
        assert sum(total.refunded_nanos for total in totals) // 1000 == 2_000_000

    run(crew, play)
    assert crew.verified() == []
