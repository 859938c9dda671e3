"""Impressions told in a row are what they are alone: the same random session is lived by two servers with the
same secrets, one told in rows, the other the long way. Verdicts, journal and state are the same."""

import asyncio
import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from test_determinism import twin
from world import BROWSER, World, campaign, publisher

from adserver import octets
from adserver.addresses import Addresses
from adserver.domain.books import JournalClosed, Position
from adserver.domain.decision import EventKind
from adserver.domain.records import Record, Status
from adserver.domain.told import Told
from adserver.domain.verdicts import Verdict
from adserver.ledger import segments
from adserver.ledger.cursor import Cursor
from adserver.services.calls import Call
from adserver.services.refusals import Refused

if octets.compiled is None:
    pytest.skip("built without a compiler", allow_module_level=True)

CRAWLER: Final = "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)"
AGENTS: Final = (BROWSER,) * 12 + (CRAWLER, "curl/8.5.0", "")
ADDRESSES: Final = ("198.51.100.7",) * 6 + ("127.0.0.1", "198.51.100.8", "203.0.113.9", "2001:db8::1", "")
MODELS: Final = ("cpm", "cpm", "cpm", "vcpm", "cpc", "cpa", "flat")
Row = list[tuple[str, str, str]]
"""(token, agent, address) of each call."""


def line_item(chance: random.Random, number: int) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": f"l{number}",
        "pricing": {"model": chance.choice(MODELS), "amount": chance.choice(("1.00", "2.40"))},
    }
    if item["pricing"]["model"] == "flat":
        fee = {"model": "flat", "amount": "0.01", "per": "day"}
        item |= {"priority": "sponsorship", "goal": {"share": "0.3"}, "pricing": fee}
    elif chance.random() < 0.15:
        item |= {"priority": "house", "pricing": {"model": "cpm", "amount": "0"}}
    if chance.random() < 0.5:
        per, scope = chance.choice(("1m", "1d", "session")), chance.choice(("line_item", "advertiser"))
        item["frequency_caps"] = [{"limit": chance.randint(2, 4), "per": per, "scope": scope}]
    if chance.random() < 0.5:
        item["budget"] = {chance.choice(("lifetime", "daily")): chance.choice(("0.01", "0.005", "9.00"))}
    return item


class Life:
    """A server, and how it is told."""

    def __init__(self, world: World, in_rows: bool) -> None:
        self.world = world
        self.in_rows = in_rows
        (centres := world.folder / "centres").write_text("203.0.113.0/24\n")
        world.app.addresses._centres = Addresses(centres)._centres

    def tell(self, row: Row) -> list[Verdict]:
        return asyncio.run(self._tell(row))

    async def _tell(self, row: Row) -> list[Verdict]:
        judged = self._row(row) if self.in_rows else [self._alone(*call) for call in row]
        for verdict, durable in judged:
            assert (durable is None) is (verdict.status is Status.UNRECORDED)
            if durable is not None:
                await asyncio.shield(durable)
        assert self.world.app.journal.position == self.world.app.journal.synced_position or not judged
        return [verdict for verdict, _ in judged]

    def _row(self, row: Row) -> Any:
        return self.world.app.impressions.tell([(self._told(text, agent), ip) for text, agent, ip in row])

    def _told(self, text: str, agent: str) -> Told:
        said = f"user-agent: {agent}\r\n" if agent else ""
        told = self.world.app.impressions.read(f"GET /i/{text} HTTP/1.1\r\nhost: x\r\n{said}\r\n".encode())
        assert told is not None
        return told

    def _alone(self, text: str, agent: str, ip: str) -> Any:
        try:
            return self.world.app.recorder.tell(text, EventKind.IMPRESSION, Call(agent, ip))
        except (Refused, JournalClosed):
            return Verdict(Status.UNRECORDED), None

    def state(self) -> dict[str, Any]:
        states = self.world.app.states
        parts = ("exposures", "seen", "filtered", "released", "touches", "budgets")
        dumped = {name: msgspec.msgpack.decode(getattr(states, name).dump()) for name in parts}
        called = dict(self.world.app.metrics._filtered)
        sampled = {at: hour.won for at, hour in self.world.app.samples._hours.items()}
        return dumped | {
            "delivered": states.budgets.delivered(), "filtered calls": called, "sampled": sampled
        }  # fmt: skip

    def records(self) -> list[tuple[Record, Any]]:
        """But for the salts; terms may stand before the row that relies on them instead of within it."""
        cursor, told = Cursor(self.world.folder / "data" / "journal", 1), []
        position: Position = self.world.app.journal.position
        for frame in cursor.frames(position.offset):
            record = frame.record()
            if type(record).__name__ not in ("Mark", "LineItemTerms"):
                told.append((record, frame.secret[11:]))
        cursor.close()
        return told


