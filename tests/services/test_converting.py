"""Conversions: owed to the last touch, told once, billed once, and the same after a restart."""

import asyncio
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from world import World, campaign, publisher

from adserver.domain import ids, limits
from adserver.domain.books import JournalClosed
from adserver.ledger.verify import verify
from adserver.services.converting import Fate, Outcome, Told
from adserver.services.refusals import Refused

pytestmark = pytest.mark.slow

DAY_MS = 86_400_000
CPA = {"model": "cpa", "amount": "2.00"}


def made(tmp_path: Path, *campaigns: Any, **item: Any) -> World:
    own = campaign("acme/a", {"id": "a", "pricing": CPA, **item})
    return World(tmp_path / "world", publishers=[publisher()], campaigns=[own, *campaigns])


def show(world: World, user: str | None = "u-1", clicked: bool = False, after_ms: int = 1000) -> str:
    """The event id of an ad that was shown (and clicked)."""
    request: dict[str, Any] = {"placements": [{"id": "top"}]}
    if user is not None:
        request["user"] = {"id": user}
    (ad,) = world.decide(request)["decisions"][0]["ads"]
    world.clock.ms += after_ms
    world.event(ad["impression_url"])
    if clicked:
        world.event(ad["click_url"])
    event_id: str = ad["event_id"]
    return event_id


def tell(world: World, *told: Told, advertiser: str = "acme") -> list[Outcome]:
    return asyncio.run(world.app.conversions.tell(advertiser, told))


def fates(outcomes: list[Outcome]) -> list[Any]:
    return [(str(one.fate), one.touch, one.billed) for one in outcomes]


def click(event_id: str) -> bytes:
    return ids.decode(event_id)


def numbers(world: World, name: str = "acme/a") -> tuple[int, int, int]:
    item = world.delivery(name)["line_items"][0]
    return item["conversions"], item["spend_micros"], item["free_micros"]


def audited(world: World) -> None:
    world.tick()
    assert verify(world.folder / "data", lambda line: None) == []


def test_the_click_that_is_named(tmp_path: Path) -> None:
    """Also of somebody who consented to nothing."""
    with made(tmp_path) as world:
        shown = show(world, user=None, clicked=True)
        (one,) = tell(world, Told("o-1", click=click(shown)))
        assert (one.fate, one.campaign, one.touch, one.billed) == (Fate.ATTRIBUTED, "a", "click", True)
        assert fates(tell(world, Told("o-2", click=click(show(world, user=None))))) == [
            ("unattributed", "", False)
        ], "an ad that was not clicked"
        world.tick()
        assert numbers(world) == (1, 2_000_000, 0)
        audited(world)


def test_by_user_the_last_click_else_the_last_view(tmp_path: Path) -> None:
    with made(tmp_path) as world:
        show(world)
        assert fates(tell(world, Told("o-1", user="u-1"))) == [("attributed", "view", True)]
        show(world, clicked=True)
        show(world)
        assert fates(tell(world, Told("o-2", user="u-1"))) == [("attributed", "click", True)]
        assert fates(tell(world, Told("o-3", user="u-2"))) == [("unattributed", "", False)]
        audited(world)


def test_a_hashed_email_where_publishers_call_people_so(tmp_path: Path) -> None:
    with made(tmp_path) as world:
        world.put(
            publishers=[publisher("herald", user_space="shared"), publisher("times", user_space="shared")]
        )
        request = {"publisher": "herald", "placements": [{"id": "top"}], "user": {"id": "ab" * 32}}
        (ad,) = world.decide(request)["decisions"][0]["ads"]
        world.event(ad["impression_url"])
        assert fates(tell(world, Told("o-1", email="ab" * 32))) == [("attributed", "view", True)]
        assert fates(tell(world, Told("o-2", user="ab" * 32))) == [("invalid", "", False)], "in which space?"
        told = Told("o-2", user="ab" * 32, user_space="shared")
        assert fates(tell(world, told)) == [("attributed", "view", False)], "the ad was billed before"
        assert fates(tell(world, Told("o-3", user="u", user_space="nobodys"))) == [("invalid", "", False)]
        audited(world)


