"""Exchange rates in a whole server: bids are compared by them, and nothing is booked by them."""

from pathlib import Path
from typing import Any

import pytest
from replayed import replay_all, told
from world import World, campaign, publisher

from adserver.catalog.folder import read_folder
from adserver.domain import limits
from adserver.domain.changes import Invalid
from adserver.ledger.verify import verify

DOLLAR = {"id": "a", "pricing": {"model": "cpm", "amount": "2.00"}}
RATES: dict[str, Any] = {"base": "EUR", "rates": {"2026-06-01": {"USD": "1.25"}}}
ASK = {"placements": [{"id": "top"}]}


def sold(tmp_path: Path, **more: Any) -> World:
    mine = campaign("acme/a", DOLLAR, currency="USD")
    return World(tmp_path / "world", publishers=[publisher()], campaigns=[mine], **more)


def winners(world: World, floor: str = "") -> list[str]:
    asked = {"placements": [{"id": "top", "floor": floor}]} if floor else ASK
    return [ad["line_item"] for ad in world.decide(asked)["decisions"][0]["ads"]]


def test_all_is_booked_as_it_was_sold(tmp_path: Path) -> None:
    with sold(tmp_path, rates=[RATES]) as world:
        (ad,) = world.decide(ASK)["decisions"][0]["ads"]
        assert world.event(ad["impression_url"]).billed
        world.tick()
        assert world.delivery("acme/a")["spend_micros"] == 2000
        with world.app.ledger._engine.connect() as books:
            rows = books.exec_driver_sql("SELECT debit, credit, currency, amount_nanos FROM entries").all()
        assert [tuple(row) for row in rows] == [("advertiser:1:USD", "publisher:1:USD", "USD", 2_000_000)]
        assert verify(world.folder / "data", lambda line: None) == []


def test_rates_that_change_are_live_and_former_decisions_replay(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        assert winners(world) == []
        for dollars, floor, found in (("1.25", "1.60", ["a"]), ("1.26", "1.60", []), ("1.26", "1.58", ["a"])):
            world.put(rates=[{"base": "EUR", "rates": {"2026-06-01": {"USD": dollars}}}])
            assert winners(world, floor) == found
        world.clock.ms += 8 * 86_400_000
        assert winners(world) == []
        world.put(rates=[RATES | {"max_age": "8d"}])
        assert winners(world) == ["a"]
        world.restart()
        assert winners(world) == ["a"]
        world.archive("rates", "rates")
        assert winners(world) == []
        world.app.journal.sync()
        replayed = replay_all(world)
        assert told(replayed) == [] and len(replayed) == 4


def test_as_many_dates_as_that_and_no_more(tmp_path: Path) -> None:
    def dated(count: int) -> dict[str, Any]:
        days = {f"20{10 + n // 28:02d}-01-{1 + n % 28:02d}": {"USD": "1"} for n in range(count)}
        return {"base": "EUR", "rates": days}

    with sold(tmp_path, rates=[dated(limits.RATES_DATES)]) as world:
        with pytest.raises(Invalid) as caught:
            world.put(rates=[dated(limits.RATES_DATES + 1)])
        (problem,) = caught.value.problems
        assert (problem.path, problem.document) == ("rates", "rates.json")
        assert "at most 100" in problem.message


def test_a_file_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "rates.yaml").write_text('base: EUR\nrates:\n  2026-06-01: {USD: "1.25"}\n')
    found = read_folder(tmp_path)
    assert [draft.key for draft in found.drafts] == [("rates", "rates")] and found.problems == ()
    (tmp_path / "rates.yaml").write_text(
        'base: EUR\nrates:\n  2026-06-01: {USD: "1.25"}\n  2026-06-01: {USD: "1.26"}\n'
    )
    (problem,) = read_folder(tmp_path).problems
    assert problem.document == "rates.yaml" and "line 4" in problem.message, problem
    (tmp_path / "rates.yaml").write_text('base: EUR\nrates:\n  2026-06-01: {USD: 1, EURO: "1"}\n')
    problems = read_folder(tmp_path).problems
    assert [problem.path for problem in problems] == ["rates.2026-06-01.USD", "rates.2026-06-01.EURO"]
