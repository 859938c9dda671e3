"""Two workers and a real Redis: what one was killed with, between Redis' yes and its journal, or takes back,
the other gives to nobody; what was given it gives again, byte for byte."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from crew import Crew, Member
from servers.redis_server import Redis
from test_shared_kills import Killed, kill, killed, shown
from test_sharing import FEED, ONCE, PLACEMENT, Shared, closed, names
from test_state_doubt import page, until
from world import NOBODY, NOON_MS, Ticks, World, campaign, publisher

from adserver.domain import ids, limits
from adserver.domain.admission import Away
from adserver.domain.workers import Worker
from adserver.ledger.journal import Journal
from adserver.services.ask import Asker
from adserver.services.refusals import Refused
from adserver.sharing import share

MINUTE_MS = 60_000
IDLE_MS = 10 * MINUTE_MS
RIVER = {**FEED, "feed": {"max_share": "0.5", "account_idle": "10m"}}
DEAR = {"id": "a", "pricing": {"model": "cpm", "amount": "5.00"}, "frequency_caps": ONCE}
SOLD = campaign("acme/a", DEAR, {"id": "rest"})
DOCUMENTS = {"publishers": [publisher(placements=[PLACEMENT, RIVER])], "campaigns": [SOLD]}
REQUEST = {"placements": [{"id": "top"}], "user": {"id": "u-1"}, "session": "s-1", "id": "once"}
NOTHING = ([], "state_unavailable")

Asked = Callable[[Shared], Awaitable[Any]]


class Mate(Shared, Member):
    """One of two."""

    staying: asyncio.Task[None] | None = None

    async def ask(self, request: dict[str, Any], asker: Asker = NOBODY) -> Any:
        """No two at the same time: what is audited is read in that order."""
        self.clock.ms += 1
        return await super().ask(request, asker)

    async def begin(self) -> None:
        state = self.app.shared = share(self.app)
        assert state is not None
        self.staying = asyncio.create_task(state.stay())
        await self.app.doors.open()
        await until(lambda: state.there and self.app.metrics.sharing.known)

    async def end(self) -> None:
        """Without a word."""
        assert self.staying is not None
        self.staying.cancel()
        await asyncio.gather(self.staying, return_exceptions=True)
        await self.app.doors.shut()
        self.app.close()

    async def live_again(self) -> None:
        self.app = self._open()
        await self.begin()

    @property
    def vouching(self) -> Any:
        return self.app.decisions.vouching  # type: ignore[attr-defined]


class Pair(Crew):
    def __init__(self, folder: Path, url: str) -> None:
        class There(Mate):
            settings = msgspec.structs.replace(World.settings, redis=url, redis_deadline_ms=2000)

        self.folder, self.clock, self.url = folder, Ticks(NOON_MS), ""
        self.members = [There(folder, Worker(number, 2), self.clock) for number in range(2)]
        self.put(**DOCUMENTS)


def played(folder: Path, url: str, play: Callable[[Mate, Mate, Ticks], Awaitable[None]]) -> None:
    """And audited."""

    async def main() -> None:
        with Pair(folder, url) as pair:
            one, two = pair.members
            assert isinstance(one, Mate) and isinstance(two, Mate)
            await asyncio.gather(one.begin(), two.begin())
            await asyncio.wait_for(play(one, two, pair.clock), 60)
            await asyncio.gather(one.end(), two.end())
            pair.members = [member.__class__(folder, member.worker, pair.clock) for member in pair.members]
            for member in pair.members:
                await asyncio.to_thread(member.tick)
            assert pair.verified() == []

    asyncio.run(main())


def found(decision: Any) -> tuple[list[str], str | None]:
    return names(decision), decision["no_fill"]


def owners(decision: Any) -> set[int]:
    return {ids.owner_of(ids.decode(ad["event_id"])) for ad in decision["ads"]}


def by_id(world: Shared) -> Awaitable[Any]:
    return world.ask(REQUEST)


def by_page(world: Shared) -> Awaitable[Any]:
    return page(world, 0)


both = pytest.mark.parametrize("asked", [by_id, by_page])


@asynccontextmanager
async def agreeing(world: Mate) -> AsyncIterator[tuple[asyncio.Event, asyncio.Event]]:
    """That the first thing was agreed on is known by the first event, and journalled after the second."""
    state, agreed, on = world.app.shared, asyncio.Event(), asyncio.Event()
    assert state is not None
    propose = state.propose

    async def proposed(*args: Any) -> Any:
        first, instead = not agreed.is_set(), await propose(*args)
        agreed.set()
        if first:
            await on.wait()
        return instead

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "propose", proposed)
        yield agreed, on


def hurry(world: Mate, within_s: float = 0.05) -> None:
    """It waits no longer than this for what another says."""
    world.vouching._within_s = within_s


@both
def test_what_was_given_is_given_again(tmp_path: Path, redis_server: Redis, asked: Asked) -> None:
    async def play(one: Mate, two: Mate, clock: Ticks) -> None:
        given = await asked(one)
        assert owners(given) == {0}
        assert [await asked(two) for _ in range(3)] == [given] * 3
        await one.end()
        await one.live_again()
        assert await asked(two) == given, "its journal brought it back"
        assert await shown(one, given) == ["accepted True"] * len(given["ads"])

    played(tmp_path / "world", redis_server.url, play)


@pytest.mark.parametrize("store", ["redis_server", "redis_cluster"])
def test_what_a_killed_one_had_not_journalled_is_nobodys(
    tmp_path: Path, request: pytest.FixtureRequest, store: str
) -> None:
    async def play(one: Mate, two: Mate, clock: Ticks) -> None:
        for asked in (by_id, by_page):
            clock.ms += 1000
            await kill(asked(one))
        await one.end()
        hurry(two)
        loop = asyncio.get_running_loop()
        for asked in (by_id, by_page):
            began = loop.time()
            assert found(await asked(two)) == NOTHING, "whoever would know is away"
            assert loop.time() - began < limits.PASSED_WAITS_S / 2
        hurry(two, 2)
        clock.ms += 1000
        await one.live_again()
        for asked in (by_id, by_page):
            anew = await asked(two)
            assert owners(anew) == {1} and names(anew)[0] == "rest", "a is capped until it expires"
            assert await asked(one) == await asked(two) == anew
            assert await shown(two, anew) == ["accepted True"] * len(anew["ads"])

    played(tmp_path / "world", request.getfixturevalue(store).url, play)


@both
@pytest.mark.parametrize("whom", ["the other", "itself"])
def test_what_is_on_its_way_is_waited_for(
    tmp_path: Path, redis_server: Redis, asked: Asked, whom: str
) -> None:
    async def play(one: Mate, two: Mate, clock: Ticks) -> None:
        two = two if whom == "the other" else one
        async with agreeing(one) as (agreed, on):
            first = asyncio.ensure_future(asked(one))
            await agreed.wait()
            hurry(two)
            assert found(await asked(two)) == NOTHING, "for so long"
            hurry(two, 20)
            again = asyncio.ensure_future(asked(two))
            await asyncio.wait([again], timeout=0.05)
            assert not again.done()
            on.set()
            given = await first
        assert await again == given == await asked(two)
        assert owners(given) == {0}

    played(tmp_path / "world", redis_server.url, play)


@both
def test_what_is_taken_back_is_nobodys_meanwhile(tmp_path: Path, redis_server: Redis, asked: Asked) -> None:
    async def play(one: Mate, two: Mate, clock: Ticks) -> None:
        state, told = one.app.shared, list[Any]()
        assert state is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Journal, "append", closed)
            patch.setattr(state, "withdraw", lambda *args: told.append(args))
            assert (await asked(one))["no_fill"] == "disk_full"
        hurry(two)
        assert found(await asked(two)) == NOTHING
        for args in told:
            state.withdraw(*args)
        await until(lambda: not state.untold)
        anew = await asked(two)
        assert owners(anew) == {1}

    played(tmp_path / "world", redis_server.url, play)


def test_one_id_may_have_come_to_something_else(tmp_path: Path, redis_server: Redis) -> None:
    """What Redis said came too late, so it was decided without it."""

    async def play(one: Mate, two: Mate, clock: Ticks) -> None:
        state, told = one.app.shared, list[Any]()
        assert state is not None
        propose = state.propose

        async def late(*args: Any) -> Any:
            assert await propose(*args) is None
            told.append(args[:2])
            raise Away

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(state, "propose", late)
            given = await by_id(one)
        assert names(given) == ["rest"], "capped is known to nobody"
        hurry(two)
        assert found(await by_id(two)) == NOTHING
        state.withdraw(*told[0])
        await until(lambda: not state.untold)
        assert await by_id(one) == given
        assert await shown(one, given) == ["accepted True"]

    played(tmp_path / "world", redis_server.url, play)


def test_who_goes_on_from_what_was_nobodys_keeps_the_law(tmp_path: Path, redis_server: Redis) -> None:
    """Its ads count, though nobody saw them; and the page itself nobody gets any more."""

    async def play(one: Mate, two: Mate, clock: Ticks) -> None:
        first = await page(two, 0)
        await kill(page(one, 1))
        await one.end()
        on = await page(two, 2)
        start = first["feed"]["next_position"]
        assert on["feed"]["start_position"] > start + 20 and names(on)
        await one.live_again()
        hurry(two)
        hurry(one)
        for world in (one, two):
            assert found(await page(world, 1)) == NOTHING
            assert await page(world, 2) == on
        third = await page(one, 3)
        assert third["feed"]["start_position"] == on["feed"]["next_position"]
        assert [await page(two, number) for number in (0, 2, 3)] == [first, on, third]

    played(tmp_path / "world", redis_server.url, play)


def test_whoever_minted_it_goes_on_from_none_that_was_nobodys(tmp_path: Path, redis_server: Redis) -> None:
    """Nor takes for it what the same account began with another time."""

    async def play(one: Mate, two: Mate, clock: Ticks) -> None:
        first = await page(one, 0)
        await kill(page(one, 1))
        await one.end()
        clock.ms += 1000
        await one.live_again()
        with pytest.raises(Refused, match="ahead"):
            await page(one, 2)
        assert await page(one, 0) == first
        clock.ms += IDLE_MS + MINUTE_MS
        await kill(page(one, 0))
        await one.end()
        clock.ms += 1000
        await one.live_again()
        anew = await page(two, 0)
        assert owners(anew) == {1} and await page(one, 0) == anew

    played(tmp_path / "world", redis_server.url, play)


def test_what_was_forgotten_is_not_taken_for_nobodys(tmp_path: Path, redis_server: Redis) -> None:
    """An account that lives on at another: whoever gave the page is asked, and so remembers it; but not from
    one life to the next."""

    async def play(one: Mate, two: Mate, clock: Ticks) -> None:
        given = await page(one, 0)
        for _ in range(3):
            clock.ms += IDLE_MS - MINUTE_MS
            one.app.states.hot.sweep(clock.ms)
            assert await page(two, 0) == given
        await one.end()
        await one.live_again()
        hurry(two)
        assert found(await page(two, 0)) == NOTHING, "it may be forgotten"
        on = await page(two, 1)
        assert on["feed"]["start_position"] == given["feed"]["next_position"]

    played(tmp_path / "world", redis_server.url, play)


def test_what_is_asked_for_again_is_not_forgotten(tmp_path: Path, redis_server: Redis) -> None:
    async def play(one: Mate, two: Mate, clock: Ticks) -> None:
        given = await page(one, 0)
        for _ in range(3):
            clock.ms += IDLE_MS - MINUTE_MS
            one.app.states.hot.sweep(clock.ms)
            assert await page(one, 0) == given
        assert await page(two, 0) == given

    played(tmp_path / "world", redis_server.url, play)


def test_a_clock_that_was_set_back_hides_nothing(tmp_path: Path, redis_server: Redis) -> None:
    async def play(one: Mate, two: Mate, clock: Ticks) -> None:
        await kill(by_id(one))
        await kill(by_page(one))
        await one.end()
        clock.ms -= 5 * MINUTE_MS
        await one.live_again()
        for asked in (by_id, by_page):
            anew = await asked(one)
            assert names(anew)[0] == "rest" and await asked(two) == anew

    played(tmp_path / "world", redis_server.url, play)


@pytest.mark.parametrize("seed", range(3))
def test_whoever_dies_whatever_is_given_stands_in_a_journal(
    tmp_path: Path, redis_server: Redis, seed: int
) -> None:
    """Whatever is given twice is the same, too."""

    async def play(one: Mate, two: Mate, clock: Ticks) -> None:
        chance, mates, given, kills = random.Random(seed), [one, two], dict[str, Any](), 0
        living = list(mates)
        for number in range(80):
            clock.ms += chance.randint(0, 200)
            if len(living) == 1 and chance.random() < 0.3:
                (dead,) = set(mates) - set(living)
                await dead.live_again()
                living.append(dead)
            for mate in living:
                hurry(mate, 2 if len(living) == 2 else 0.01)
            mate, (key, asked) = chance.choice(living), some(chance)
            dies = len(living) == 2 and number % 8 == 0
            try:
                decision = await (until_killed(asked(mate)) if dies else asked(mate))
            except Refused:
                continue
            except Killed:
                kills += 1
                living.remove(mate)
                await mate.end()
                continue
            if found(decision) != NOTHING:
                assert given.setdefault(key, decision) == decision
        for dead in set(mates) - set(living):
            await dead.live_again()
        assert kills > 1
        for decision in given.values():
            for ad in decision["ads"]:
                home = mates[ids.owner_of(ids.decode(ad["event_id"]))]
                assert await shown(home, {"ads": [ad]}) in (["accepted True"], ["duplicate False"])

    played(tmp_path / "world", redis_server.url, play)


def some(chance: random.Random) -> tuple[str, Asked]:
    who, number = f"s-{chance.randint(0, 2)}", chance.randint(0, 3)
    if chance.random() < 0.6:
        return f"page {who} {number}", lambda world: page(world, number, who)
    asked = {**REQUEST, "user": {"id": who}, "session": who, "id": f"{who} {number}"}
    return f"id {who} {number}", lambda world: world.ask(asked)


async def until_killed(asked: Awaitable[Any]) -> Any:
    """As it journals what it was asked, if it does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "append", killed)
        return await asked
