"""Rollups are the totals are the entries, whatever happened and however often it was posted."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_samples import (
    NOW_MS,
    PRICE,
    decided,
    person,
    placement,
    recorded,
    request,
    reversed_,
    tallied,
    terms,
)
from verified_samples import differences, keep, person_of, sound

from adserver.domain import ids
from adserver.domain.books import Position
from adserver.domain.counted import events_of
from adserver.domain.decision import EventKind
from adserver.domain.records import Record, Recorded, Status, Unbilled
from adserver.ledger import forgetting, older
from adserver.ledger.rolled import ROLLED
from adserver.ledger.rollups import seen_by
from adserver.ledger.schema import COUNTED
from adserver.ledger.writer import LedgerWriter

QUARTER_MS = 900_000
TABLES = ("rollups", "requests", "people")


def read(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return sorted(connection.execute(statement).fetchall(), key=repr)


def rolled(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    return {table: read(path, f"SELECT * FROM {table}") for table in TABLES}


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@st.composite
def happenings(draw: st.DrawFn) -> list[Record]:
    """Decisions within some quarters of an hour, events of every kind and verdict, tallies, and some taken
    back."""
    records: list[Record] = [
        terms(1),
        terms(2, model="cpc"),
        placement(7),
        msgspec.structs.replace(
            placement(8, publisher=4), revenue_share_ppm=draw(st.sampled_from((0, 333_333, 10**6)))
        ),
    ]
    decisions: list[Record] = []
    for number in range(draw(st.integers(1, 12))):
        mine = request(
            number + 1, NOW_MS + draw(st.integers(0, 4)) * QUARTER_MS + draw(st.sampled_from((0, 1, 899_999)))
        )
        place = draw(st.sampled_from((7, 8)))
        decisions.append(decided(mine, (1, 2), clicked=2, place=place))
        records.append(decisions[-1])
        for index, kind in draw(
            st.lists(st.tuples(st.sampled_from((1, 2)), st.sampled_from(EventKind)), unique=True)
        ):
            status = draw(st.sampled_from((Status.ACCEPTED, Status.EXPIRED, Status.FILTERED)))
            sold = (index, kind) in ((1, EventKind.IMPRESSION), (2, EventKind.CLICK))
            billed = PRICE if sold and status == Status.ACCEPTED else 0
            event = recorded(mine, index, kind, status, index, billed, place=place)
            records.append(event)
            if status == Status.ACCEPTED and kind <= EventKind.CLICK and draw(st.booleans()):
                records.append(reversed_(event))
    records += [tallied(1, *decisions[::2]), tallied(2, *decisions[1::2], unanswered=1)]
    return records


def post(path: Path, records: list[Record], size: int, repeat: int) -> None:
    """In batches of so many, each of which begins among what was posted before."""
    ledger = LedgerWriter(path)
    for start in range(0, len(records), size):
        batch = records[max(0, start - repeat) : start + size]
        people = dict(seen_by((record, person_of(record)) for record in batch))
        ledger.post(batch, Position(1, 100 + start + size), people)
    ledger.close()


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings(), st.integers(1, 20), st.integers(0, 20))
def test_rollups_are_the_totals_are_the_entries(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], size: int, repeat: int
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    post(path, records, size, repeat)
    numbers = ", ".join(f"sum({name})" for name in COUNTED)
    in_totals = read(path, f"SELECT line_item, {numbers} FROM totals WHERE day = -1 GROUP BY line_item")
    assert read(path, f"SELECT line_item, {numbers} FROM rollups GROUP BY line_item") == in_totals
    earned = (
        "SELECT placement, sum(earned_nanos) FROM rollups GROUP BY placement HAVING sum(earned_nanos) <> 0"
    )
    entered = """SELECT placement, sum(CASE reversal WHEN 0 THEN amount_nanos ELSE -amount_nanos END) AS n
        FROM entries JOIN events USING (event_id, kind) WHERE reversal < 2 GROUP BY placement HAVING n <> 0"""
    assert read(path, earned) == read(path, entered)
    seen = {
        (record.event_id, (record.event_id[13] % 4))
        for record in records
        if isinstance(record, Recorded) and record.kind == 1 and record.status == Status.ACCEPTED
    }
    gone = {row[0] for row in read(path, "SELECT event_id FROM reversals WHERE kind = 1")}
    assert set(read(path, "SELECT * FROM people")) == {one for one in seen if one[1] and one[0] not in gone}
    once = path.with_name("once.sqlite")
    post(once, records, len(records), 0)
    assert rolled(path) == rolled(once)


def test_a_quarter_of_an_hour_is_the_decisions(tmp_path: Path) -> None:
    """However late its events come; a test counts nowhere."""
    early, late = request(1, NOW_MS + QUARTER_MS - 1), request(2, NOW_MS + QUARTER_MS)
    records: list[Record] = [
        terms(1),
        placement(7),
        recorded(early, after_ms=600_000),
        recorded(late),
        recorded(late, 1, EventKind.CLICK),
        recorded(request(3), test=True, unbilled=Unbilled.TEST),
    ]
    post(tmp_path / "l.sqlite", records, 10, 0)
    first = NOW_MS // QUARTER_MS
    found = read(tmp_path / "l.sqlite", "SELECT quarter, country, device, impressions, clicks FROM rollups")
    assert found == [(first, "FR", 1, 1, 0), (first + 1, "DE", 2, 1, 1)]


def older_of(path: Path) -> None:
    """As an earlier version left it."""
    change(
        path,
        "DROP TABLE alembic_version",
        "DROP TABLE rollups",
        "DROP TABLE requests",
        "DROP TABLE people",
        "DROP TABLE marks",
        *(
            f"ALTER TABLE {table} DROP COLUMN {column}"
            for table in ("events", "filtered")
            for column in ("country", "device")
        ),
    )


def test_an_older_ledger_is_given_its_rollups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its events, which tell neither country nor device; who saw them before that nobody in it knows."""
    monkeypatch.setattr(older, "_CELLS", 5)
    records = [nowhere(record) for record in sound() if "Tallied" not in type(record).__name__]
    path = keep(tmp_path, records) / "ledger.sqlite"
    before = rolled(path)
    older_of(path)
    assert differences(tmp_path) == []
    LedgerWriter(path).close()
    assert differences(tmp_path) == []
    zeros = (0,) * len(ROLLED)
    assert [row for row in rolled(path)["rollups"] if row[6:] != zeros] == [
        row for row in before["rollups"] if row[6:] != zeros
    ]
    ((name, since_ms),) = read(path, "SELECT * FROM marks")
    last_ms = max(ids.minted_ms(event.event_id) for record in records for event in events_of(record))
    assert name == "people_since_ms" and last_ms < since_ms <= last_ms + QUARTER_MS
    later = request(950, since_ms)
    ledger = LedgerWriter(path)
    event = recorded(later)
    ledger.post([event], Position(99, 1), dict(seen_by([(event, person())])))
    ledger.close()
    assert len(read(path, "SELECT * FROM people")) == 1


