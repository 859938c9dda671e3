"""Advertisers that pay ahead, in a whole server: law 3 by what was booked for them."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from replayed import replay_all, told
from test_invalidating import take_back
from world import World, campaign, publisher

from adserver import checkpoints, recovery
from adserver.domain.changes import Invalid, Problem
from adserver.ledger.verify import verify
from adserver.services.ask import Asker
from adserver.services.hot import Checkpoint
from adserver.services.refusals import Refused
from adserver.services.wallets import Wallet

OPERATOR, ACME = Asker(role="operator"), Asker(role="advertiser", owner="acme")
AHEAD = {"advertiser": "acme", "currency": "EUR", "billing": "prepaid"}
ASK = {"placements": [{"id": "top", "count": 1}]}
EURO_EACH = {"id": "a", "pricing": {"model": "cpm", "amount": "1000.00"}}


def sold(tmp_path: Path, *items: Any, small: bool = False, **owner: Any) -> World:
    kind = SmallSegments if small else World
    return kind(
        tmp_path / "world",
        publishers=[publisher()],
        advertisers=[AHEAD | owner],
        campaigns=[campaign("acme/a", *(items or (EURO_EACH,)))],
    )


class SmallSegments(World):
    settings = msgspec.structs.replace(World.settings, segment_bytes=16 * 1024)


def pay(world: World, euros: int, kind: str = "deposit", name: str = "") -> None:
    world.pay_in("acme", f"{euros}.00", kind, name)
    world.app.world.serving.live.look_again()


def ask(world: World, count: int = 1) -> list[Any]:
    """Ads of so many requests."""
    return [ad for _ in range(count) for ad in world.decide(ASK)["decisions"][0]["ads"]]


def show(world: World, ads: list[Any]) -> None:
    for ad in ads:
        assert world.event(ad["impression_url"]).billed


def wallet(world: World, who: Asker = ACME) -> Wallet:
    return world.app.wallets.of(who, "acme")


def sound(world: World) -> bool:
    world.tick()
    return verify(world.folder / "data", lambda line: None) == []


def test_nothing_is_served_before_something_was_paid_in_and_nothing_beyond_it(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        assert world.decide(ASK)["decisions"][0]["no_fill"] == "budget_exhausted"
        pay(world, 3)
        ads = ask(world, 5)
        assert len(ads) == 3
        show(world, ads[:2])
        assert wallet(world) == Wallet("acme", "prepaid", "EUR", 3 * 10**6, 2 * 10**6, 10**6, 0)
        show(world, ads[2:])
        assert ask(world) == []
        assert world.delivery("acme/a")["line_items"][0]["serving_status"] == "budget_spent"
        for clean in (False, True):
            world.restart(clean)
            assert ask(world) == []
        pay(world, 1)
        show(world, ask(world, 2))
        assert wallet(world).spend_micros == 4 * 10**6
        assert sound(world)


@pytest.mark.parametrize("clean", [False, True])
def test_what_was_paid_in_outlives_the_process(tmp_path: Path, clean: bool) -> None:
    with sold(tmp_path) as world:
        pay(world, 2)
        shown = ask(world)
        world.restart(clean)
        show(world, shown)
        world.restart(clean)
        show(world, ask(world, 4))
        assert wallet(world).spend_micros == 2 * 10**6
        assert sound(world)


def test_credits_and_make_goods_are_paid_in_too_and_booked_once(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        for _ in range(2):
            pay(world, 1, "credit", "x")
            pay(world, 1, "make_good", "y")
        show(world, ask(world, 5))
        assert wallet(world).paid_in_micros == wallet(world).spend_micros == 2 * 10**6
        assert sound(world)


def test_the_lower_of_budget_and_wallet_binds(tmp_path: Path) -> None:
    with sold(tmp_path, budget={"lifetime": "2.00"}) as world:
        pay(world, 1)
        assert len(ask(world, 3)) == 1
        pay(world, 5)
        assert len(ask(world, 3)) == 1
        world.put(advertisers=[AHEAD | {"budget": {"lifetime": "4.00"}}])
        assert len(ask(world, 9)) == 2
        world.put(advertisers=[AHEAD])
        assert len(ask(world, 9)) == 2
        assert sound(world)


def test_who_begins_to_pay_ahead_owes_first_what_was_invoiced(tmp_path: Path) -> None:
    with sold(tmp_path, billing="invoiced") as world:
        shown = ask(world, 5)
        assert wallet(world).remaining_micros is None
        show(world, shown[:2])
        world.put(advertisers=[AHEAD])
        show(world, shown[2:4])
        pay(world, 5)
        assert ask(world) == [], "four are billed, and one that was promised before is out"
        pay(world, 1)
        assert len(ask(world, 2)) == 1
        world.put(advertisers=[AHEAD | {"billing": "invoiced"}])
        assert len(ask(world, 2)) == 2
        assert sound(world)


def test_what_was_found_invalid_can_be_spent_again(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        pay(world, 1)
        ads = ask(world)
        show(world, ads)
        world.tick()
        assert ask(world) == []
        take_back(world, ads[0]["event_id"])
        world.app.world.serving.live.look_again()
        show(world, ask(world, 2))
        assert sound(world)


def test_clicks_are_paid_as_long_as_there_is_something(tmp_path: Path) -> None:
    """A click of which only a part is held is recorded with 0 once the wallet is empty."""
    click = {"id": "a", "pricing": {"model": "cpc", "amount": "1.00"}}
    with sold(tmp_path, click) as world:
        pay(world, 1)
        ads = ask(world, 3)
        for ad in ads:
            world.event(ad["impression_url"])
        billed = [world.event(ad["click_url"]).billed for ad in ads]
        assert billed == [True, False, False]
        pay(world, 1)
        assert wallet(world).remaining_micros == 10**6
        assert sound(world)


def test_what_left_the_catalogue_is_paid_by_the_wallet_too(tmp_path: Path) -> None:
    click = {"id": "a", "pricing": {"model": "cpc", "amount": "1.00"}}
    with sold(tmp_path, click) as world:
        pay(world, 1)
        ads = ask(world, 3)
        for ad in ads:
            world.event(ad["impression_url"])
        world.put(campaigns=[campaign("acme/a", {"id": "b", "status": "paused"})])
        assert [world.event(ad["click_url"]).billed for ad in ads[:2]] == [True, False]
        pay(world, 1)
        assert world.event(ads[2]["click_url"]).billed
        assert sound(world)


def test_an_empty_wallet_is_explained_with_what_would_fill_it(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        told = world.decide(ASK | {"explain": True, "explain_line_items": ["acme/a/a"]}, asker=OPERATOR)
        (line,) = told["explain"][0]["line_items"]
        assert (line["reason"], line["rule"], line["wanted"], line["got"]) == (
            "budget_exhausted", "wallet", 10**9, 0,
        )  # fmt: skip
        assert line["counterfactual"] == {
            "change": "wallet",
            "of": "advertiser",
            "from_micros": 0,
            "to_micros": 10**6,
            "currency": "EUR",
        }


def test_free_ads_need_no_money(tmp_path: Path) -> None:
    free = {"id": "a", "priority": "house", "pricing": {"model": "cpm", "amount": "0.00"}}
    with sold(tmp_path, free) as world:
        assert len(ask(world)) == 1


def test_whoever_pays_ahead_has_one_currency(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        with pytest.raises(Invalid) as caught:
            world.put(advertisers=[{"advertiser": "acme", "billing": "prepaid"}])
        assert [problem.path for problem in caught.value.problems] == ["currency"]
        with pytest.raises(Invalid) as caught:
            world.put(advertisers=[AHEAD], campaigns=[campaign("acme/b", currency="USD")])
        assert caught.value.problems == (
            Problem(
                "currency",
                "is USD, but the advertiser's wallet is in EUR; one wallet has one currency",
                "acme/b.json",
            ),
        )


def test_a_wallet_is_its_owners_and_the_operators(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        assert wallet(world, OPERATOR) == wallet(world)
        for who in (Asker(role="advertiser", owner="zest"), Asker(role="publisher", owner="gazette")):
            with pytest.raises(Refused) as caught:
                wallet(world, who)
            assert caught.value.status == 404


# -- replay ----------------------------------------------------------------------------------------


def spent_and_paid(world: World, times: int) -> None:
    for _ in range(times):
        pay(world, 2)
        show(world, ask(world, 4)[:1])


def test_decisions_are_made_again_with_what_was_paid_in_by_then(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        spent_and_paid(world, 12)
        world.app.journal.sync()
        replayed = replay_all(world)
        assert told(replayed) == [] and len(replayed) > 20


def test_a_checkpoint_of_before_is_not_believed(tmp_path: Path) -> None:
    """One that does not say what was paid in: the journal does."""
    with sold(tmp_path, small=True) as world:
        spent_and_paid(world, 40)
        data = world.folder / "data"
        position = world.app.journal.position
        world.app.journal.sync()
        recovery.renew(data, position.segment)
        (kept,) = checkpoints.kept(data)
        former = _without_paid(kept.path.read_bytes())
        whole = kept.path.read_bytes()
        kept.path.write_bytes(former)
        with pytest.raises(ValueError, match="paid in"):
            recovery.reread(data, kept, position)
        recovery.renew(data, position.segment)
        assert kept.path.read_bytes() == whole


def _without_paid(dumped: bytes) -> bytes:
    fields = msgspec.msgpack.decode(dumped)
    delivered = fields[Checkpoint.__struct_fields__.index("delivered")]
    assert delivered.pop()
    return msgspec.msgpack.encode(fields)