class Session:
    """What happens to both."""

    def __init__(self, chance: random.Random, lives: list[Life]) -> None:
        self.chance = chance
        self.lives = lives
        self.ads: list[dict[str, Any]] = []

    def both(self, act: Any) -> Any:
        one, two = (act(life) for life in self.lives)
        assert one == two
        return one

    def step(self) -> list[Verdict]:
        chance = self.chance
        owner, placement = chance.choice((("gazette", "top"), ("pocket", "app")))
        ask = {
            "publisher": owner,
            "placements": [{"id": placement, "count": chance.randint(1, 3)}],
            "user": {"id": f"u{chance.randrange(4)}"},
            "session": f"s{chance.randrange(5)}",
            "mode": chance.choice(("live",) * 9 + ("test",)),
        }
        seed, later_ms = chance.getrandbits(64), chance.choice((0, 40, 1000, 90_000, 300_000))
        answer = self.both(lambda life: life.world.decide(ask, seed))
        self.ads += answer["decisions"][0]["ads"]
        for life in self.lives:
            life.world.clock.ms += later_ms
        if self.ads and chance.random() < 0.4:
            url = chance.choice(self.ads)[chance.choice(("click_url", "release_url"))]
            self.both(lambda life: life.world.event(url))
        row = [self.call() for _ in range(chance.randint(0, 16)) if self.ads]
        return self.both(lambda life: life.tell(row))  # type: ignore[no-any-return]

    def call(self) -> tuple[str, str, str]:
        chance = self.chance
        ad = chance.choice(self.ads[-20:] if chance.random() < 0.7 else self.ads)
        return ad["impression_url"].rpartition("/")[2], chance.choice(AGENTS), chance.choice(ADDRESSES)


def check(folder: Path, seed: int, steps: int, act: Any = None) -> list[Verdict]:
    """A session of both. ``act``: done to each life at every step."""
    chance = random.Random(seed)
    documents = {
        "publishers": [
            publisher("gazette", placements=[{"id": "top"}]),
            publisher("pocket", kind="app", placements=[{"id": "app"}]),
        ],
        "campaigns": [
            campaign(f"brand{owner}/c", *(line_item(chance, n) for n in range(4)), budget={"daily": "0.05"})
            for owner in range(3)
        ],
    }
    with World(folder / "rows") as one, twin(one, folder / "alone") as two:
        for world in (one, two):
            world.put(**documents)
        session, verdicts = Session(chance, [Life(one, True), Life(two, False)]), list[Verdict]()
        for step in range(steps):
            verdicts += session.step()
            if act is not None:
                session.both(lambda life, step=step: act(life, step))
            session.both(Life.state)
        session.both(Life.records)
        for life in session.lives:
            life.world.restart()
        session.both(Life.state)
    return verdicts


@pytest.fixture
def tempo(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = msgspec.structs.replace(
        World.settings, rate_per_user=(30, 24), rate_per_address=(12, 60), rate_per_placement=(200, 0),
        fastest_click_ms=100,
    )  # fmt: skip
    monkeypatch.setattr(World, "settings", settings)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.usefixtures("tempo")
def test_a_row_is_what_its_calls_are_alone(seed: int, tmp_path: Path) -> None:
    verdicts = check(tmp_path, seed, 60)
    statuses = {verdict.status for verdict in verdicts}
    assert statuses == {Status.ACCEPTED, Status.DUPLICATE, Status.FILTERED, Status.EXPIRED}
    assert {verdict.billed for verdict in verdicts} == {True, False}


@pytest.mark.usefixtures("tempo")
def test_without_a_compiler_the_frames_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "compiled", None)
    assert check(tmp_path, 9, 30)


