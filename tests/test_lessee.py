"""Workers that share budgets, as whole servers: law 3 and law 4 over all of their journals."""

import asyncio
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from crew import Crew, Member
from sqlalchemy.exc import OperationalError
from world import BROWSER, NOON_MS, World, campaign, publisher

from adserver import recovery
from adserver.domain import ids, limits
from adserver.domain.decision import EventKind
from adserver.duties import Duties
from adserver.ledger.leases import Leases
from adserver.ledger.leasing import IDLE
from adserver.replaying import replay
from adserver.salts import Seeds
from adserver.services.calls import Call

pytestmark = pytest.mark.slow

DAY_MS = 86_400_000
CALL = Call(user_agent=BROWSER)


def world(budget: str) -> dict[str, Any]:
    """A line item at 10.00 a thousand, so a cent an impression."""
    item = {"id": "a", "pricing": {"model": "cpm", "amount": "10.00"}, "budget": {"lifetime": budget}}
    return {"publishers": [publisher()], "campaigns": [campaign("acme/spring", item)]}


def ask() -> dict[str, Any]:
    return {"publisher": "gazette", "placements": [{"id": "top"}]}


def ads_of(member: Any) -> list[Any]:
    return list(member.decide(ask())["decisions"][0]["ads"])


def spent_micros(crew: Crew) -> int:
    """Of the ledger, by whoever is asked."""
    totals = list(crew.members[0].app.ledger.totals())
    return sum(total.billed_nanos for total in totals) // 1000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_budget_is_drained_by_three_and_never_overspent(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with Crew(tmp_path, 3, **world("1.00")) as crew:
        shown = 0
        for _ in range(120):
            member = chance.choice(crew.members)
            for ad in ads_of(member):
                assert crew.home(ad) is member
                if chance.random() < 0.9:
                    shown += member.event(ad["impression_url"]).billed
            if chance.random() < 0.5:
                crew.clock.ms += 200
                crew.tick()
            if chance.random() < 0.05:
                member.restart(clean=chance.random() < 0.5)
        crew.clock.ms += limits.RENDER_WITHIN_MS_MAX + limits.GRACE_MS + 1000
        for _ in range(400):
            crew.tick()
            for member in crew.members:
                for ad in ads_of(member):
                    shown += member.event(ad["impression_url"]).billed
            if shown == 100:
                break
        crew.tick(2)
        assert shown == 100
        assert spent_micros(crew) == 1_000_000
        assert crew.verified() == []
        assert sum(member.app.refused for member in crew.members) == 0


@pytest.mark.slow
def test_what_was_promised_alone_counts_among_several(tmp_path: Path) -> None:
    """Whoever was alone has ads out that nobody was told of; two of them share what is left."""
    with Crew(tmp_path, 1, **world("0.10")) as crew:
        assert crew.members[0].app.lessee is None
        out = [ad for _ in range(7) for ad in ads_of(crew.members[0])]
    with Crew(tmp_path, 2) as crew:
        crew.clock.ms += 60_000
        # Nothing is leased to others before the first has told what it promised.
        for _ in range(5):
            crew.members[1].tick()
            assert ads_of(crew.members[1]) == []
        more = list[Any]()
        for _ in range(200):
            crew.tick()
            more += [ad for member in crew.members for ad in ads_of(member)]
        assert (len(out), len(more)) == (7, 3)
        assert all(crew.home(ad).event(ad["impression_url"]).billed for ad in out + more)
        crew.tick()
        assert spent_micros(crew) == 100_000
        assert crew.verified() == []