def test_others_have_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many people an e-mail may be."""
    spaces = 30
    with made(tmp_path) as world:
        world.put(publishers=[publisher(f"p{number}") for number in range(spaces)])
        touches, looked, turns = world.app.states.touches, 0, [0]
        of = touches.of

        def counted(subject: bytes) -> Any:
            nonlocal looked
            looked += 1
            return of(subject)

        monkeypatch.setattr(touches, "of", counted)

        async def beside() -> None:
            while True:
                turns.append(looked)
                await asyncio.sleep(0)

        async def together() -> None:
            other = asyncio.create_task(beside())
            told = [Told(f"o-{number}", email="ab" * 32) for number in range(40)]
            await world.app.conversions.tell("acme", told)
            other.cancel()

        asyncio.run(together())
        assert looked >= 40 * spaces
        assert max(after - before for before, after in pairwise(turns)) <= spaces + 1


def test_once_for_good(tmp_path: Path) -> None:
    """At once, before and after posting, after restarts, and a year later."""
    with made(tmp_path) as world:
        shown = show(world, clicked=True)
        told = Told("o-1", click=click(shown))

        async def together() -> list[list[Outcome]]:
            return list(
                await asyncio.gather(*(world.app.conversions.tell("acme", [told] * 3) for _ in range(20)))
            )

        counts = Counter(str(one.fate) for outcomes in asyncio.run(together()) for one in outcomes)
        assert counts == {"attributed": 1, "duplicate": 59}
        world.restart()
        assert fates(tell(world, told)) == [("duplicate", "", False)], "not posted, after a kill"
        world.tick()
        for later_ms in (0, limits.CONVERSION_LATE_MS, 365 * DAY_MS):
            world.clock.ms += later_ms
            world.tick()
            world.restart(clean=True)
            assert fates(tell(world, told)) == [("duplicate", "", False)]
        assert numbers(world) == (1, 2_000_000, 0)
        audited(world)


def test_what_is_owed_to_nobody_is_told_once_too(tmp_path: Path) -> None:
    with made(tmp_path) as world:
        assert fates(tell(world, Told("o-1", user="u-1"))) == [("unattributed", "", False)]
        show(world, clicked=True)
        assert fates(tell(world, Told("o-1", user="u-1"))) == [("duplicate", "", False)]
        audited(world)


def test_its_own_time_decides(tmp_path: Path) -> None:
    with made(tmp_path) as world:
        before_ms = world.clock.ms
        show(world, clicked=True)
        world.clock.ms += DAY_MS
        assert fates(tell(world, Told("o-1", user="u-1", happened_ms=before_ms))) == [
            ("unattributed", "", False)
        ]
        inside = Told("o-2", user="u-1", happened_ms=before_ms + 3600_000)
        assert fates(tell(world, inside)) == [("attributed", "click", True)], "uploaded a day later"
        ahead_ms = world.clock.ms + limits.GRACE_MS
        assert fates(tell(world, Told("o-3", user="u-1", happened_ms=ahead_ms + 1))) == [
            ("invalid", "", False)
        ]
        assert fates(tell(world, Told("o-3", user="u-1", happened_ms=ahead_ms)))[0][0] == "attributed"
        oldest_ms = world.clock.ms - limits.CONVERSION_LATE_MS
        assert fates(tell(world, Told("o-4", user="u-1", happened_ms=oldest_ms - 1))) == [("late", "", False)]
        assert fates(tell(world, Told("o-4", user="u-1", happened_ms=oldest_ms))) == [
            ("unattributed", "", False)
        ]


def test_the_clock_of_who_names_a_click_may_be_behind_ours(tmp_path: Path) -> None:
    """Or tell whole seconds; without the click nothing says which came first."""
    with made(tmp_path) as world:
        shown = show(world, clicked=True)
        clicked_ms = world.clock.ms
        world.clock.ms += 3600_000
        slow_ms = clicked_ms - limits.GRACE_MS
        told = Told("o-1", click=click(shown), happened_ms=slow_ms)
        assert fates(tell(world, told)) == [("attributed", "click", True)]
        told = Told("o-2", click=click(shown), happened_ms=slow_ms - 1)
        assert fates(tell(world, told)) == [("unattributed", "", False)]
        told = Told("o-3", user="u-1", happened_ms=clicked_ms - 1)
        assert fates(tell(world, told)) == [("unattributed", "", False)]
        audited(world)


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize(("clicked", "days"), [(True, 30), (False, 1)])
def test_windows_to_the_millisecond_and_as_late_as_can_be(
    tmp_path: Path, clean: bool, clicked: bool, days: int
) -> None:
    with made(tmp_path) as world:
        shown = [show(world, f"u-{n}", clicked) for n in range(2)]
        touched_ms = world.clock.ms
        world.tick()
        world.clock.ms += days * DAY_MS + limits.CONVERSION_LATE_MS - 1
        world.tick()
        world.restart(clean)
        within, over = touched_ms + days * DAY_MS - 1, touched_ms + days * DAY_MS
        assert len(shown) == 2
        assert fates(tell(world, Told("o-1", user="u-1", happened_ms=over))) == [("unattributed", "", False)]
        assert fates(tell(world, Told("o-2", user="u-1", happened_ms=within)))[0][0] == "attributed"
        audited(world)
        assert numbers(world)[:2] == (1, 2_000_000)


def test_a_window_of_nothing_and_of_its_own(tmp_path: Path) -> None:
    with made(tmp_path) as world:
        world.put(campaigns=[
            campaign("acme/a", {"id": "a", "pricing": CPA}, attribution={"click": "1h", "view": "0s"})
        ])  # fmt: skip
        show(world)
        assert fates(tell(world, Told("o-1", user="u-1"))) == [("unattributed", "", False)]
        show(world, clicked=True)
        world.clock.ms += 3600_000 - 1
        assert fates(tell(world, Told("o-2", user="u-1"))) == [("attributed", "click", True)]
        world.clock.ms += 1
        assert fates(tell(world, Told("o-3", user="u-1"))) == [("unattributed", "", False)]
        audited(world)


def test_others_ads_are_owed_nothing(tmp_path: Path) -> None:
    with made(tmp_path, campaign("bolt/b", {"id": "b", "status": "paused"})) as world:
        shown = show(world, clicked=True)
        assert fates(tell(world, Told("o-1", user="u-1"), advertiser="bolt")) == [("unattributed", "", False)]
        named = Told("o-2", click=click(shown))
        assert fates(tell(world, named, advertiser="bolt")) == [("unattributed", "", False)]
        both = tell(world, Told("o-1", user="u-1"))
        assert fates(both) == [("attributed", "click", True)], "the same id, of another advertiser"
        with pytest.raises(Refused) as refused:
            tell(world, Told("o-1", user="u-1"), advertiser="nobody")
        assert refused.value.status == 404
        audited(world)


def test_no_money_beyond_the_budget(tmp_path: Path) -> None:
    """What finds no room is counted and free; of an ad that was billed a further one costs nothing."""
    with made(tmp_path, budget={"lifetime": "5.00"}) as world:
        shown = [show(world, clicked=True) for _ in range(4)]
        told = [Told(f"o-{n}", click=click(event_id)) for n, event_id in enumerate([*shown, shown[0]])]
        assert [one.billed for one in tell(world, *told)] == [True, True, False, False, False]
        world.tick()
        assert numbers(world) == (5, 4_000_000, 4_000_000)
        audited(world)


@pytest.mark.parametrize("clean", [False, True])
def test_an_ad_is_billed_once_also_after_a_restart(tmp_path: Path, clean: bool) -> None:
    with made(tmp_path) as world:
        shown = click(show(world, clicked=True))
        assert [one.billed for one in tell(world, Told("o-1", click=shown), Told("o-2", user="u-1"))] == [
            True,
            False,
        ]
        world.restart(clean)
        assert [one.billed for one in tell(world, Told("o-3", click=shown), Told("o-4", user="u-1"))] == [
            False,
            False,
        ]
        audited(world)
        assert numbers(world) == (4, 2_000_000, 0)


def test_a_raised_budget_is_in_the_journal_before_it_is_spent(tmp_path: Path) -> None:
    with made(tmp_path, budget={"lifetime": "2.00"}) as world:
        shown = [click(show(world, clicked=True)) for _ in range(3)]
        assert [one.billed for one in tell(world, *(Told(f"o-{n}", click=shown[n]) for n in (0, 1)))] == [
            True,
            False,
        ]
        world.put(campaigns=[campaign("acme/a", {"id": "a", "pricing": CPA, "budget": {"lifetime": "4.00"}})])
        assert tell(world, Told("o-2", click=shown[2]))[0].billed
        audited(world)
        assert world.app.refused == 0


@pytest.mark.parametrize("clean", [False, True])
def test_a_day_nobody_knows_any_more_is_not_billed(tmp_path: Path, clean: bool) -> None:
    """Days are kept of what is sold per conversion; this was, and is sold otherwise by now."""
    with made(tmp_path, budget={"daily": "3.00"}) as world:
        shown = [click(show(world, clicked=True)) for _ in range(2)]
        assert tell(world, Told("o-1", click=shown[0]))[0].billed
        world.clock.ms += 10 * DAY_MS
        world.put(campaigns=[campaign("acme/a", {"id": "a", "budget": {"daily": "3.00"}})])
        show(world)
        world.tick()
        world.restart(clean)
        assert fates(tell(world, Told("o-2", click=shown[1]))) == [("attributed", "click", False)]
        audited(world)
        assert world.app.refused == 0


@pytest.mark.parametrize("clean", [None, False, True])
def test_money_of_the_day_of_the_decision(tmp_path: Path, clean: bool | None) -> None:
    """A day long over still has its own budget, and only that."""
    with made(tmp_path, budget={"daily": "3.00"}) as world:
        first = [show(world, clicked=True) for _ in range(2)]
        for _ in range(10):
            world.clock.ms += DAY_MS
            world.tick()
        later = show(world, clicked=True)
        if clean is not None:
            world.restart(clean)
        world.tick()
        assert fates(tell(world, Told("o-1", click=click(first[0])))) == [("attributed", "click", True)]
        world.tick()
        world.clock.ms += DAY_MS
        world.tick()
        if clean is not None:
            world.restart(clean)
        over = tell(world, Told("o-2", click=click(first[1])), Told("o-3", click=click(later)))
        assert [one.billed for one in over] == [False, True]
        audited(world)
        assert world.app.refused == 0


def test_counted_without_billing_where_it_is_sold_otherwise(tmp_path: Path) -> None:
    with made(tmp_path, pricing={"model": "cpm", "amount": "1.00"}, goal={"conversions": 2}) as world:
        for number in range(2):
            show(world)
            assert fates(tell(world, Told(f"o-{number}", user="u-1"))) == [("attributed", "view", False)]
        assert world.decide({"placements": [{"id": "top"}]})["decisions"][0]["ads"] == [], "goal reached"
        world.tick()
        assert numbers(world) == (2, 2000, 0)
        audited(world)


def test_without_consent_nobody_is_known(tmp_path: Path) -> None:
    with made(tmp_path) as world:
        who = {"user": {"id": "u-1"}, "session": "s-1", "consent": {"personalised": False}}
        (ad,) = world.decide({"placements": [{"id": "top"}], **who})["decisions"][0]["ads"]
        for url in ("impression_url", "click_url"):
            world.event(ad[url])
        assert fates(tell(world, Told("o-1", user="u-1"))) == [("unattributed", "", False)]
        named = Told("o-2", click=click(ad["event_id"]))
        assert fates(tell(world, named)) == [("attributed", "click", True)]


def test_what_finds_no_room_is_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with made(tmp_path) as world:
        told = [Told(f"o-{n}", click=click(show(world, clicked=True))) for n in range(3)]
        append, room = world.app.journal.append, iter((True, True, False))

        def full(*record: Any) -> None:
            if not next(room):
                raise JournalClosed("full")
            append(*record)

        monkeypatch.setattr(world.app.journal, "append", full)
        with pytest.raises(Refused) as refused:
            tell(world, *told)
        assert refused.value.status == 503
        monkeypatch.undo()
        assert [str(one.fate) for one in tell(world, *told)] == ["duplicate", "duplicate", "attributed"]
        audited(world)
        assert numbers(world) == (3, 6_000_000, 0)


def test_they_are_learned_from_and_unlearned(tmp_path: Path) -> None:
    with made(tmp_path) as world:
        shown = show(world)
        world.tick()

        def rate() -> int:
            return world.app.world.rates.conversions.rate(1, 1)

        before = rate()
        (told,) = tell(world, Told("o-1", user="u-1"))
        world.tick()
        learned = rate()
        assert learned > before
        world.restart()
        assert rate() == learned
        asyncio.run(world.app.invalidation.reverse([told.event_id], "made up"))
        world.tick()
        assert rate() == before
        assert shown


def test_taken_back_with_its_click_or_by_itself(tmp_path: Path) -> None:
    with made(tmp_path, budget={"lifetime": "4.00"}) as world:
        shown = [show(world, clicked=True) for _ in range(2)]
        outcomes = tell(world, *(Told(f"o-{n}", click=click(one)) for n, one in enumerate(shown)))
        world.tick()
        reverse = world.app.invalidation.reverse
        by_click = asyncio.run(reverse([shown[0]], "a farm"))
        assert [(one.event_id, one.kinds) for one in by_click] == [
            (shown[0], ("impression", "click")), (outcomes[0].event_id, ("conversion",)),
        ]  # fmt: skip
        by_itself = asyncio.run(reverse([outcomes[1].event_id], "made up"))
        assert [(one.kinds, one.refunded_nanos) for one in by_itself] == [(("conversion",), 2 * 10**9)]
        assert asyncio.run(reverse([shown[0], outcomes[1].event_id], "again"))[0].kinds == ()
        again = tell(world, Told("o-7", click=click(shown[0])), Told("o-8", click=click(shown[1])))
        assert fates(again) == [("unattributed", "", False), ("attributed", "click", False)]
        world.tick()
        assert numbers(world) == (3, 0, 0)
        for clean in (False, True):
            world.restart(clean)
            (one,) = tell(world, Told(f"o-9{clean}", click=click(shown[0])))
            assert one.fate is Fate.UNATTRIBUTED
        audited(world)


@pytest.mark.slow
def test_the_books_and_the_state_agree_whatever_comes(tmp_path: Path) -> None:
    """Random shows, clicks, conversions, restarts: told again all are duplicates, the audit finds nothing."""
    chance = random.Random(5)
    with made(tmp_path, budget={"daily": "20.00"}) as world:
        shown, told = list[str](), list[Told]()
        for number in range(120):
            world.clock.ms += chance.choice((1000, 60_000, 7 * 3600_000))
            world.tick()
            if chance.random() < 0.5:
                shown.append(show(world, f"u-{chance.randrange(4)}", chance.random() < 0.5))
            elif chance.random() < 0.9:
                named = click(chance.choice(shown)) if shown and chance.random() < 0.5 else None
                at_ms = world.clock.ms - chance.randrange(3 * DAY_MS)
                told.append(Told(f"o-{number}", "", at_ms, "", named, f"u-{chance.randrange(4)}"))
                tell(world, told[-1])
            else:
                world.restart(chance.random() < 0.5)
        assert {one.fate for one in tell(world, *told)} == {Fate.DUPLICATE}
        audited(world)
        assert world.app.refused == 0
        totals = world.app.states.budgets.totals(1)
        (posted,) = world.app.ledger.totals()
        assert totals is not None and totals[0] == posted and posted.conversions > 10
