"""Statements in a whole server: closed when a month is settled, once, and never changed after."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from test_invalidating import take_back
from world import World, campaign, instant, publisher

from adserver.domain.credits import Credit
from adserver.domain.statements import Statement, parse_month, totals
from adserver.duties import Duties
from adserver.ledger.reader import Reader
from adserver.ledger.verify import verify
from adserver.services.ask import Asker
from adserver.services.refusals import Refused

DAY_MS = 86_400_000
OPERATOR = Asker(role="operator")
JUNE, JULY = parse_month("2026-06"), parse_month("2026-07")
SETTLED = "2026-07-03T12:00:30+00:00"
"""When June's last token is dead everywhere."""
ITEM = {"id": "a", "pricing": {"model": "cpm", "amount": "4.2057"}}


def sold(tmp_path: Path, **fields: Any) -> World:
    owner = publisher(revenue_share="0.70", **fields)
    return World(tmp_path / "world", publishers=[owner], campaigns=[campaign("acme/a", ITEM)])


def show(world: World, times: int = 1) -> list[str]:
    found = []
    for _ in range(times):
        (ad,) = world.decide({"placements": [{"id": "top"}]})["decisions"][0]["ads"]
        assert world.event(ad["impression_url"]).billed
        found.append(ad["event_id"])
    world.tick()
    return found


def of(
    world: World, side: Any = "advertiser", owner: str = "acme", month: int = JUNE, who: Any = OPERATOR
) -> Statement:
    return asyncio.run(world.app.statements.of(who, side, owner, month))


def close(
    world: World, side: Any = "advertiser", owner: str = "acme", month: int = JUNE, who: Any = OPERATOR
) -> Statement:
    return beside(world, world.app.statements.close(who, side, owner, month))


def beside(world: World, act: Coroutine[Any, Any, Statement]) -> Statement:
    """With what goes on beside it."""

    async def together() -> Statement:
        closing = asyncio.create_task(act)
        while not closing.done():
            await Duties(world.app).turn()
            await asyncio.sleep(0)
        return await closing

    return asyncio.run(together())