@pytest.mark.slow
def test_who_is_left_shares_until_the_last_token_of_the_others_is_over(tmp_path: Path) -> None:
    with Crew(tmp_path, 3, **world("0.10")) as crew:
        crew.tick(2)
        ads = list[Any]()
        for _ in range(100):
            crew.tick()
            if len(ads) < 5:
                ads += ads_of(crew.members[2])
        assert len(ads) == 5
        shown = [crew.members[2].event(ad["impression_url"]).billed for ad in ads[:3]]
        assert shown == [True] * 3
        # Killed, with what is in the journal not posted.
        now_ms = crew.clock.ms
    with Crew(tmp_path, 1, now_ms) as crew:
        [alone] = crew.members
        assert alone.app.lessee is not None
        assert spent_micros(crew) == 30_000
        sold = 0
        for _ in range(200):
            crew.tick()
            sold += len(ads_of(alone))
        assert sold == 5, "what the others hold is not sold again"
    with Crew(tmp_path, 1, now_ms + 2 * DAY_MS) as crew:
        assert crew.members[0].app.lessee is None
        assert len(ads_of(crew.members[0])) == 1
        crew.tick()
        assert crew.verified() == []


@pytest.mark.slow
def test_a_clean_end_gives_back_what_is_free(tmp_path: Path) -> None:
    with Crew(tmp_path, 2, **world("0.10")) as crew:
        ads = list[Any]()
        for _ in range(100):
            crew.tick()
            if not ads:
                ads += ads_of(crew.members[1])
        crew.members[1].leave()
        sold = 0
        for _ in range(200):
            crew.members[0].tick()
            sold += len(ads_of(crew.members[0]))
        assert sold == 9
        crew.members[1].app = crew.members[1]._open()


@pytest.mark.slow
def test_a_worker_goes_on_from_its_own_checkpoint(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Member, "settings", msgspec.structs.replace(World.settings, segment_bytes=1 << 16))
    with Crew(tmp_path, 2, **world("1.00")) as crew:
        ads = list[Any]()
        for _ in range(100):
            crew.tick()
            ads += ads_of(crew.members[1])
        while (segment := crew.members[1].app.journal.position.segment) == 1:
            ads_of(crew.members[1])
        recovery.renew(tmp_path / "data", segment, 1)
        assert (tmp_path / "data" / "journals" / "1" / recovery.FILE).exists()
        assert not (tmp_path / "data" / recovery.FILE).exists()
        for clean in (False, True):
            crew.members[1].restart(clean)
            assert all(ids.decode(ad["event_id"]) in crew.members[1].app.states.exposures.known for ad in ads)
        assert crew.members[1].event(ads[0]["impression_url"]).billed


def test_seeds_tell_whose_they_are_and_stay_chance() -> None:
    for owner in (0, 1, 513, 1023):
        drawn = Seeds(owner)
        seeds = [drawn() for _ in range(20_000)]
        assert len(set(seeds)) == len(seeds)
        assert {ids.owner_of(ids.mint(NOON_MS, seed, 7)) for seed in seeds} == {owner}
        # One in a hundred is journalled, some are sampled: five sigma of 20 000.
        assert abs(sum(seed % 100 == 0 for seed in seeds) - 200) < 71
        assert abs(sum(seed < 1 << 60 for seed in seeds) - 1250) < 172
        for bit in (0, 31, 42, 63):
            assert abs(sum(seed >> bit & 1 for seed in seeds) - 10_000) < 354


@pytest.mark.slow
def test_as_servers_with_all_that_goes_on_beside(tmp_path: Path) -> None:
    """Duties on a loop, posting by children of their own: ended cleanly, nothing is left to post or held."""

    async def serve(crew: Crew) -> int:
        for member in crew.members:
            await member.app.start()
        billed = 0
        for _ in range(600):
            for member in crew.members:
                for ad in ads_of(member):
                    token = ad["impression_url"].rpartition("/")[2]
                    verdict = await member.app.recorder.record(token, EventKind.IMPRESSION, CALL)
                    billed += verdict.billed
            if billed == 20:
                break
            await asyncio.sleep(0.1)
        for member in crew.members:
            await member.app.stop()
        return billed

    with Crew(tmp_path, 2, **world("0.20")) as crew:
        assert asyncio.run(serve(crew)) == 20
    with Crew(tmp_path, 2) as crew:
        assert spent_micros(crew) == 200_000
        with crew.members[0].app.ledger._engine.connect() as connection:
            left = connection.exec_driver_sql("SELECT sum(granted_nanos - spent_nanos) FROM leases").scalar()
        assert left == 0
        assert crew.verified() == []


