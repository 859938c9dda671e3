"""Events posted together move what each would have moved alone, wherever budgets end."""

import sqlite3
from contextlib import closing
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import NOW_MS, PRICE, budget, placement, recorded, request, terms

from adserver.domain.books import Position
from adserver.domain.decision import EventKind
from adserver.domain.records import Record, Recorded, Status, Unbilled
from adserver.ledger import alike
from adserver.ledger.rollups import QUARTER_MS, quarter_of
from adserver.ledger.writer import LedgerWriter

HOUR_MS = 3_600_000
TABLES = (
    "events",
    "filtered",
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
    st.sampled_from((1, 2, 3)),
    st.sampled_from((7, 7, 8, 9)),
    st.sampled_from(("billed", "billed", "billed", "viewable", "filtered", "expired", "test")),
    st.sampled_from((0, 1, 2)),
)
"""Line item, placement (nobody knows who is paid for 9), what became of it, and the step before it."""
STEPS_MS = (1000, QUARTER_MS, 26 * HOUR_MS)
RAISED = st.tuples(st.just("limit"), st.sampled_from((1, 2)), st.integers(0, 12), st.booleans())


def told(drawn: list[tuple[object, ...]]) -> list[Record]:
    records: list[Record] = [
        terms(1, (budget("line_item:1", 6 * PRICE), budget("campaign:10", 9 * PRICE, "day"))),
        terms(2, (budget("campaign:10", 9 * PRICE, "day"),)),
        terms(3),
        placement(7),
        placement(8, publisher=4),
    ]
    at_ms = NOW_MS
    for number, one in enumerate(drawn, 1):
        if one[0] == "limit":
            _, serial, limit, step = one
            at_ms += STEPS_MS[bool(step)]
            records.append(
                terms(serial, (budget("line_item:1", limit * PRICE),), at_ms=at_ms, revision=number + 1)
            )
            continue
        item, place, fate, step = one
        at_ms += STEPS_MS[step]
        records.append(event(request(number, at_ms), item, place, fate))
    return records


def event(mine: bytes, item: int, place: int, fate: str) -> Recorded:
    where = {"line_item": item, "place": place}
    match fate:
        case "viewable":
            return recorded(mine, kind=EventKind.VIEWABLE, unbilled=Unbilled.NOT_BILLABLE, **where)
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


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS | RAISED, max_size=40))
def test_together_or_one_by_one(drawn: list[tuple[object, ...]]) -> None:
    records = told(drawn)
    assert books(records, len(records)) == books(records, 1)


def test_decisions_of_two_quarters_are_not_alike() -> None:
    first = NOW_MS // QUARTER_MS * QUARTER_MS
    events = [recorded(request(1, first + ms)) for ms in (0, 1, QUARTER_MS, QUARTER_MS + 1)]
    keys = alike.keys_of(events)
    assert [len(list(run)) for _, run in groupby(keys)] == [2, 2]
    groups = alike.grouped(keys, events)
    assert {quarter_of(last.event_id): count for last, count in groups.values()} == {
        first // QUARTER_MS: 2,
        first // QUARTER_MS + 1: 2,
    }


def test_a_budget_raised_between_two_batches_has_room_at_once(tmp_path: Path) -> None:
    ledger = LedgerWriter(tmp_path / "ledger.sqlite")
    first = [terms(1, (budget("line_item:1", PRICE),)), placement(7), recorded(request(1, NOW_MS))]
    raised = terms(1, (budget("line_item:1", 2 * PRICE),), at_ms=NOW_MS + 1, revision=2)
    ledger.post(first, Position(1, 100))
    ledger.post([raised, recorded(request(2, NOW_MS + 2))], Position(1, 200))
    assert ([one.billed_nanos for one in ledger.totals()], ledger.refused) == ([2 * PRICE], 0)
    ledger.close()