def refused(world: World, **how: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        close(world, **how)
    return caught.value


@pytest.mark.slow
def test_a_thousand_impressions_cost_what_a_thousand_cost(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        show(world, 1000)
        (line,) = of(world).lines
        assert (line.impressions, line.micros, line.rest_nanos) == (1000, 4_205_700, 0)
        assert (line.currency, line.model, line.amount_micros) == ("EUR", "cpm", 4_205_700)
        (earned,) = of(world, "publisher", "gazette").lines
        assert (earned.micros, earned.rest_nanos) == (4_205_700 * 7 // 10, 0)
        assert (earned.model, earned.amount_micros) == ("", 0), (
            "the advertiser's terms are not the publisher's"
        )
        assert verify(world.folder / "data", lambda line: None) == []


def test_a_closed_statement_stays_and_what_comes_later_is_on_the_next(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        shown = show(world, 3)
        assert refused(world).status == 409
        world.clock.ms = instant(SETTLED) - 1
        early = refused(world)
        assert early.extra == {"settled_ms": instant(SETTLED)}
        assert early.title.endswith(f"until {SETTLED}"), "an accountant reads no milliseconds"
        world.clock.ms += 1
        closed = close(world)
        assert closed.closed and closed.proof is not None
        assert [line.micros for line in closed.lines] == [3 * 4_205_700 // 1000]
        assert close(world) == of(world) == closed
        assert take_back(world, shown[0])[0].kinds == ("impression",)
        world.tick()
        for clean in (False, True):
            world.restart(clean)
            assert of(world) == closed
        (due,) = of(world, month=JULY).lines
        assert (due.carried_nanos, due.adjusted_nanos) == (100, -4_205_700)
        assert (due.micros, due.rest_nanos) == (-4206, 400)
        assert close(world, "publisher", "gazette").closed
        assert verify(world.folder / "data", lambda line: None) == []


def test_months_are_closed_in_order(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        show(world)
        world.clock.ms += 31 * DAY_MS
        show(world)
        world.clock.ms += 60 * DAY_MS
        world.restart()
        assert "2026-06 is still open" in str(refused(world, month=JULY))
        close(world)
        assert close(world, month=JULY).closed
        assert of(world, month=parse_month("2026-05")).closed
        assert verify(world.folder / "data", lambda line: None) == []


def test_money_that_moves_meanwhile_is_not_overlooked(tmp_path: Path) -> None:
    """A refund that is written, and not posted yet, when the statement is closed."""
    with sold(tmp_path) as world:
        shown = show(world, 2)
        world.clock.ms = instant(SETTLED)
        due = of(world)
        assert take_back(world, shown[0])[0].kinds == ("impression",)
        with pytest.raises(Refused, match="ask again"):
            beside(world, world.app.statements._close(due))
        assert not of(world).closed
        world.clock.ms += 1
        assert close(world).lines[0].micros == 4205
        assert verify(world.folder / "data", lambda line: None) == []


def test_what_a_closing_cites_is_in_the_chain(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        show(world)
        world.clock.ms = instant(SETTLED)
        proof = close(world).proof
        assert proof is not None
        reader = Reader(world.folder / "data" / "journal")
        list(reader.read(reader.behind))
        cursor = reader._cursor
        assert cursor is not None and cursor.number == proof.segment and cursor.offset > proof.offset
        reader.close()


@pytest.mark.parametrize(
    ("role", "owner", "side", "whose", "status"),
    [
        ("advertiser", "acme", "advertiser", "acme", 403),
        ("publisher", "gazette", "publisher", "gazette", 403),
        ("advertiser", "rival", "advertiser", "acme", 404),
        ("advertiser", "gazette", "publisher", "gazette", 404),
        ("publisher", "acme", "advertiser", "acme", 404),
        ("operator", "", "advertiser", "nobody", 404),
        ("operator", "", "publisher", "acme", 404),
    ],
)
def test_who_may(tmp_path: Path, role: Any, owner: str, side: str, whose: str, status: int) -> None:
    with sold(tmp_path) as world:
        world.clock.ms = instant(SETTLED)
        who = Asker(role=role, owner=owner) if owner else OPERATOR
        assert refused(world, side=side, owner=whose, who=who).status == status
        if status == 404:
            with pytest.raises(Refused) as caught:
                of(world, side, whose, JUNE, who)
            assert caught.value.status == 404
        else:
            assert of(world, side, whose, JUNE, who).lines == []


def book(world: World, name: str = "c-1", who: Any = OPERATOR, **how: Any) -> Credit:
    said = {"kind": "credit", "currency": "EUR", "amount_micros": 2000, "reason": "late"} | how
    return asyncio.run(world.app.crediting.book(who, said.pop("owner", "acme"), name, **said))


def test_a_credit_is_booked_once_and_comes_off_the_statement(tmp_path: Path) -> None:
    with sold(tmp_path) as world:
        show(world, 3)
        first = book(world)
        world.clock.ms += 1000
        assert book(world) == first, "before it is posted"
        assert len(world.app.crediting.unposted) == 1
        world.tick()
        assert book(world) == first
        assert not world.app.crediting.unposted, "the ledger knows it"
        for clean in (False, True):
            world.restart(clean)
            assert book(world) == first, "and after"
        assert [one.id for one in of(world).credits] == ["c-1"]
        with pytest.raises(Refused) as other:
            book(world, amount_micros=1)
        assert other.value.status == 409
        world.clock.ms = instant(SETTLED)
        closed = close(world)
        assert totals(closed.lines, closed.credits) == (("EUR", 3 * 4_205_700 // 1000 - 2000),)
        assert of(world, month=JULY).credits == []
        assert verify(world.folder / "data", lambda line: None) == []


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"currency": "USD"}, 400),
        ({"owner": "nobody"}, 404),
        ({"who": Asker(role="advertiser", owner="acme")}, 403),
        ({"who": Asker(role="advertiser", owner="rival")}, 404),
        ({"who": Asker(role="publisher", owner="acme")}, 404),
    ],
)
def test_who_may_book_what(tmp_path: Path, how: Any, status: int) -> None:
    with sold(tmp_path) as world:
        show(world)
        with pytest.raises(Refused) as caught:
            book(world, **how)
        assert caught.value.status == status
