"""Flat fees as they become due: held from a day's first ad, accrued once when the day is over, by what was
shown; over restarts, outages, changes of the clocks, edits and full budgets."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from world import OPERATOR, World, campaign, instant, publisher

from adserver.api.statements import shown
from adserver.domain import ids
from adserver.domain.bills import Bill, Moved, against, by_itself
from adserver.domain.books import JournalClosed, Position
from adserver.domain.counted import events_of
from adserver.domain.fees import Accrued
from adserver.domain.records import Recorded, Tallied, Unbilled
from adserver.domain.reports import Scope
from adserver.duties import Duties
from adserver.ledger.export import events
from adserver.ledger.reader import Reader
from adserver.ledger.verify import verify
from adserver.services.accruing import Accruing

pytestmark = pytest.mark.slow

DAY_MS = 86_400_000
MORNING_MS = instant("2026-06-01T08:00:00Z")
EUR = 1_000_000_000
"""In nanos."""
PLACES = {"placements": [{"id": "top"}, {"id": "side"}]}


def sponsored(amount: str = "250.00", per: str = "day", budget: Any = None, **fields: Any) -> dict[str, Any]:
    """A sponsorship of every placement there is."""
    item = {"id": "a", "priority": "sponsorship", "pricing": {"model": "flat", "amount": amount, "per": per}}
    item |= {"budget": budget} if budget is not None else {}
    flight = {"flight": {"start": "2026-06-01", "end": "2026-06-03"}}
    return campaign("acme/spring", item | flight | fields)


def world(tmp_path: Path, *campaigns: Any, now_ms: int = MORNING_MS, **publisher_fields: Any) -> World:
    gazette = publisher("gazette", **(PLACES | publisher_fields))
    return World(tmp_path, now_ms, publishers=[gazette], campaigns=campaigns or [sponsored()])


def ask(world: World, place: str = "top") -> list[Any]:
    ads: list[Any] = world.decide({"publisher": "gazette", "placements": [{"id": place}]})["decisions"][0][
        "ads"
    ]
    return ads


def show(world: World, place: str = "top") -> Any:
    """The ad that was shown."""
    (ad,) = ask(world, place)
    assert not world.event(ad["impression_url"]).billed
    return ad


def records(world: World, kind: Any) -> list[Any]:
    world.app.journal.sync()
    reader = Reader(world.app.settings.data / "journal")
    found = [record for _, record, _ in reader.read(Position()) if isinstance(record, kind)]
    reader.close()
    return found


def fees(world: World) -> list[Accrued]:
    return records(world, Accrued)


def sound(world: World) -> bool:
    world.tick()
    return verify(world.app.settings.data, lambda line: None) == []


def spend(world: World) -> int:
    nanos: int = world.delivery("acme/spring")["spend_micros"] * 1000
    return nanos


def test_a_day_is_owed_once_it_is_over(tmp_path: Path) -> None:
    with world(tmp_path) as now:
        for _ in range(3):
            ad = show(now)
        assert not now.event(ad["click_url"]).billed
        assert {event.unbilled for event in records(now, Recorded)} == {Unbilled.FLAT}
        now.tick()
        assert (fees(now), spend(now)) == ([], 0)
        now.clock.ms = instant("2026-06-02T00:00:00Z")
        now.tick()
        (fee,) = fees(now)
        assert (fee.nanos, fee.unbilled, fee.parts) == (250 * EUR, 0, ((1, 3, 250 * EUR),))
        assert spend(now) == 250 * EUR
        now.tick()
        now.restart()
        now.tick()
        assert (len(fees(now)), spend(now)) == (1, 250 * EUR)
        assert sound(now)


def later(world: World, text: str) -> None:
    world.clock.ms = instant(text)
    world.tick()


def held(world: World) -> int:
    """By the campaign, in its lifetime's account."""
    terms = world.app.states.budgets.terms(1)
    assert terms is not None
    return world.app.states.budgets.campaign_nanos(terms.campaign)[1]


