"""Law 5: a journalled decision can be made once more, byte for byte, or it is said which input is gone."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from random_session import Session
from replayed import Rich, journalled, played, replay_all, told
from world import World, campaign, publisher

from adserver import checkpoints, recovery, replaying
from adserver.domain import ids, limits
from adserver.domain.decision import event_id
from adserver.domain.records import PERSONAL, Personal
from adserver.ledger import segments
from adserver.ledger.cursor import Cursor
from adserver.ledger.files import segment_path
from adserver.ledger.reader import Reader
from adserver.services import asked, deciding, slate

pytestmark = pytest.mark.slow

ASK = {"placements": [{"id": "top"}], "user": {"id": "u-1"}}
FAR: dict[str, Any] = {"custom": 'page.tale = "x"'}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    told = campaign(
        "acme/a", {"id": "a", "pricing": {"model": "cpm", "amount": "4.00"}}, {"id": "b", "targeting": FAR}
    )
    with World(tmp_path / "world", publishers=[publisher()], campaigns=[told]) as world:
        yield world


def again(world: World, minted: bytes | None = None) -> replaying.Replayed:
    """The last decision, or the one of this id."""
    data = world.app.settings.data
    return replaying.replay(data, minted or journalled(data)[-1].request_id)


def test_what_was_taken_back_has_room_in_budgets_and_goals_of_a_replay(tmp_path: Path) -> None:
    """One impression a day, or in all, and that was found invalid: the next is served, then and again."""
    euro = {"model": "cpm", "amount": "1000.00"}
    items = ({"budget": {"daily": "1.00"}}, {"goal": {"impressions": 1}})
    for number, item in enumerate(items):
        sold = campaign("acme/a", {"id": "a", "pricing": euro, **item})
        with World(tmp_path / str(number), publishers=[publisher()], campaigns=[sold]) as world:
            for _ in range(2):
                (ad,) = world.decide(ASK)["decisions"][0]["ads"]
                assert again(world).outcome == "identical"
                assert world.event(ad["impression_url"]).billed
                world.tick()
                asyncio.run(world.app.invalidation.reverse([ad["event_id"]], "a farm"))
                world.tick()


class SmallSegments(World):
    settings = msgspec.structs.replace(World.settings, segment_bytes=16 * 1024)


# -- whatever happens ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_every_decision_of_a_session_is_the_same_again(tmp_path: Path, seed: int) -> None:
    with World(tmp_path / "world") as world:
        replayed = played(world, Session(world, seed), 150)
        assert told(replayed) == []
        assert len(replayed) > 40


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_catalogue_and_the_requests_say(tmp_path: Path, seed: int) -> None:
    with World(tmp_path / "world") as world:
        replayed = played(world, Rich(world, seed), 120)
        assert told(replayed) == []
        assert len(replayed) > 30


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Session, Rich])
def test_of_many_sessions(tmp_path: Path, kind: type[Session]) -> None:
    for seed in range(200, 208):
        with World(tmp_path / str(seed)) as world:
            assert told(played(world, kind(world, seed), 200)) == []


@pytest.mark.slow
def test_from_a_checkpoint_it_is_what_it_is_from_the_beginning(tmp_path: Path) -> None:
    with SmallSegments(tmp_path / "world") as world:
        data = world.app.settings.data
        session = Rich(world, 7)
        for _ in range(260):
            session.step()
        before = replay_all(world)
        for segment in range(2, world.app.journal.position.segment + 1):
            recovery.renew(data, segment)
        assert len(checkpoints.kept(data)) > 1
        assert replay_all(world) == before
        assert told(before) == []


def test_a_checkpoint_that_cannot_be_read_costs_time_alone(tmp_path: Path) -> None:
    with SmallSegments(tmp_path / "world") as world:
        data = world.app.settings.data
        session = Session(world, 3)
        while world.app.journal.position.segment < 2:
            session.step()
        recovery.renew(data, 2)
        world.decide(ASK)
        (kept,) = checkpoints.kept(data)
        kept.path.write_bytes(b"torn")
        assert replaying.replay(data, journalled(data)[-1].request_id).outcome == "identical"


# -- what was spared -------------------------------------------------------------------------------


def test_what_was_left_out_beforehand_is_told(tmp_path: Path) -> None:
    """Line items of equal bids, with room for a few ads each: chance is drawn among those not left out."""
    sold = [
        campaign(f"{owner}/c", {"id": "l", "budget": {"daily": "0.003"}, "pacing": "even"})
        for owner in ("acme", "bolt", "corn", "dune", "east")
    ]
    with World(tmp_path / "world", publishers=[publisher()], campaigns=sold) as world:
        for number in range(120):
            world.clock.ms += 30_000
            world.decide({"placements": [{"id": "top"}]})
            if number % 7 == 0:
                world.tick()
        replayed = replay_all(world)
        assert told(replayed) == []
        assert len(replayed) > 10
        with Reading(world) as records:
            assert sum(bool(record.hints and len(record.hints) > 1) for record in records) > 5


class Reading:
    """The decided records of a world."""

    def __init__(self, world: World) -> None:
        self._reader = Reader(world.app.settings.data / "journal")

    def __enter__(self) -> list[Any]:
        records = [record for _, record, _ in self._reader.read(replaying.Position())]
        return [record for record in records if isinstance(record, replaying.Decided)]

    def __exit__(self, *_: object) -> None:
        self._reader.close()


def test_what_was_billed_and_delivered_counts(tmp_path: Path) -> None:
    """A budget and a goal that events use up, of holds that ended long ago."""
    sold = [
        campaign("acme/a", {"id": "budget", "pricing": {"model": "cpm", "amount": "9.00"},
                            "budget": {"lifetime": "0.027"}}),
        campaign("bolt/b", {"id": "goal", "priority": "standard", "goal": {"impressions": 4},
                            "flight": {"start": "2026-06-01T00:00:00Z", "end": "2026-06-03T00:00:00Z"}}),
        campaign("corn/c", {"id": "rest"}),
    ]  # fmt: skip
    with World(tmp_path / "world", publishers=[publisher()], campaigns=sold) as world:
        winners = []
        for _ in range(10):
            world.clock.ms += 3_600_000
            (ad,) = world.decide(ASK)["decisions"][0]["ads"]
            world.event(ad["impression_url"])
            winners.append(ad["line_item"])
        assert winners == ["goal"] * 4 + ["budget"] * 3 + ["rest"] * 3
        assert told(replay_all(world)) == []


def test_a_window_that_was_lengthened(tmp_path: Path) -> None:
    """Somebody was forgotten, since nothing of theirs counted any more; then the cap looks farther back."""

    def sold(per: str) -> list[Any]:
        return [campaign("acme/a", {"id": "a", "frequency_caps": [{"limit": 1, "per": per}]})]

    with World(tmp_path / "world", publishers=[publisher()], campaigns=sold("1h")) as world:
        world.event(world.decide(ASK)["decisions"][0]["ads"][0]["impression_url"])
        world.clock.ms += 2 * 3_600_000
        world.tick()
        world.put(campaigns=sold("1d"))
        assert len(world.decide(ASK)["decisions"][0]["ads"]) == 1
        assert told(replay_all(world)) == []


def test_a_feed_account_that_lived_on_by_what_nobody_journalled(tmp_path: Path) -> None:
    feed = {"id": "news", "surface": "feed", "feed": {"account_idle": "10m"}}

    def page(number: int) -> Any:
        asked = {"id": "main", "page": number, "organic_count": 20}
        return world.decide({"placements": [{"id": "news", "feed": asked}], "session": "s-1"})

    documents = {"publishers": [publisher(placements=[feed])], "campaigns": [campaign("acme/a")]}
    with World(tmp_path / "world", **documents) as world:
        page(0)
        world.clock.ms += 30_000
        page(0)
        world.clock.ms += 590_000
        page(1)
        replayed = replay_all(world)
        assert [one.decision.slots[0].feed.page for one in replayed if one.decision.slots[0].feed] == [0, 1]
        assert told(replayed) == []


# -- which decision --------------------------------------------------------------------------------


def test_an_ad_names_its_decision(world: World) -> None:
    answer = world.decide(ASK)
    minted = ids.decode(answer["decisions"][0]["ads"][0]["event_id"])
    assert again(world, minted).outcome == "identical"
    with pytest.raises(replaying.Unknown):
        again(world, event_id(minted, 2))
    with pytest.raises(replaying.Unknown):
        again(world, ids.mint(world.clock.ms, 99, 0))


def test_of_what_promised_nothing_a_sample_is_journalled(world: World) -> None:
    nobody = {"placements": [{"id": "nowhere"}]}
    for seed in range(1, 2 * limits.UNFILLED_JOURNALLED + 1):
        world.decide(nobody, seed)
    seeds = [int.from_bytes(one.request_id[6:14], "big") for one in journalled(world.app.settings.data)]
    assert seeds == [limits.UNFILLED_JOURNALLED, 2 * limits.UNFILLED_JOURNALLED]
    replayed = again(world)
    assert (replayed.outcome, replayed.decision.slots[0].no_fill) == ("identical", "unknown_placement")


def test_dry_runs_and_crawlers_are_no_sample(world: World) -> None:
    world.decide({"placements": [{"id": "nowhere"}], "mode": "dry_run"}, 0)
    assert journalled(world.app.settings.data) == []


# -- what is gone ----------------------------------------------------------------------------------


def test_an_erased_request_is_told(world: World) -> None:
    world.decide(ASK)
    world.decide(ASK)
    erase(world, 0)
    first, second = replay_all(world)
    assert (first.outcome, second.outcome) == ("erased", "identical")


def test_who_was_erased_takes_counters_along(tmp_path: Path) -> None:
    capped = campaign("acme/a", {"id": "a", "frequency_caps": [{"limit": 1, "per": "1d"}]})
    with World(tmp_path / "world", publishers=[publisher()], campaigns=[capped]) as world:
        world.decide(ASK)
        world.decide(ASK, seed=limits.UNFILLED_JOURNALLED)
        erase(world, 0)
        replayed = again(world)
    assert replayed.outcome == "gone"
    assert replayed.reason == "what was counted by records before it that were erased (1)"


def erase(world: World, number: int) -> None:
    """Zeros over the personal part of one record."""
    journal = world.app.settings.data / "journal"
    cursor = Cursor(journal, 1)
    frame = [frame for frame in cursor.frames() if frame.secret][number]
    cursor.close()
    with segment_path(journal, 1).open("r+b") as file:
        file.seek(frame.start + segments.FRAME_HEAD_BYTES)
        file.write(bytes(len(frame.secret)))


def test_a_revision_that_is_not_kept_is_told(world: World) -> None:
    world.decide(ASK)
    (world.app.settings.data / "catalog.sqlite").unlink()
    replayed = again(world)
    assert (replayed.outcome, replayed.again) == ("gone", None)
    assert "catalog" in replayed.reason


def test_a_journal_without_its_beginning(tmp_path: Path) -> None:
    with SmallSegments(tmp_path / "world") as world:
        data = world.app.settings.data
        session = Session(world, 3)
        while world.app.journal.position.segment < 2:
            session.step()
        recovery.renew(data, 2)
        world.tick()
        minted = ids.decode(world.decide(ASK, seed=limits.UNFILLED_JOURNALLED)["request_id"])
        segment_path(data / "journal", 1).unlink()
        assert again(world, minted).outcome == "identical"
        checkpoints.kept(data)[0].path.unlink()
        replayed = again(world, minted)
    assert replayed.outcome == "gone"
    assert "the beginning of the journal is no longer kept" in replayed.reason


def test_a_snapshot_of_another_history(world: World) -> None:
    world.decide({**ASK, "page": {"keywords": ["tennis"]}})
    (decision,) = journalled(world.app.settings.data)
    strange = Personal(b"saltsalt", facts=b"\xff\x0f")
    with pytest.raises(asked.Unreadable, match="is not the one that decided"):
        asked.request_of(decision, strange, world.app.world.snapshot)


@pytest.mark.parametrize(("chars", "outcome"), [(3000, "identical"), (5000, "gone")])
def test_a_request_says_more_than_is_kept(world: World, chars: int, outcome: str) -> None:
    world.decide({**ASK, "page": {"properties": {"tale": "x" * chars}}})
    replayed = again(world)
    assert replayed.outcome == outcome
    assert replayed.reason == (
        "" if outcome == "identical" else "the request said more than is kept (3900 bytes)"
    )


def test_a_number_nobody_can_keep(world: World) -> None:
    world.decide({**ASK, "page": {"properties": {"tale": 10**30}}})
    assert again(world).outcome == "gone"


def test_a_record_of_an_older_version(world: World) -> None:
    world.decide(ASK)
    (decision,) = journalled(world.app.settings.data)
    old = PERSONAL.decode(msgspec.msgpack.encode([b"saltsalt", b"subject", None]))
    with pytest.raises(asked.Unreadable, match="a version that kept nothing of its request"):
        asked.request_of(decision, old, world.app.world.snapshot)


# -- another engine --------------------------------------------------------------------------------


def test_another_engine_differs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.decide(ASK)
    ad = slate._ad
    cheaper = lambda winner: msgspec.structs.replace(ad(winner), price_nanos=1)  # noqa: E731
    monkeypatch.setattr(slate, "_ad", cheaper)
    replayed = again(world)
    assert (replayed.outcome, replayed.difference) == (
        "differs",
        ("slots[0].ads[0].price_nanos", 4_000_000, 1),
    )


def test_replay_runs_the_very_code_that_decides(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.decide(ASK)
    ran: list[object] = []
    fill = deciding.Deciding.fill
    monkeypatch.setattr(deciding.Deciding, "fill", lambda self: (ran.append(self), fill(self))[1])
    assert again(world).outcome == "identical"
    assert len(ran) == 1


@pytest.mark.slow
def test_pacing_by_the_traffic_of_the_day_before(tmp_path: Path) -> None:
    """Two even line items, with far more traffic in the evening: what is due at six is not half a day's."""
    items = [
        {
            "id": name,
            "pacing": "even",
            "budget": {"daily": "0.05"},
            "pricing": {"model": "cpm", "amount": price},
        }
        for name, price in (("a", "1.00"), ("b", "0.90"))
    ]
    hour_ms, midnight_ms = 3600_000, 1_780_272_000_000
    with World(
        tmp_path / "world", midnight_ms, publishers=[publisher()], campaigns=[campaign("acme/a", *items)]
    ) as world:
        for hour in range(24 + 20):
            for number in range(12 if hour % 24 > 17 else 4):
                world.clock.ms = midnight_ms + hour * hour_ms + number * 290_000
                world.decide({**ASK, "user": {"id": f"u-{number}"}, "id": f"{hour}-{number}"})
        replayed = replay_all(world)
        assert told(replayed) == []
        assert len(replayed) > 200