def test_a_decision_is_replayed_from_the_journal_of_its_worker(tmp_path: Path) -> None:
    document = world("1.00")
    del document["campaigns"][0]["line_items"][0]["budget"]
    with Crew(tmp_path, 2, **document) as crew:
        crew.tick(2)
        snapshot = crew.members[0].app.world.snapshot
        [ad] = ads_of(crew.members[1])
    replayed = replay(tmp_path / "data", ids.decode(ad["event_id"]), lambda data, revision: snapshot)
    assert replayed.outcome == "identical"


def test_a_flat_fee_is_one_workers(tmp_path: Path) -> None:
    """Two that each began the day would owe it twice."""
    item = {"id": "a", "priority": "standard", "pricing": {"model": "flat", "amount": "5.00", "per": "day"}}
    documents = {"publishers": [publisher()], "campaigns": [campaign("acme/spring", item)]}
    with Crew(tmp_path, 2, **documents) as crew:
        crew.tick(2)
        keeper = crew.members[crew.members[0].app.world.snapshot.entries[0].line_item.serial % 2]
        for _ in range(3):
            for member in crew.members:
                ads = ads_of(member)
                assert bool(ads) == (member is keeper)
                for ad in ads:
                    member.event(ad["impression_url"])
        crew.clock.ms += 2 * DAY_MS
        crew.tick(2)
        assert spent_micros(crew) == 5_000_000
        assert crew.verified() == []


@pytest.mark.slow
def test_what_others_delivered_counts_towards_goals_and_plans(tmp_path: Path) -> None:
    item = {
        "id": "a", "priority": "standard", "pricing": {"model": "cpm", "amount": "10.00"},
        "budget": {"lifetime": "1.00"}, "goal": {"impressions": 30}, "pacing": "asap",
    }  # fmt: skip
    documents = {"publishers": [publisher()], "campaigns": [campaign("acme/spring", item)]}
    with Crew(tmp_path, 3, **documents) as crew:
        chance, shown = random.Random(3), 0
        for _ in range(150):
            member = chance.choice(crew.members)
            for ad in ads_of(member):
                shown += member.event(ad["impression_url"]).billed
            crew.clock.ms += 1000
            crew.tick()
        assert shown == 30
        crew.tick(3)
        told = [member.delivery("acme/spring") for member in crew.members]
        assert [one["line_items"][0]["impressions"] for one in told] == [30] * 3
        assert [one["spend_micros"] for one in told] == [300_000] * 3
        assert {one["serving_status"] for one in told} == {"goal_reached"}
        # Of the budget nothing is lost by it.
        assert crew.verified() == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_all_know_what_all_delivered(tmp_path: Path, seed: int) -> None:
    """Whatever is posted when, and whoever starts anew: once all is posted and heard of, all say the same."""
    chance = random.Random(seed)
    items = [
        {"id": name, "pricing": {"model": "cpm", "amount": "10.00"}, "budget": {"lifetime": "5.00"}}
        for name in "abc"
    ]
    documents = {"publishers": [publisher()], "campaigns": [campaign("acme/spring", *items)]}
    with Crew(tmp_path, 3, **documents) as crew:
        for _ in range(150):
            member = chance.choice(crew.members)
            for ad in ads_of(member):
                if chance.random() < 0.8:
                    member.event(ad["impression_url"])
            for other in crew.members:
                if chance.random() < 0.3:
                    other.tick()
            if chance.random() < 0.04:
                member.restart(clean=chance.random() < 0.5)
        crew.tick(4)
        ledger = {total.line_item: total for total in crew.members[0].app.ledger.totals()}
        assert sum(total.impressions for total in ledger.values()) > 30
        for member in crew.members:
            budgets = member.app.states.budgets
            for serial, total in ledger.items():
                known = budgets.totals(serial)
                assert known is not None and known[0] == total
                bound = budgets.standing(serial, crew.clock.ms)
                assert bound is not None and bound.accounts[0].billed_nanos == total.billed_nanos
        assert crew.verified() == []