def nowhere(record: Any) -> Any:
    if hasattr(record, "decision"):
        decision = msgspec.structs.replace(record.decision, country="", device=0)
        return msgspec.structs.replace(record, decision=decision)
    return msgspec.structs.replace(record, country="", device=0) if hasattr(record, "country") else record


def test_a_journal_without_people_or_tallies_is_read(tmp_path: Path) -> None:
    """Records of an earlier version end before the fields that were appended."""
    records = [nowhere(record) for record in sound()]
    for record in records:
        raw = msgspec.to_builtins(record)
        if isinstance(record, Recorded):
            assert msgspec.convert(raw[:-2], Recorded) == record
    assert Counter(type(record).__name__ for record in records)["Tallied"] == 2


def test_a_tally_that_claims_more_than_was_decided_is_told(tmp_path: Path) -> None:
    decision = decided(request(1), (1, 2), clicked=2)
    tally = tallied(1, decision)
    (cell,) = tally.cells
    wrong = msgspec.structs.replace(tally, cells=((*cell[:4], 1, 3, 3),))
    records: list[Record] = [terms(1), terms(2, model="cpc"), placement(), decision]
    assert differences(keep(tmp_path / "right", [*records, tally])) == []
    assert "decided were 2" in differences(keep(tmp_path / "wrong", [*records, wrong]))[0]
    twice = msgspec.structs.replace(tally, number=2)
    assert "decided were 0" in differences(keep(tmp_path / "twice", [*records, tally, twice]))[0]
    gap = msgspec.structs.replace(tally, number=3)
    assert "does not follow" in differences(keep(tmp_path / "gap", [*records, gap]))[0]


def test_old_people_are_forgotten_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the quarter of an hour; the mark says from where on they are whole, and the audit goes by it."""
    monkeypatch.setattr(forgetting, "PART", 2)
    mine = [request(number, NOW_MS + number // 4 * QUARTER_MS) for number in range(1, 12)]
    records: list[Record] = [terms(1), placement(7), *map(decided, mine), *map(recorded, mine)]
    path = keep(tmp_path, records) / "ledger.sqlite"
    everybody = {row[0] for row in read(path, "SELECT event_id FROM people")}
    ledger = LedgerWriter(path)
    assert not ledger.forget_people(NOW_MS - 1) and not ledger.forget_people(0)
    turns = 0
    while ledger.forget_people(NOW_MS + 2 * QUARTER_MS - 1):
        turns += 1
        assert differences(tmp_path) == []
    assert turns == sum(one[:6] < (NOW_MS + QUARTER_MS).to_bytes(6, "big") for one in everybody) // 2 > 0
    ledger.close()
    left = {row[0] for row in read(path, "SELECT event_id FROM people")}
    assert left == {one for one in everybody if int.from_bytes(one[:6], "big") >= NOW_MS + QUARTER_MS}
    assert read(path, "SELECT number FROM marks WHERE name = 'people_since_ms'") == [(NOW_MS + QUARTER_MS,)]
    assert differences(tmp_path) == []
    change(path, f"DELETE FROM people WHERE event_id = x'{max(left).hex()}'")
    assert "nobody in the ledger saw it" in differences(tmp_path)[0]


def test_a_tally_is_posted_once_for_each_journal(tmp_path: Path) -> None:
    """Though the numbers of another journal are the same."""
    tally = tallied(1, decided(request(1), (1, 2), clicked=2))
    for number, consumer in enumerate(("posting", "posting", "posting:1", "posting:1"), 1):
        ledger = LedgerWriter(tmp_path / "l.sqlite", consumer)
        ledger.post([terms(), placement(), tally], Position(1, 100 * number))
        ledger.close()
    found = read(tmp_path / "l.sqlite", "SELECT requests, asked, answered FROM requests")
    assert found == [(2, 4, 4)]