def ads(session: Session, number: int, owner: str, placement: str) -> list[dict[str, Any]]:
    """So many, of one session."""
    asked = {"publisher": owner, "placements": [{"id": placement}], "session": "s"}
    seeds = [session.chance.getrandbits(64) for _ in range(number)]
    decided = [session.both(lambda life, seed=seed: life.world.decide(asked, seed)) for seed in seeds]
    return [ad for answer in decided for ad in answer["decisions"][0]["ads"]]


def statuses(session: Session, told: list[dict[str, Any]], *addresses: str) -> list[Status]:
    row = [
        (ad["impression_url"].rpartition("/")[2], BROWSER, address)
        for ad, address in zip(told, addresses, strict=True)
    ]
    return [verdict.status for verdict in session.both(lambda life: life.tell(row))]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    documents = {
        "publishers": [
            publisher("gazette", placements=[{"id": "top"}]),
            publisher("pocket", kind="app", placements=[{"id": "app"}]),
        ],
        "campaigns": [campaign("a/b", {
            "id": "a", "pricing": {"model": "cpc", "amount": "0.10"},
            "frequency_caps": [{"limit": 200, "per": "session", "scope": "line_item"}],
        })],
    }  # fmt: skip
    with World(tmp_path / "rows", **documents) as one, twin(one, tmp_path / "alone") as two:
        two.put(**documents)
        yield Session(random.Random(1), [Life(one, True), Life(two, False)])


@pytest.mark.usefixtures("tempo")
def test_who_is_too_fast_is_filtered_amid_the_others(session: Session) -> None:
    """Twelve a minute from an address; nobody counts those of an app's own client."""
    one, two = "198.51.100.7", "198.51.100.8"
    accepted, filtered = Status.ACCEPTED, Status.FILTERED
    shown = ads(session, 16, "gazette", "top")
    told = statuses(session, shown, *[one] * 11, two, one, one, two, one)
    assert told == [accepted] * 13 + [filtered, accepted, filtered]
    assert statuses(session, ads(session, 14, "pocket", "app"), *[two] * 14) == [accepted] * 14
    session.both(Life.state)
    session.both(Life.records)


def test_what_was_released_and_is_remembered_is_expired(session: Session) -> None:
    """For its session, which a token does not name."""
    shown = ads(session, 2, "gazette", "top")
    session.both(lambda life: life.world.event(shown[0]["release_url"]))
    assert statuses(session, shown, "", "") == [Status.EXPIRED, Status.ACCEPTED]
    session.both(Life.state)


class Disk:
    """Of which writes fail while there are more than ``most`` bytes at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = 1 << 30
        real = os.pwrite

        def pwrite(fd: int, octets: bytes, at: int) -> int:
            if len(octets) > self.most and any(octets):
                raise OSError(errno.ENOSPC, "no room")
            return real(fd, octets, at)

        monkeypatch.setattr(os, "pwrite", pwrite)


def test_what_finds_no_room_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a row finds none, some of it may; what found none is told again, and counted then."""
    with World(tmp_path, publishers=[publisher()], campaigns=[campaign("a/b", {"id": "a"})]) as world:
        ads = [world.decide({"placements": [{"id": "top"}]})["decisions"][0]["ads"][0] for _ in range(24)]
        calls = [(ad["impression_url"].rpartition("/")[2], BROWSER, "") for ad in ads]
        life, disk = Life(world, True), Disk(monkeypatch)
        assert {verdict.status for verdict in life.tell(calls[:2])} == {Status.ACCEPTED}
        before, disk.most = life.state(), 0
        assert {verdict.status for verdict in life.tell(calls[2:8])} == {Status.UNRECORDED}
        assert life.state() == before
        disk.most = 150
        assert {verdict.status for verdict in life.tell(calls[2:16])} == {Status.ACCEPTED}
        disk.most = 1 << 30
        told = life.tell(calls[14:])
        assert [verdict.status for verdict in told[:2]] == [Status.DUPLICATE] * 2
        assert {verdict.status for verdict in told[2:]} == {Status.ACCEPTED}
        state = life.state()
        world.restart()
        assert {key for _, key in Life(world, True).state()["seen"]} == {key for _, key in state["seen"]}
        assert world.app.states.budgets.delivered()[0][0].impressions == 24