def test_a_ledger_that_is_away_is_said_once_and_what_is_leased_sells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, said = OperationalError("SELECT", {}, Exception("locked")), list[str]()

    def fails(*_: object) -> None:
        raise away

    with Crew(tmp_path, 2, **world("1.00")) as crew:
        crew.tick(2)
        while not ads_of(crew.members[1]):
            crew.tick()
        app = crew.members[1].app
        monkeypatch.setattr(app.log, "warning", lambda what, **_: said.append(what))
        duties = Duties(app)

        async def turns() -> None:
            for _ in range(3):
                await duties._lease()

        with monkeypatch.context() as patch:
            patch.setattr(Leases, "settle", fails)
            asyncio.run(turns())
            assert len(said) == 1
            assert ads_of(crew.members[1])
        asyncio.run(turns())
        assert crew.verified() == []


def test_what_is_not_posted_yet_is_nobody_elses(tmp_path: Path) -> None:
    """Nor does it vanish from one's own counts."""
    with Crew(tmp_path, 2, **world("1.00")) as crew:
        crew.tick(3)
        [first, _] = crew.members
        shown = 0
        for _ in range(20):
            crew.tick()
            shown += sum(first.event(ad["impression_url"]).billed for ad in ads_of(first)[:1] if shown < 3)
        app, clock = first.app, crew.clock
        for ad in ads_of(first):
            shown += first.event(ad["impression_url"]).billed

        async def hear() -> None:
            for _ in range(3):
                await Duties(app)._hear_of_others()

        asyncio.run(hear())
        [serial] = [entry.line_item.serial for entry in app.world.snapshot.entries]
        bound = app.states.budgets.standing(serial, clock.ms)
        assert bound is not None
        assert (bound.totals.impressions, bound.accounts[0].billed_nanos) == (shown, shown * 10_000_000)


def test_what_others_post_while_one_opens_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Crew(tmp_path, 2, **world("1.00")) as crew:
        first, second = crew.members
        while not (ads := ads_of(first)):
            crew.tick()
        recover = recovery.recover

        def slowly(*given: Any, **named: Any) -> Any:
            first.event(ads[0]["impression_url"])
            first.app.post()
            return recover(*given, **named)

        with monkeypatch.context() as patch:
            patch.setattr(recovery, "recover", slowly)
            second.restart()
        crew.tick(4)
        [serial] = [entry.line_item.serial for entry in second.app.world.snapshot.entries]
        bound = second.app.states.budgets.standing(serial, crew.clock.ms)
        assert bound is not None
        assert (bound.totals.impressions, bound.accounts[0].billed_nanos) == (1, 10_000_000)


def test_a_click_is_billed_though_nothing_was_sold_meanwhile(tmp_path: Path) -> None:
    """Its price is more than what is held for it; idle leases go back but for that."""
    item = {"id": "a", "pricing": {"model": "cpc", "amount": "0.50"}, "budget": {"lifetime": "10.00"}}
    documents = {"publishers": [publisher()], "campaigns": [campaign("acme/spring", item)]}
    with Crew(tmp_path, 2, **documents) as crew:
        seller = crew.members[1]
        while not (ads := ads_of(seller)):
            crew.tick()
        assert seller.event(ads[0]["impression_url"]).status == 1
        for _ in range(2 * IDLE):
            crew.clock.ms += 100
            crew.tick()
        assert seller.event(ads[0]["click_url"]).billed
        crew.tick()
        assert spent_micros(crew) == 500_000
        assert crew.verified() == []