def test_nobody_shown_nothing_owed(tmp_path: Path) -> None:
    with world(tmp_path) as now:
        ask(now)
        assert held(now) == 250 * EUR
        later(now, "2026-06-01T23:59:59Z")
        assert held(now) == 250 * EUR
        later(now, "2026-06-02T00:00:31Z")
        assert (held(now), fees(now), spend(now)) == (0, [], 0)
        assert now.app.states.hot.fees._days == {}
        assert sound(now)


def test_an_ad_of_late_is_waited_for(tmp_path: Path) -> None:
    with world(tmp_path) as now:
        later(now, "2026-06-01T23:55:00Z")
        (ad,) = ask(now)
        later(now, "2026-06-02T00:09:00Z")
        assert fees(now) == []
        assert now.event(ad["impression_url"]).status.name == "ACCEPTED"
        later(now, "2026-06-02T00:10:00Z")
        assert fees(now) == []
        later(now, "2026-06-02T00:10:01Z")
        assert [(fee.day, fee.nanos) for fee in fees(now)] == [(20605, 250 * EUR)]
        assert sound(now)


def test_placements_share_a_day_by_what_they_showed(tmp_path: Path) -> None:
    with world(tmp_path, sponsored("0.000100"), revenue_share="0.70") as now:
        for place in ("top", "side", "top", "top", "side", "top", "top"):
            show(now, place)
        later(now, "2026-06-02T00:00:00Z")
        assert fees(now)[0].parts == ((1, 5, 71_429), (2, 2, 28_571))
        assert sound(now)
        lines = now.app.ledger.statement("publisher:1", 677).lines
        assert [(line.placement, line.days, line.gross_nanos) for line in lines] == [
            (1, 1, 71_429 * 7 // 10),
            (2, 0, 28_571 * 7 // 10),
        ]
        (line,) = now.app.ledger.statement("advertiser:1", 677).lines
        assert (line.model, line.days, line.impressions, line.gross_nanos) == ("flat", 1, 0, 100_000)


@pytest.mark.parametrize("amount", ["100.00", "0.000001", "0.000002", "99.999999"])
def test_a_price_for_the_flight_is_spread_over_its_days(tmp_path: Path, amount: str) -> None:
    with world(tmp_path, sponsored(amount, "flight")) as now:
        for day in (1, 2, 3):
            later(now, f"2026-06-0{day}T23:00:00Z")
            show(now)
        later(now, "2026-06-04T12:00:00Z")
        assert ask(now) == []
        parts = [fee.nanos for fee in fees(now)]
        assert sum(parts) == int(amount.replace(".", "")) * 10 ** (9 - len(amount.partition(".")[2]))
        assert len(parts) == 3 and max(parts) - min(parts) <= 1
        assert sound(now)


def test_days_not_shown_are_not_paid(tmp_path: Path) -> None:
    with world(tmp_path, sponsored("100.00", "flight")) as now:
        show(now)
        later(now, "2026-06-03T12:00:00Z")
        show(now)
        later(now, "2026-06-04T12:00:00Z")
        assert [fee.nanos for fee in fees(now)] == [33_333_333_333, 33_333_333_334]


def test_a_longer_flight_costs_no_more(tmp_path: Path) -> None:
    with world(tmp_path, sponsored("100.00", "flight")) as now:
        for day in range(1, 7):
            later(now, f"2026-06-0{day}T12:00:00Z")
            if day == 3:
                longer = {"start": "2026-06-01", "end": "2026-06-06"}
                now.put(campaigns=[sponsored("100.00", "flight", flight=longer)])
            show(now)
        later(now, "2026-06-07T12:00:00Z")
        third, sixth = 33_333_333_333, 16_666_666_666
        assert [fee.nanos for fee in fees(now)] == [third, third, sixth + 1, sixth, 1, 0]
        assert spend(now) == 100 * EUR
        assert sound(now)


def test_the_price_is_that_of_a_days_first_ad(tmp_path: Path) -> None:
    with world(tmp_path) as now:
        show(now)
        now.put(campaigns=[sponsored("1.00")])
        show(now)
        later(now, "2026-06-02T12:00:00Z")
        show(now)
        later(now, "2026-06-03T12:00:00Z")
        assert [fee.nanos for fee in fees(now)] == [250 * EUR, EUR]
        assert sound(now)


@pytest.mark.parametrize("clean", [False, True])
def test_an_outage_over_midnight_is_caught_up(tmp_path: Path, clean: bool) -> None:
    with world(tmp_path, sponsored(budget={"lifetime": "600.00", "daily": "250.00"})) as now:
        show(now)
        now.restart(clean)
        assert held(now) == 250 * EUR
        assert len(show(now)) > 0
        later(now, "2026-06-02T12:00:00Z")
        show(now)
        now.clock.ms = instant("2026-06-20T12:00:00Z")
        now.restart(clean)
        now.tick()
        assert [(fee.day, fee.nanos) for fee in fees(now)] == [(20605, 250 * EUR), (20606, 250 * EUR)]
        assert (spend(now), held(now)) == (500 * EUR, 0)
        assert sound(now)


def test_one_who_was_down_for_longer_than_fees_wait(tmp_path: Path) -> None:
    with world(tmp_path, sponsored(budget={"daily": "250.00"})) as now:
        show(now)
        now.clock.ms = instant("2026-08-01T12:00:00Z")
        now.restart()
        now.tick()
        (fee,) = fees(now)
        assert (fee.unbilled, fee.nanos, spend(now)) == (Unbilled.OVER_BUDGET, 250 * EUR, 0)
        assert now.delivery("acme/spring")["free_micros"] == 250_000_000
        assert sound(now)


def test_what_does_not_fit_is_not_begun(tmp_path: Path) -> None:
    """Two sponsorships of one campaign: a day and a half of them fit its budget."""
    two = sponsored(budget=None)
    two["line_items"].append(two["line_items"][0] | {"id": "b"})
    with world(tmp_path, two | {"budget": {"lifetime": "400.00"}}) as now:
        for _ in range(6):
            show(now)
        (served,) = {ad["line_item"] for ad in ask(now)}
        status = {item["id"]: item["serving_status"] for item in now.delivery("acme/spring")["line_items"]}
        assert status == {served: "delivering", "ab".replace(served, ""): "budget_spent"}
        later(now, "2026-06-02T12:00:00Z")
        assert ask(now) == []
        assert (spend(now), held(now)) == (250 * EUR, 0)
        assert sound(now)


def test_a_lowered_budget_keeps_what_was_promised(tmp_path: Path) -> None:
    with world(tmp_path, sponsored(budget={"lifetime": "500.00"})) as now:
        ad = show(now)
        now.put(campaigns=[sponsored(budget={"lifetime": "1.00"})])
        assert ask(now) == []
        now.event(ad["click_url"])  # with which the journal is told of the new limit, days before the fee
        later(now, "2026-06-05T12:00:00Z")
        assert (spend(now), len(fees(now))) == (250 * EUR, 1)
        assert sound(now)


@pytest.mark.parametrize(
    "zone, hours", [("Europe/Paris", 23), ("Europe/Paris", 25), ("Pacific/Auckland", 24)]
)
def test_a_day_is_the_campaigns(tmp_path: Path, zone: str, hours: int) -> None:
    """Also one of 23 or 25 hours."""
    day, began, over = {
        23: ("2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        25: ("2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        24: ("2026-06-10", "2026-06-09T12:00:00Z", "2026-06-10T12:00:00Z"),
    }[hours]
    given = sponsored("10.00", flight={"start": day, "end": day}) | {"timezone": zone}
    with world(tmp_path, given, now_ms=instant(began) - 1000) as now:
        assert ask(now) == []
        for ms in (0, 60_000, hours * 3600_000 - 1000):
            now.clock.ms = instant(began) + ms
            show(now)
        now.tick()
        assert fees(now) == []
        later(now, over)
        assert ask(now) == []
        now.clock.ms += 15 * 60_000
        now.tick()
        assert [(fee.start_ms, fee.nanos, fee.parts[0][1]) for fee in fees(now)] == [
            (instant(began), 10 * EUR, 3)
        ]
        assert sound(now)


def test_what_is_found_invalid_does_not_count(tmp_path: Path) -> None:
    with world(tmp_path) as now:
        first, second = show(now), show(now, "side")
        now.tick()
        taken_back(now, first)
        now.restart()
        later(now, "2026-06-02T00:00:00Z")
        assert fees(now)[0].parts == ((2, 1, 250 * EUR),)
        taken_back(now, second)
        assert spend(now) == 250 * EUR
        assert sound(now)


def test_a_day_all_of_which_is_invalid(tmp_path: Path) -> None:
    with world(tmp_path) as now:
        ad = show(now)
        now.tick()
        taken_back(now, ad)
        later(now, "2026-06-02T00:00:31Z")
        assert (fees(now), held(now)) == ([], 0)
        assert sound(now)


def taken_back(world: World, *ads: Any) -> None:
    reverse(world, *(ad["event_id"] for ad in ads))


def reverse(world: World, *event_ids: str) -> Any:
    return asyncio.run(world.app.invalidation.reverse(event_ids, "a farm"))


def test_a_fee_taken_back(tmp_path: Path) -> None:
    """All of its parts: the budgets have room, the publisher gives back, the day is no more."""
    with world(tmp_path, sponsored(budget={"lifetime": "250.00"})) as now:
        show(now)
        show(now, "side")
        later(now, "2026-06-02T00:00:00Z")
        assert ask(now) == []
        (fee,) = fees(now)
        parts = [ids.encode(event.event_id) for event in events_of(fee)]
        told = reverse(now, *parts)
        assert [(one.kinds, one.refunded_nanos) for one in told] == [(("fee",), 125 * EUR)] * 2
        now.tick()
        assert (spend(now), len(ask(now))) == (0, 1)
        assert sound(now)
        (line,) = now.app.ledger.statement("advertiser:1", 677).lines
        assert (line.days, line.refunded, line.micros) == (1, 1, 0)
        now.restart()
        assert (spend(now), held(now)) == (0, 250 * EUR)


def test_a_full_disk_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(tmp_path) as now:
        show(now)
        now.clock.ms = instant("2026-06-02T00:00:00Z")

        def full(record: object, personal: object = None) -> None:
            raise JournalClosed("no room")

        with monkeypatch.context() as patch:
            patch.setattr(now.app.journal, "append", full)
            Duties(now.app).accruing.accrue()
        assert held(now) == 250 * EUR
        now.tick()
        assert (len(fees(now)), spend(now), held(now)) == (1, 250 * EUR, 0)
        assert sound(now)


@pytest.mark.parametrize("mode", ["test", "dry_run"])
def test_what_is_not_meant_holds_nothing(tmp_path: Path, mode: str) -> None:
    with world(tmp_path) as now:
        asked = {"publisher": "gazette", "placements": [{"id": "top"}], "mode": mode}
        answer = now.decide(asked, asker=OPERATOR)["decisions"][0]["ads"]
        assert len(answer) == 1
        if mode == "test":
            now.event(answer[0]["impression_url"])
        assert held(now) == 0
        later(now, "2026-06-02T00:00:31Z")
        assert fees(now) == []
        assert sound(now)


def test_what_an_ad_says_of_its_price(tmp_path: Path) -> None:
    with world(tmp_path) as now:
        asked = {"publisher": "gazette", "placements": [{"id": "top"}]}
        (ad,) = now.decide(asked, asker=OPERATOR)["decisions"][0]["ads"]
        assert ad["price"] == {
            "model": "flat", "rate_micros": 250_000_000, "per": 1, "currency": "EUR", "clearing_micros": 0
        }  # fmt: skip


def test_a_sponsorship_is_not_held_back_by_its_own_fee(tmp_path: Path) -> None:
    """A day that is held is paid for: it serves on, evenly or not, with nothing left in its budget."""
    even = sponsored(budget={"daily": "250.00", "lifetime": "250.00"}, pacing="even")
    with world(tmp_path, even) as now:
        for _ in range(20):
            show(now)
            now.clock.ms += 1000
        assert now.delivery("acme/spring")["line_items"][0]["serving_status"] == "delivering"


def test_both_ads_of_a_request(tmp_path: Path) -> None:
    """The first holds the day, the second nothing more."""
    twice = sponsored(budget={"lifetime": "250.00"}) | {"repeat_in_request": True}
    with world(tmp_path, twice) as now:
        asked = {"publisher": "gazette", "placements": [{"id": "top"}, {"id": "side"}]}
        assert [len(slot["ads"]) for slot in now.decide(asked)["decisions"]] == [1, 1]
        assert held(now) == 250 * EUR


@pytest.mark.parametrize("journalled", [False, True])
def test_who_dies_while_accruing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journalled: bool) -> None:
    """Before the fee is in the journal, or just behind it: it is accrued once."""
    with world(tmp_path, sponsored(budget={"lifetime": "500.00"})) as now:
        show(now)
        now.clock.ms = instant("2026-06-02T00:00:00Z")
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Accruing, "_move" if journalled else "accrue", killed)
            Duties(now.app).accruing.accrue()
        now.restart()
        assert len(fees(now)) == journalled
        now.tick()
        now.restart()
        now.tick()
        assert (len(fees(now)), spend(now), held(now)) == (1, 250 * EUR, 0)
        assert sound(now)


class Killed(BaseException):
    pass


def killed(*_: object) -> None:
    raise Killed


def test_a_power_cut_that_took_the_fee(tmp_path: Path) -> None:
    """Of the journal's tail, and of the books all: it is accrued again, under the same ids."""
    with world(tmp_path) as now:
        show(now)
        now.app.journal.sync()
        before = now.app.journal.synced_position
        later(now, "2026-06-02T00:00:00Z")
        (first,) = fees(now)
        now.app.close()
        data = now.app.settings.data
        with (data / "journal" / "00000001.seg").open("r+b") as segment:
            segment.seek(before.offset)
            segment.write(bytes(4096))
        for path in data.glob("ledger.sqlite*"):
            path.unlink()
        now.clock.ms += 60_000
        now.app = now._open()
        now.tick()
        (again,) = fees(now)
        assert [event.event_id for event in events_of(again)] == [
            event.event_id for event in events_of(first)
        ]
        assert (spend(now), again.nanos) == (250 * EUR, first.nanos)
        assert sound(now)


def test_an_older_ledger_and_checkpoint_go_on(tmp_path: Path) -> None:
    """A checkpoint of before there were fees says nothing of them."""
    with world(tmp_path) as now:
        states = now.app.states.hot
        dumped = msgspec.msgpack.decode(states.dump(now.app.journal.position))
        (now.app.settings.data / "checkpoint.msgpack").write_bytes(msgspec.msgpack.encode(dumped[:-1]))
        now.restart()
        show(now)
        later(now, "2026-06-02T00:00:00Z")
        assert len(fees(now)) == 1
        assert sound(now)


def test_what_is_exported_and_billed(tmp_path: Path) -> None:
    """Each part is an event of its own; the day is counted once."""
    with world(tmp_path) as now:
        for place in ("top", "top", "side"):
            show(now, place)
        later(now, "2026-06-02T00:00:00Z")
        rows = [
            row for row in events([now.app.settings.data / "journal"], 0, 1 << 60, []) if row.kind == "fee"
        ]
        assert [(row.placement, row.billed_nanos, row.unbilled, row.day) for row in rows] == [
            ("top", 166_666_666_667, "", 20605), ("side", 83_333_333_333, "", 20605)
        ]  # fmt: skip
        flat = [
            row for row in events([now.app.settings.data / "journal"], 0, 1 << 60, []) if row.kind != "fee"
        ]
        assert {(row.kind, row.billed_nanos, row.unbilled) for row in flat} == {("impression", 0, "flat")}
        found = now.app.ledger.statement("advertiser:1", 677)
        told = msgspec.json.decode(msgspec.json.encode(shown(found, "advertiser", "acme")), type=Bill)
        moved = [
            Moved("spring/a", row.kind, False, "EUR", row.billed_nanos, int(number == 0))
            for number, row in enumerate(rows)
        ]  # fmt: skip
        assert [*by_itself(told), *against(told, moved, True)] == []
        assert told.lines[0].days == 1
        assert list(against(told, moved[:1], True)) != []


def test_reports_tell_the_fee(tmp_path: Path) -> None:
    """By placement beside its impressions; of no creative."""
    with world(tmp_path) as now:
        for place in ("top", "top", "side"):
            show(now, place)
        later(now, "2026-06-02T00:00:00Z")
        with now.app.ledger.reports.at_once() as moment:
            quarters = instant("2026-06-01T00:00:00Z") // 900_000, instant("2026-06-02T00:00:00Z") // 900_000
            by_place = moment.figures(("placement",), Scope(), quarters, True, False, False)
            by_creative = moment.figures(("creative",), Scope(), quarters, True, False, False)
        assert {row.key: (row.impressions, row.billed_nanos) for row in by_place} == {
            ("gazette/top",): (2, 166_666_666_667), ("gazette/side",): (1, 83_333_333_333)
        }  # fmt: skip
        assert sorted((row.impressions, row.billed_nanos) for row in by_creative) == [
            (0, 250 * EUR), (3, 0)
        ]  # fmt: skip


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("back", ["2026-06-01T12:00:00Z", "2026-06-02T01:00:00Z"])
def test_a_clock_set_back_over_a_restart(tmp_path: Path, clean: bool, back: str) -> None:
    """A day that is accrued comes again: whoever is shown the line item then, its fee is paid."""
    with world(tmp_path, sponsored(budget={"lifetime": "500.00"})) as now:
        show(now)
        later(now, "2026-06-02T12:00:00Z")
        show(now)
        later(now, "2026-06-03T00:00:00Z")
        assert [fee.day for fee in fees(now)] == [20605, 20606]
        now.clock.ms = instant(back)
        now.restart(clean)
        show(now, "side")
        assert (held(now), spend(now)) == (0, 500 * EUR)
        now.restart(clean)
        for again in ("2026-06-02T12:00:00Z", "2026-06-03T12:00:00Z"):
            later(now, again)
            assert len(ask(now)) == (again < "2026-06-03")
        assert (len(fees(now)), spend(now)) == (2, 500 * EUR)
        assert sound(now)


def test_a_checkpoint_that_does_not_tell_what_is_done(tmp_path: Path) -> None:
    with world(tmp_path) as now:
        show(now)
        states = now.app.states.hot.fees
        days, accrued, _ = msgspec.msgpack.decode(states.dump(), strict=False)
        states.load(msgspec.msgpack.encode((days, accrued)))
        later(now, "2026-06-02T12:00:00Z")
        assert len(fees(now)) == 1
        assert sound(now)


@pytest.mark.parametrize("seconds, told", [(29, 0), (30, 1)])
def test_a_fee_that_nobody_accrued(tmp_path: Path, seconds: int, told: int) -> None:
    """The audit names it, once whoever should have was at work for long enough; an outage is no work."""
    with world(tmp_path) as now:
        show(now)
        show(now)
        now.clock.ms = instant("2026-06-12T00:00:00Z")
        reporting(now, 1)
        now.clock.ms = instant("2026-06-15T00:00:00Z")
        reporting(now, seconds)
        now.app.post()
        over = instant("2026-06-02T00:00:00Z")
        expected = f"fee of line item 1, day 20605: none was accrued for 2026-06-01, which was over at {over}"
        assert verify(now.app.settings.data, lambda line: None) == [expected] * told
        now.tick()
        reporting(now, 40)
        assert sound(now)


@pytest.mark.parametrize("invalid", [1, 2])
def test_a_day_nobody_saw_misses_no_fee(tmp_path: Path, invalid: int) -> None:
    """Nor one whose last ad may still be shown, nor one that was found invalid in time."""
    with world(tmp_path) as now:
        ads = [show(now), show(now)]
        now.app.post()
        taken_back(now, *ads[:invalid])
        now.clock.ms = instant("2026-06-02T23:59:00Z")
        show(now)
        now.clock.ms = instant("2026-06-03T00:00:00Z")
        reporting(now, 40)
        now.app.post()
        assert len(verify(now.app.settings.data, lambda line: None)) == 2 - invalid


def reporting(world: World, seconds: int) -> None:
    """The journal is written to, twice a second at once."""
    tally = world.app.states.hot.tally
    for number in range(2 * seconds):
        told = Tallied(world.clock.ms, tally.number + 1, ())
        world.app.journal.append(told)
        tally.told(told)
        world.clock.ms += 1000 * (number % 2)
    world.app.journal.sync()
