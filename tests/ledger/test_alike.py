"""Events posted together move what each would have moved alone, wherever budgets end."""

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import NOW_MS, PRICE, budget, placement, recorded, request, reversed_, terms

from adserver.domain.books import Position
from adserver.domain.credits import PREPAID
from adserver.domain.decision import EventKind
from adserver.domain.fees import Accrued
from adserver.domain.records import Credited, Record, Recorded, Status, Unbilled
from adserver.ledger import alike
from adserver.ledger.rollups import QUARTER_MS, Rollups
from adserver.ledger.writer import LedgerWriter

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
STEPS_MS = (1000, QUARTER_MS, 26 * HOUR_MS)
TABLES = (
    "events",
    "filtered",
    "reversals",
    "entries",
    "balances",
    "budgets",
    "totals",
    "shown",
    "earned",
    "rollups",
    "people",
)
EVENTS = st.tuples(
    st.sampled_from((1, 1, 2, 3, 4, 5)),
    st.sampled_from((7, 7, 7, 7, 8, 9)),
    st.sampled_from(
        ("billed", "billed", "billed", "viewable", "free", "filtered", "expired", "test", "yesterday's")
    ),
    st.sampled_from((0, 0, 0, 1, 2)),
    st.sampled_from(("FR", "FR", "DE")),
    st.integers(1, 6),
)
"""Line item (nobody knows who pays for 5, and 4 pays ahead, in dollars), placement (nobody knows who is paid
for 9), what became of it, the step before it, where it was seen, and how many there are a second apart."""
LIMITS = st.tuples(st.just("limit"), st.sampled_from((1, 2)), st.integers(0, 12), st.booleans())
OTHERS = LIMITS | st.tuples(st.sampled_from(("paid", "fee", "back")), st.integers(1, 3))


def told(drawn: list[tuple[Any, ...]]) -> list[Record]:
    abroad = terms(4, (budget("advertiser:21", 0, PREPAID),), campaign=12, advertiser=21)
    records: list[Record] = [
        terms(1, (budget("line_item:1", 6 * PRICE), budget("campaign:10", 9 * PRICE, "day"))),
        terms(2, (budget("campaign:10", 9 * PRICE, "day"),)),
        terms(3, campaign=11),
        msgspec.structs.replace(abroad, currency="USD"),
        placement(7, revenue_share_ppm=333_333),
        placement(8, publisher=4),
    ]
    at_ms = NOW_MS
    for number, one in enumerate(drawn, 1):
        match one:
            case ("limit", serial, limit, step):
                at_ms += STEPS_MS[bool(step)]
                limits = (budget("line_item:1", limit * PRICE),)
                records.append(terms(serial, limits, at_ms=at_ms, revision=number + 1))
            case ("paid", prices):
                micros = prices * PRICE // 1000
                records.append(Credited(f"{number}", 21, "deposit", "USD", micros, at_ms, "paid"))
            case ("fee", part):
                day, parts = at_ms // DAY_MS, ((7, 103, part * PRICE), (8, 103, PRICE))
                records.append(Accrued(3, day, day * DAY_MS, at_ms, 0, parts))
            case ("back", count):
                # What nothing limits is in the books.
                booked = [one for one in records if isinstance(one, Recorded) and one.line_item == 3]
                records += map(reversed_, [one for one in booked if one.placement != 9][-count:])
            case (item, place, fate, step, country, count):
                late_ms = 1000 + (fate == "yesterday's") * 26 * HOUR_MS
                for each in range(count):
                    at_ms += STEPS_MS[0 if each else step]
                    mine = event(request(8 * number + each, at_ms - late_ms), item, place, fate)
                    records.append(msgspec.structs.replace(mine, at_ms=at_ms, country=country, device=1))
    return records


def event(mine: bytes, item: int, place: int, fate: str) -> Recorded:
    where = {"line_item": item, "place": place}
    match fate:
        case "viewable":
            return recorded(mine, kind=EventKind.VIEWABLE, unbilled=Unbilled.NOT_BILLABLE, **where)
        case "free":
            return recorded(mine, unbilled=Unbilled.OVER_BUDGET, free=PRICE, **where)
        case "filtered":
            return recorded(mine, status=Status.FILTERED, unbilled=Unbilled.FILTERED, **where)
        case "expired":
            return recorded(mine, status=Status.EXPIRED, unbilled=Unbilled.EXPIRED, **where)
        case "test":
            return recorded(mine, test=True, unbilled=Unbilled.TEST, **where)
    return recorded(mine, **where)


def books(records: list[Record], size: int) -> tuple[int, dict[str, list[tuple[object, ...]]]]:
    """How many were refused, and what the ledger says."""
    people = {one.event_id: 5 for one in records if isinstance(one, Recorded) and not one.test}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        ledger = LedgerWriter(path)
        for start in range(0, len(records), size):
            batch = records[start : start + size]
            ledger.post(batch, Position(1, 64 + start + len(batch)), people)
        refused = ledger.refused
        ledger.close()
        with closing(sqlite3.connect(path)) as connection:
            return refused, {
                table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr) for table in TABLES
            }


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(EVENTS | OTHERS, max_size=20), st.sampled_from((7, 1000)))
def test_together_or_one_by_one(drawn: list[tuple[Any, ...]], size: int) -> None:
    records = told(drawn)
    assert books(records, size) == books(records, 1)


def test_what_moves_the_same_money_is_alike_wherever_and_whenever() -> None:
    first = NOW_MS // QUARTER_MS * QUARTER_MS
    events = [recorded(request(1, first + ms)) for ms in (0, 1, QUARTER_MS, QUARTER_MS + 1)]
    events.append(msgspec.structs.replace(recorded(request(2, first)), country="NL", device=2))
    assert len(alike.grouped(alike.keys_of(events), events)) == 1
    rollups = Rollups("", 0, {})
    rollups.add(events, [(1, 10, 0, 7)] * len(events))
    kind = int(EventKind.IMPRESSION)
    cells = {key: sorted(numbers for numbers in told.values()) for key, told in rollups.added.items()}
    assert cells == {
        (first // QUARTER_MS, kind): [(1, 10, 0, 7), (2, 20, 0, 14)],
        (first // QUARTER_MS + 1, kind): [(2, 20, 0, 14)],
    }


def test_a_budget_raised_between_two_batches_has_room_at_once(tmp_path: Path) -> None:
    ledger = LedgerWriter(tmp_path / "ledger.sqlite")
    first = [terms(1, (budget("line_item:1", PRICE),)), placement(7), recorded(request(1, NOW_MS))]
    raised = terms(1, (budget("line_item:1", 2 * PRICE),), at_ms=NOW_MS + 1, revision=2)
    ledger.post(first, Position(1, 100))
    ledger.post([raised, recorded(request(2, NOW_MS + 2))], Position(1, 200))
    assert ([one.billed_nanos for one in ledger.totals()], ledger.refused) == ([2 * PRICE], 0)
    ledger.close()


def test_a_run_is_held_to_the_limit_of_its_last_instant() -> None:
    """What was promised by a higher one is over by then."""
    told = [terms(1, (budget("line_item:1", 9 * PRICE),)), placement(7)]
    told.append(terms(1, (budget("line_item:1", PRICE),), at_ms=NOW_MS + 1, revision=2))
    run = [recorded(request(number, NOW_MS + number)) for number in (1, 2)]
    run.append(recorded(request(3, NOW_MS + 3), after_ms=26 * HOUR_MS))
    assert books([*told, *run], 1000) == books([*told, *run], 1)
    assert books([*told, *run], 1000)[0] == 1
