"""What holds wherever the ledger is: the same books, refusals and audit, with any number at work on it."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from threading import Barrier

import pytest
from ledger_samples import DAY, NOW_MS, PRICE, budget, placement, recorded, request, terms
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from test_posting import TABLES, sample
from test_posting import rows as rows_of_file
from verified_samples import MONTH, keep, sound

from adserver.databases import Database, Place
from adserver.domain.books import Position
from adserver.domain.records import Record, Unbilled
from adserver.domain.reports import Scope
from adserver.ledger import journals
from adserver.ledger.dialects import open_database, read_database
from adserver.ledger.leases import Ask, Leases
from adserver.ledger.ledger import Ledger
from adserver.ledger.place import LEDGER
from adserver.ledger.schema import APPEND_ONLY, BUDGETS, EVENTS
from adserver.ledger.verify import verify
from adserver.ledger.writer import LedgerWriter

HOUR_MS = 3_600_000
WRITERS = 4


def post(place: Place, records: Sequence[Record], size: int) -> None:
    with closing(LedgerWriter(place)) as ledger:
        starts = [*range(0, len(records), size), len(records)]
        for start, end in pairwise(starts):
            ledger.post(records[start:end], Position(1, 64 + end))


def told(place: Place) -> list[object]:
    """All that is read of a ledger while it serves."""
    with closing(Ledger(place)) as ledger:
        parties = ("advertiser:20", "publisher:3")
        statements = [ledger.statement(party, MONTH + ahead) for party in parties for ahead in (0, 1)]
        with ledger.reports.at_once() as moment:
            quarters = NOW_MS // 900_000 - 1000, NOW_MS // 900_000 + 1000
            sold, placed = (
                ("campaign", "creative", "country", "device"),
                ("publisher", "placement", "country"),
            )
            figures = moment.figures(sold, Scope(advertiser="acme"), quarters, True, False, True)
            figures += moment.figures(placed, Scope(), quarters, True, True, True)
            figures += moment.figures((), Scope(), quarters, False, True, True)
            assert len(figures) > 20
        return [
            ledger.position, sorted(ledger.totals(), key=str), sorted(ledger.shown()[1], key=str),
            sorted(ledger.billed_accounts(DAY - 1)), ledger.billed_campaigns(), ledger.has_earned(3),
            ledger.has_earned(33), ledger.serial_of("advertiser", "acme"), ledger.serial_of("publisher", "x"),
            sorted(ledger.paid_in()), ledger.currencies(20), statements, figures,
        ]  # fmt: skip


def test_a_sound_ledger_is_found_sound_and_reads_alike(tmp_path: Path, server: Database) -> None:
    keep(tmp_path, sound())
    keep(tmp_path / "again", sound(), place=server)
    assert verify(tmp_path / "again", lambda line: None, server) == []
    assert told(server) == told(tmp_path / LEDGER)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_however_it_is_cut_and_repeated(tmp_path: Path, server: Database, size: int) -> None:
    records = [*sample(), *sample()[5:20]]
    post(tmp_path / LEDGER, records, 1000)
    post(server, records, size)
    assert rows_of(server) == rows_of_file(tmp_path / LEDGER)


def rows_of(server: Database) -> dict[str, list[tuple[object, ...]]]:
    engine = read_database(server)
    with engine.connect() as connection:
        found = {
            table: sorted(
                (tuple(row) for row in connection.execute(text(f"SELECT * FROM {table}"))), key=repr
            )
            for table in TABLES
        }
        history = text("SELECT account, period, at_ms, limit_nanos FROM budget_limits ORDER BY number")
        found["budget_limits"] = [tuple(row) for row in connection.execute(history)]
    engine.dispose()
    return found


class TestLedger:
    """In a file, and in PostgreSQL."""

    def test_the_database_refuses_to_change_the_books(self, tmp_path: Path, place: Place) -> None:
        keep(tmp_path, sound(), place=place)
        engine = open_database(place)
        for table in APPEND_ONLY:
            column = table.c.keys()[-1]
            for change in (f"UPDATE {table.name} SET {column} = {column}", f"DELETE FROM {table.name}"):
                with pytest.raises(IntegrityError, match="append-only"), engine.begin() as connection:
                    connection.execute(text(change))
        with pytest.raises(IntegrityError), engine.begin() as connection:
            connection.execute(BUDGETS.update().values(limit_nanos=0, billed_nanos=1))
        engine.dispose()

    def test_who_reads_cannot_write(self, tmp_path: Path, place: Place) -> None:
        LedgerWriter(place).close()
        engine = read_database(place)
        with pytest.raises(Exception, match=r"read-?only"), engine.begin() as connection:
            connection.execute(BUDGETS.delete())
        engine.dispose()

    def test_what_was_changed_is_found(self, tmp_path: Path, place: Place) -> None:
        keep(tmp_path, sound(), place=place)
        engine = open_database(place)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE rollups SET clicks = clicks + 1 WHERE clicks = (SELECT max(clicks) FROM rollups)"
                )
            )
            connection.execute(text("DELETE FROM people"))
        engine.dispose()
        found = verify(tmp_path, lambda line: None, place)
        assert any("rollup" in line for line in found) and any(
            "nobody in the ledger" in line for line in found
        )

    # -- several at once ---------------------------------------------------------------------------

    def test_posters_of_several_journals_at_once(self, place: Place) -> None:
        """One budget of 50 impressions, 4 journals of 25: 50 are billed, 50 refused; each account is moved by
        somebody else between any two posts."""
        limit = 50 * PRICE
        start = Barrier(WRITERS)
        LedgerWriter(place).close()

        def work(number: int) -> int:
            with closing(LedgerWriter(place, journals.consumer_of(number))) as ledger:
                told = [terms(1, (budget("line_item:1", limit),)), placement()]
                ledger.post(told, Position(1, 100))
                start.wait()
                for event in range(25):
                    shown = recorded(request(1000 * number + event, NOW_MS + event))
                    ledger.post([shown], Position(1, 101 + event))
                return ledger.refused

        with ThreadPoolExecutor(WRITERS) as pool:
            refused = list(pool.map(work, range(1, WRITERS + 1)))
        with closing(Ledger(place)) as ledger:
            billed = {account: nanos for account, day, nanos in ledger.billed_accounts(DAY) if day < 0}
            assert next(ledger.totals()).impressions == 25 * WRITERS
        assert billed["line_item:1"] == limit and sum(refused) == 25 * WRITERS - 50

    def test_leases_granted_at_once(self, place: Place) -> None:
        """All ask for the last of one account at the same moment, again and again."""
        key, limit = ("line_item:1", -1), 1000
        LedgerWriter(place).close()
        start = Barrier(WRITERS)

        def work(number: int) -> int:
            with closing(Leases(place, number)) as leases:
                leases.join(1)
                start.wait()
                held = 0
                for _ in range(30):
                    ask = Ask(key, limit, 0, held, 7, 100)
                    held += leases.settle({}, [[ask]], 1).granted.get(key, 0)
                return held

        with ThreadPoolExecutor(WRITERS) as pool:
            held = list(pool.map(work, range(1, WRITERS + 1)))
        assert limit - 7 < sum(held) <= limit


# -- PostgreSQL's own ----------------------------------------------------------------------------------


def test_a_partition_a_day(server: Database) -> None:
    days = [DAY, DAY + 1, DAY + 1, DAY + 40]
    records = [
        recorded(request(n, day * 86_400_000 + n), billed=0, unbilled=Unbilled.NOT_BILLABLE)
        for n, day in enumerate(days)
    ]
    post(server, [terms(1, ()), placement(), *records], 3)
    engine = read_database(server)
    with engine.connect() as connection:
        found = Counter(connection.execute(text("SELECT tableoid::regclass::text FROM events")).scalars())
    engine.dispose()
    assert sorted(found.values()) == [1, 1, 2] and all(name.startswith("events_2") for name in found)


def test_a_partition_waits_for_no_reader(server: Database) -> None:
    """An audit may read for minutes, while days begin."""
    post(server, [terms(1, ()), placement(), recorded(request(1))], 10)
    engine = read_database(server)
    with engine.connect() as connection:
        before = len(connection.execute(select(EVENTS)).all())
        with closing(LedgerWriter(server)) as ledger:
            ledger.post([recorded(request(2, NOW_MS + 3 * 24 * HOUR_MS))], Position(1, 1000))
        assert len(connection.execute(select(EVENTS)).all()) == before == 1, "its own moment"
    engine.dispose()
