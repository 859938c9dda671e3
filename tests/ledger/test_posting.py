"""Posting: each event once, in any batches, and the same books whatever was repeated."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_samples import (
    DAY,
    NOW_MS,
    PRICE,
    budget,
    decided,
    person,
    placement,
    recorded,
    request,
    terms,
)

from adserver.domain.books import LineItemTotals, Position
from adserver.domain.decision import EventKind
from adserver.domain.records import Record, Released, Status, Unbilled
from adserver.ledger import guards
from adserver.ledger.journal import Journal
from adserver.ledger.poster import Poster
from adserver.ledger.reader import Reader
from adserver.ledger.segments import Damage
from adserver.ledger.verify import verify
from adserver.ledger.writer import LedgerWriter

HOUR_MS = 3_600_000
TABLES = (
    "conversions",
    "events",
    "filtered",
    "entries",
    "balances",
    "budgets",
    "totals",
    "shown",
    "line_items",
    "placements",
    "earned",
    "statements",
    "statement_lines",
    "credits",
    "statement_credits",
)


def rows(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        tables = {table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr) for table in TABLES}
        limits = "SELECT account, period, at_ms, limit_nanos FROM budget_limits ORDER BY number"
        return {**tables, "budget_limits": list(connection.execute(limits))}


def post(path: Path, records: list[Record], size: int | None = None, first: int = 1) -> LedgerWriter:
    ledger = LedgerWriter(path)
    size = size or max(1, len(records))
    for start in range(0, len(records), size):
        batch = records[start : start + size]
        ledger.post(batch, Position(1, 64 + first + start + len(batch)))
    return ledger


def sample() -> list[Record]:
    """Something of everything."""
    records: list[Record] = [
        terms(1, (budget("line_item:1", 100 * PRICE), budget("campaign:10", 50 * PRICE, "day"))),
        terms(2, (budget("campaign:10", 50 * PRICE, "day"),), model="cpc"),
        placement(7),
        placement(8, publisher=4),
    ]
    for number in range(1, 30):
        at_ms = NOW_MS + number * 1000
        mine = request(number, at_ms)
        records.append(decided(mine, (1, 2)))
        if number % 5 == 0:
            records.append(recorded(mine, status=Status.FILTERED, unbilled=Unbilled.FILTERED, after_ms=500))
        if number % 7 == 0:
            records.append(recorded(mine, status=Status.EXPIRED, unbilled=Unbilled.EXPIRED))
        else:
            records.append(recorded(mine, place=7 + number % 2))
        records.append(recorded(mine, kind=EventKind.VIEWABLE, unbilled=Unbilled.NOT_BILLABLE))
        if number % 3 == 0:
            records.append(
                recorded(mine, 2, EventKind.CLICK, line_item=2, unbilled=Unbilled.OVER_BUDGET, free=PRICE)
            )
        if number == 15:
            records.append(terms(1, (budget("line_item:1", 20 * PRICE),), at_ms=at_ms, revision=2))
        if number % 11 == 0:
            records.append(recorded(request(number + 500, at_ms), test=True, unbilled=Unbilled.TEST))
        records.append(Released(mine, at_ms, 2))
    return records


def test_what_is_posted(tmp_path: Path) -> None:
    ledger = post(tmp_path / "ledger.sqlite", sample())
    totals = {total.line_item: total for total in ledger.totals()}
    assert totals[1] == LineItemTotals(
        1, impressions=25, viewable=29, filtered=5, expired=4, billed_nanos=25 * PRICE
    )
    assert totals[2] == LineItemTotals(2, clicks=9, free_nanos=9 * PRICE)
    mine = [row for row in ledger.billed_accounts(DAY) if row[0] == "line_item:1"]
    assert sorted(mine) == [("line_item:1", -1, 25 * PRICE), ("line_item:1", DAY, 25 * PRICE)]
    assert {day for _, day, _ in ledger.billed_accounts(DAY + 1)} == {-1}
    assert ledger.billed_campaigns() == {10}
    assert ledger.refused == 0
    found = rows(tmp_path / "ledger.sqlite")
    assert dict(found["balances"]) == {
        "advertiser:20:EUR": 25 * PRICE,
        "publisher:3:EUR": -12 * PRICE,
        "publisher:4:EUR": -13 * PRICE,
    }
    billed = {(account, day): billed for account, day, _, billed in found["budgets"]}
    accounts = ("line_item:1", "campaign:10", "advertiser:20")
    assert billed == {(account, day): 25 * PRICE for account in accounts for day in (-1, DAY)}
    assert len(found["entries"]) == 25
    ledger.close()


def test_what_was_shown_where(tmp_path: Path) -> None:
    """Accepted events of live ads only; the counts are those of the totals."""
    ledger = post(tmp_path / "ledger.sqlite", sample())
    behind, shown = ledger.shown()
    assert behind == ledger.position
    by_place = {(row.line_item, row.placement): row for row in shown}
    assert {key: row.impressions for key, row in by_place.items() if row.impressions} == {
        (1, 7): 12,
        (1, 8): 13,
    }
    for total in ledger.totals():
        mine = [row for row in shown if row.line_item == total.line_item]
        counted = total.impressions, total.viewable, total.clicks
        assert counted == tuple(
            sum(getattr(row, name) for row in mine) for name in ("impressions", "viewable", "clicks")
        )
    ledger.close()


def test_a_ledger_of_before_it_was_counted_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    post(path, sample()).close()
    wanted = rows(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE alembic_version")
        connection.execute("DROP TABLE shown")
    LedgerWriter(path).close()
    assert rows(path) == wanted
    LedgerWriter(path).close()
    assert rows(path) == wanted


def test_the_recorded_status(tmp_path: Path) -> None:
    ledger = post(tmp_path / "ledger.sqlite", sample())
    ids = {number: recorded(request(number, NOW_MS + number * 1000)).event_id for number in (1, 5, 7, 99)}
    assert ledger.status(ids[1], EventKind.IMPRESSION) == Status.ACCEPTED
    assert ledger.status(ids[1], EventKind.CLICK) is None
    assert ledger.status(ids[5], EventKind.IMPRESSION) == Status.ACCEPTED, "a filtered call used nothing up"
    assert ledger.status(ids[7], EventKind.IMPRESSION) == Status.EXPIRED
    assert ledger.status(ids[99], EventKind.IMPRESSION) is None
    ledger.post([recorded(request(99), status=Status.FILTERED)], Position(1, 10_000))
    assert ledger.status(recorded(request(99)).event_id, EventKind.IMPRESSION) == Status.FILTERED
    ledger.close()


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 150), st.integers(1, 200)), max_size=5), st.integers(1, 200))
def test_the_same_books_whatever_was_posted_again(
    tmp_path_factory: pytest.TempPathFactory, again: list[tuple[int, int]], size: int
) -> None:
    """From older offsets, in other batches, over restarts of the poster."""
    directory = tmp_path_factory.mktemp("books")
    records = sample()
    post(directory / "once.sqlite", records).close()
    done = 0
    for back, batch in again:
        start = max(0, done - back)
        done = max(done, min(len(records), start + 2 * batch))
        post(directory / "often.sqlite", records[start:done], batch, start).close()
    post(directory / "often.sqlite", records, size).close()
    assert rows(directory / "often.sqlite") == rows(directory / "once.sqlite")


def test_what_is_in_the_books_is_left_out(tmp_path: Path) -> None:
    """By a writer that knows of it, and by one that does not."""
    records = sample()
    ledger = post(tmp_path / "often.sqlite", records[:60])
    assert ledger.post(records[20:80], Position(1, 5000)) > 0
    ledger.close()
    other = LedgerWriter(tmp_path / "often.sqlite")
    assert other.post(records[40:80], Position(1, 5001)) == 0
    other.post(records[30:], Position(1, 9000))
    other.close()
    post(tmp_path / "once.sqlite", records).close()
    assert rows(tmp_path / "often.sqlite") == rows(tmp_path / "once.sqlite")


def test_writers_in_turn_leave_the_same_books(tmp_path: Path) -> None:
    """What one of them knows of budgets is old when it comes to post again."""
    records, path = sample(), tmp_path / "turns.sqlite"
    writers = [LedgerWriter(path) for _ in range(2)]
    for number, start in enumerate(range(0, len(records), 15)):
        batch = records[start : start + 15]
        writers[number % 2].post(batch, Position(1, 65 + start + len(batch)))
    for writer in writers:
        writer.close()
    post(tmp_path / "once.sqlite", records).close()
    assert rows(path) == rows(tmp_path / "once.sqlite")


def test_books_are_append_only(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    post(path, sample()).close()
    with closing(sqlite3.connect(path)) as connection:
        for table in ("entries", "events", "filtered"):
            for change in (f"DELETE FROM {table}", f"UPDATE {table} SET kind = 9"):
                with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                    connection.execute(change)
        with pytest.raises(sqlite3.IntegrityError, match="within_budget"):
            connection.execute("UPDATE budgets SET billed_nanos = limit_nanos + 1 WHERE limit_nanos > 0")
        with pytest.raises(sqlite3.IntegrityError, match="amount_nanos > 0"):
            connection.execute("INSERT INTO entries VALUES (x'00', 1, 0, 'a', 'b', 'EUR', 0)")


def test_a_failed_transaction_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    records = sample()
    ledger = post(path, records[:40])
    before, position = rows(path), ledger.position
    bad = msgspec.structs.replace(recorded(request(900)), creative=1 << 70)
    with pytest.raises(OverflowError):
        ledger.post([*records[40:60], bad], Position(1, 5000))
    assert (rows(path), ledger.position) == (before, position)
    ledger.post(records[40:], Position(1, 9000))
    ledger.close()
    post(tmp_path / "other.sqlite", records).close()
    assert rows(path) == rows(tmp_path / "other.sqlite")


def test_an_event_over_its_budget_is_refused_loudly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records: list[Record] = [terms(1, (budget("campaign:10", 2 * PRICE),)), placement()]
    records += [recorded(request(number)) for number in (1, 2, 3)]
    ledger = post(tmp_path / "ledger.sqlite", records, 2)
    assert ledger.refused == 1
    assert "over the budget of campaign:10" in caplog.text
    assert [(t.impressions, t.billed_nanos, t.free_nanos) for t in ledger.totals()] == [(3, 2 * PRICE, PRICE)]
    events = rows(tmp_path / "ledger.sqlite")["events"]
    assert sorted(row[8] for row in events) == [0, PRICE, PRICE]
    assert [row[10] for row in events if row[8] == 0] == [Unbilled.OVER_BUDGET]
    ledger.close()


def test_an_event_nobody_can_pay_for_is_refused_loudly(tmp_path: Path) -> None:
    ledger = post(
        tmp_path / "ledger.sqlite", [terms(1), recorded(request(1)), recorded(request(2), line_item=5)]
    )
    assert ledger.refused == 2, "no terms of the placement, none of the line item"
    assert rows(tmp_path / "ledger.sqlite")["entries"] == []
    ledger.close()


def lowered(at_ms: int, events_ms: list[int]) -> list[Record]:
    """A budget of 10 lowered to 3 at ``at_ms``, and events decided and rendered at these times."""
    records: list[Record] = [terms(1, (budget("line_item:1", 10 * PRICE),)), placement()]
    events = [recorded(request(number, ms)) for number, ms in enumerate(events_ms, 1)]
    records += [event for event in events if event.at_ms < at_ms]
    records.append(terms(1, (budget("line_item:1", 3 * PRICE),), at_ms=at_ms, revision=2))
    return records + [event for event in events if event.at_ms >= at_ms]


@pytest.mark.parametrize("size", [1, 100])
def test_a_lowered_budget_keeps_its_promises_for_a_day_and_an_hour(tmp_path: Path, size: int) -> None:
    change = NOW_MS + HOUR_MS
    before = [NOW_MS + number for number in range(5)]
    soon = [change + 23 * HOUR_MS + number for number in range(2)]
    late = [change + 26 * HOUR_MS + number for number in range(2)]
    ledger = post(tmp_path / "ledger.sqlite", lowered(change, before + soon + late), size)
    assert [total.billed_nanos for total in ledger.totals()] == [7 * PRICE]
    assert ledger.refused == 2
    ledger.close()


def test_the_guard_is_the_highest_limit_of_the_window() -> None:
    known = guards.Guards()
    limits = {0: 50, 10: 40, 20: None, 30: 60, 40: 5}
    wanted = {0: 50, 15: 50, 19: 50, 21: None, 35: None, 54: None, 56: 60, 64: 60, 65: 5, 600: 5}
    for hours in sorted({*limits, *wanted}):
        if hours in limits:
            limit = limits[hours]
            budgets = () if limit is None else (budget("line_item:1", limit),)
            known.learn(terms(1, budgets, at_ms=hours * HOUR_MS))
        if hours in wanted:
            assert known.guard("line_item:1", "lifetime", hours * HOUR_MS) == wanted[hours], hours
        assert known.guard("line_item:1", "day", hours * HOUR_MS) is None
        assert known.guard("campaign:10", "lifetime", hours * HOUR_MS) is None


def test_a_budget_given_later_finds_what_was_spent(tmp_path: Path) -> None:
    later = NOW_MS + 30 * HOUR_MS
    records: list[Record] = [terms(1), placement()]
    records += [recorded(request(number)) for number in range(1, 5)]
    records.append(terms(1, (budget("advertiser:20", 5 * PRICE),), at_ms=later, revision=2))
    records += [recorded(request(number, later + 26 * HOUR_MS)) for number in (11, 12)]
    ledger = post(tmp_path / "ledger.sqlite", records, 3)
    assert [total.billed_nanos for total in ledger.totals()] == [5 * PRICE]
    assert ledger.refused == 1
    ledger.close()


def test_the_poster_carries_the_journal_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", 8192)
    ledger = LedgerWriter(tmp_path / "ledger.sqlite")
    reader = Reader(tmp_path / "journal")
    poster = Poster(reader, ledger, lambda: journal.synced_position)
    records = sample()
    for record in records[:50]:
        journal.append(record, person())
    assert poster.step() == 0, "nothing is on disk yet"
    journal.sync()
    on_disk = journal.synced_position
    for record in records[50:]:
        journal.append(record, person())
    assert [poster.step(30), poster.step(30), poster.step(30)] == [30, 20, 0]
    assert ledger.position == on_disk
    journal.sync()
    ledger.close()
    reader.close()
    ledger = LedgerWriter(tmp_path / "ledger.sqlite")
    reader = Reader(tmp_path / "journal")
    assert Poster(reader, ledger).drain() == len(records) - 50
    assert Poster(reader, ledger).drain() == 0
    reader.close()
    journal.close()
    post(tmp_path / "direct.sqlite", records).close()
    assert rows(tmp_path / "ledger.sqlite") == rows(tmp_path / "direct.sqlite")
    ledger.close()


def test_posters_at_once_post_everything_once(tmp_path: Path) -> None:
    """A server killed with its poster at work, and the next one with its own."""
    with closing(Journal(tmp_path / "journal")) as journal:
        journal.append(terms(1))
        journal.append(placement(7))
        for number in range(400):
            mine = request(number, NOW_MS + number)
            journal.append(decided(mine), person())
            journal.append(recorded(mine))
    ledgers = [LedgerWriter(tmp_path / "ledger.sqlite") for _ in range(4)]
    readers = [Reader(tmp_path / "journal") for _ in ledgers]
    posters = [Poster(reader, ledger) for reader, ledger in zip(readers, ledgers, strict=True)]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(6):
            for turn in [threads.submit(poster.step, 50) for poster in posters]:
                turn.result()
    posters[0].drain()
    assert [totals.impressions for totals in ledgers[0].totals()] == [400]
    assert verify(tmp_path, report=lambda line: None) == []
    for opened in (*ledgers, *readers):
        opened.close()


def test_a_journal_that_is_gone_is_not_one_that_has_nothing_yet(tmp_path: Path) -> None:
    """Whoever says how far it goes wrote it; to find nothing and go on would be to ask without end."""
    with closing(Reader(tmp_path / "journal")) as reader:
        assert reader.booked(Position(), None, 10) == []
        with pytest.raises(Damage, match="missing"):
            reader.booked(Position(), Position(1, 500), 10)
