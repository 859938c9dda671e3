"""Months stated: each once, to the micro, whatever moves when, and audited from the journal."""

import random
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import DAY, NOW_MS, decided, placement, recorded, request, reversed_, terms
from test_posting import post, rows
from verified_samples import MONTH, closes, credited, differences, keep, sound

from adserver.domain.records import Closed, Credited, Record, Recorded
from adserver.domain.statements import Statement, month_of, totals
from adserver.ledger.journal import Journal
from adserver.ledger.ledger import Ledger
from adserver.ledger.reader import Reader
from adserver.ledger.segments import Damage

pytestmark = pytest.mark.slow

DAY_MS = 86_400_000
PARTIES = ("advertiser:20", "publisher:3", "publisher:4")


def session(chance: random.Random, steps: int, months: int) -> list[Record]:
    """Months of sales at odd prices and shares by two line items at three placements, refunds of any event of
    before, and closings: some of them of the wrong total, and some of months that are closed already."""
    records: list[Record] = [terms(1), terms(2), placement(7), placement(8), placement(9, publisher=4)]
    sold: list[Recorded] = []
    for number in range(steps):
        now_ms = NOW_MS + months * 30 * DAY_MS * number // steps
        what = chance.choice(("sell", "sell", "sell", "refund", "share", "close", "credit"))
        if what == "sell":
            item, place, price = (
                chance.choice((1, 2)),
                chance.choice((7, 8, 9)),
                chance.choice((1, 999, 4_205_700)),
            )
            mine = request(number, now_ms)
            event = recorded(mine, line_item=item, place=place, billed=price)
            records += [decided(mine, (item,), place, price=price), event]
            sold.append(event)
        elif what == "share":
            share = chance.choice((0, 333_333, 700_000, 1_000_000))
            records.append(placement(chance.choice((7, 8)), revenue_share_ppm=share))
        elif what == "refund" and sold:
            records.append(reversed_(sold.pop(chance.randrange(len(sold)))))
        elif what == "credit":
            kind = chance.choice(("deposit", "credit", "make_good"))
            records.append(credited(chance.choice("abcdef"), kind, chance.choice((1, 4000))))
        elif what == "close":
            party, month = chance.choice(PARTIES), month_of(now_ms // DAY_MS) - chance.choice((0, 1, 1, 2))
            wrong = (("EUR", 5),) if chance.random() < 0.2 else None
            records.append(closes(records, party, month, now_ms, wrong))
    return records


sessions = st.builds(
    session, st.randoms(use_true_random=False), st.integers(5, 40), st.sampled_from((1, 3, 14))
)


def read(path: Path, party: str, month: int) -> Statement:
    ledger = Ledger(path)
    try:
        return ledger.statement(party, month)
    finally:
        ledger.close()


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(sessions, st.sampled_from((1, 7, 1000)))
def test_after_any_months_what_was_stated_is_what_was_billed_rounded_down_once(
    records: list[Record], size: int
) -> None:
    """With the last month closed: each line item's micros, over all statements, and the rest below a micro;
    and the audit finds nothing different."""
    last = month_of(DAY + 15 * 30)
    ends = [closes(records, party, last, NOW_MS + 10**11) for party in PARTIES]
    with TemporaryDirectory() as name:
        folder = keep(Path(name), [*records, *ends])
        assert differences(folder) == []
        other = folder / "other.sqlite"
        post(other, [*records, *ends], size).close()
        for party, column in zip(PARTIES, (4, 6, 6), strict=True):
            check_sums(folder / "ledger.sqlite", party, last, column)
        for table in ("statements", "statement_lines", "earned"):
            assert rows(other)[table] == rows(folder / "ledger.sqlite")[table]


def check_sums(path: Path, party: str, last: int, column: int) -> None:
    """``column``: of ``earned``, the nanos that are this side's; taken back are three behind."""
    owed: defaultdict[tuple[int, int], int] = defaultdict(int)
    for row in rows(path)["earned"]:
        line_item, place = row[0], row[1]
        if party == "advertiser:20" or party == f"publisher:{4 if place == 9 else 3}":
            subject = (line_item, 0 if party == "advertiser:20" else place)
            at = 5 if column == 4 else 6
            owed[subject] += row[at] - row[at + 3]
    micros: defaultdict[tuple[int, int], int] = defaultdict(int)
    rest: dict[tuple[int, int], int] = {}
    ledger = Ledger(path)
    found = [ledger.statement(party, month) for month in range(MONTH - 2, last + 1)]
    ledger.close()
    for statement in found:
        assert statement.closed
        for line in statement.lines:
            subject = line.line_item, line.placement
            micros[subject] += line.micros
            rest[subject] = line.rest_nanos
            assert 0 <= line.rest_nanos < 1000
    for subject, nanos in owed.items():
        assert micros[subject] == nanos // 1000
        assert micros[subject] * 1000 + rest.get(subject, 0) == nanos


@settings(max_examples=15, deadline=None)
@given(sessions)
def test_posting_again_from_anywhere_leaves_the_same_statements(records: list[Record]) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "ledger.sqlite"
        post(path, records, 7).close()
        before = rows(path)
        ledger = post(path, [])
        behind = msgspec.structs.replace(ledger.position, offset=ledger.position.offset + 1)
        ledger.post(records[len(records) // 3 :], behind)
        ledger.close()
        after = rows(path)
        for table in ("earned", "statements", "statement_lines", "entries"):
            assert after[table] == before[table], table


def test_a_refund_of_a_closed_month_is_on_the_next(tmp_path: Path) -> None:
    mine, later = request(1, NOW_MS), request(2, NOW_MS + 31 * DAY_MS)
    first = recorded(mine, billed=1500)
    records: list[Record] = [terms(1), placement(7), decided(mine, price=1500), first]
    path = tmp_path / "ledger.sqlite"
    post(path, records).close()
    (line,) = read(path, "advertiser:20", MONTH).lines
    assert (line.impressions, line.net_nanos, line.micros, line.rest_nanos) == (1, 1500, 1, 500)
    records.append(closes(records, "advertiser:20", MONTH, NOW_MS + 31 * DAY_MS))
    records += [decided(later, price=400), recorded(later, billed=400)]
    (folder := tmp_path / "whole").mkdir()
    path = keep(folder, [*records, reversed_(first)]) / "ledger.sqlite"
    stated = read(path, "advertiser:20", MONTH)
    assert stated.closed and stated.lines == [line]
    (due,) = read(path, "advertiser:20", MONTH + 1).lines
    assert (due.carried_nanos, due.adjusted_nanos, due.net_nanos) == (500, -1500, 400)
    assert (due.micros, due.rest_nanos) == (-1, 400)
    assert differences(folder) == []


def test_a_month_read_ahead_is_as_if_those_before_were_closed(tmp_path: Path) -> None:
    records: list[Record] = [terms(1), placement(7)]
    for number in range(3):
        mine = request(number, NOW_MS + number * 31 * DAY_MS)
        records += [decided(mine, price=1700), recorded(mine, billed=1700)]
    path = tmp_path / "ledger.sqlite"
    post(path, records).close()
    found = [read(path, "advertiser:20", MONTH + later) for later in range(3)]
    assert [line.micros for one in found for line in one.lines] == [1, 2, 2]
    assert [one.first_open for one in found] == [None, MONTH, MONTH]


@pytest.mark.parametrize("totals", [(), (("EUR", 2),), (("EUR", 1), ("USD", 0))])
def test_a_closing_of_another_total_closes_nothing(
    tmp_path: Path, totals: tuple[tuple[str, int], ...]
) -> None:
    mine = request(1, NOW_MS)
    records: list[Record] = [terms(1), placement(7), decided(mine, price=1500), recorded(mine, billed=1500)]
    path = keep(tmp_path, [*records, closes(records, "advertiser:20", MONTH, NOW_MS, totals)])
    assert differences(tmp_path) == []
    assert not read(path / "ledger.sqlite", "advertiser:20", MONTH).closed
    assert rows(path / "ledger.sqlite")["statements"][0][3] == 0


def test_a_ledger_of_before_there_were_statements(tmp_path: Path) -> None:
    events = [record for record in sound() if not isinstance(record, Closed | Credited)]
    keep(tmp_path, events)
    path = tmp_path / "ledger.sqlite"
    expected = rows(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in (
            "alembic_version",
            "earned",
            "statements",
            "statement_lines",
            "credits",
            "statement_credits",
        ):
            connection.execute(f"DROP TABLE {table}")
        for column in ("model", "amount_micros"):
            connection.execute(f"ALTER TABLE line_items DROP COLUMN {column}")
    assert differences(tmp_path) == []
    ledger = post(path, [])
    ledger.describe([record for record in events if isinstance(record, type(terms()))])
    ledger.close()
    for table in ("earned", "line_items"):
        assert rows(path)[table] == expected[table]
    assert differences(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE statement_lines SET micros = micros - 1", "statement line"),
        ("UPDATE statement_lines SET refunded = 7", "statement line"),
        ("DELETE FROM statement_lines WHERE line_item = 1", "statement line"),
        ("DELETE FROM statements WHERE party LIKE 'adv%'", "closing"),
        ("UPDATE statements SET stands = 0", "closing"),
        ("UPDATE statements SET chain = x'00'", "closing"),
        ("UPDATE earned SET share_nanos = share_nanos + 1", "earned"),
        ("DELETE FROM earned WHERE kind = 3", "earned"),
    ],
)
def test_the_audit_finds_a_changed_statement(tmp_path: Path, change: str, said: str) -> None:
    keep(tmp_path, sound())
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection, connection:
        for table in ("statements", "statement_lines"):
            for verb in ("update", "delete"):
                connection.execute(f"DROP TRIGGER {table}_no_{verb}")
        assert connection.execute(change).rowcount
    assert any(line.startswith(said) for line in differences(tmp_path))


def test_statements_are_append_only(tmp_path: Path) -> None:
    keep(tmp_path, sound())
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        for change in ("DELETE FROM statements", "UPDATE statement_lines SET micros = 0"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(change)


def test_records_of_closings_are_read_back(tmp_path: Path) -> None:
    records = sound()
    keep(tmp_path, records)
    with closing(Reader(tmp_path / "journal")) as reader:
        found = [record for _, record, _ in reader.read(reader.behind)]
    assert found == records


@pytest.mark.parametrize("wrong", [False, True])
def test_what_a_closing_cites_must_be_what_the_chain_was(tmp_path: Path, wrong: bool) -> None:
    journal = Journal(tmp_path, 4096)
    for number in range(200):
        journal.append(terms(number))
        if number % 7 == 0:
            journal.sync()
        if number % 3 == 0:
            proven = journal.proven
            chain = bytes(16) if wrong and number == 99 else proven.chain
            journal.append(Closed("advertiser:1", number, NOW_MS, (), proven.number, proven.offset, chain))
    journal.close()
    with closing(Reader(tmp_path)) as reader:
        if not wrong:
            assert len(list(reader.read(reader.behind))) == 267
            return
        with pytest.raises(Damage, match="a closing cites"):
            list(reader.read(reader.behind))


def test_credits_come_off_the_next_statement_once(tmp_path: Path) -> None:
    """Of what was booked before the closing; deposits do not, and what is booked later waits."""
    mine = request(1, NOW_MS)
    records: list[Record] = [
        terms(1),
        placement(7),
        decided(mine, price=9_000_000),
        recorded(mine, billed=9_000_000),
    ]
    records += [credited("a", micros=2000), credited("b", "make_good", 3000), credited("c", "deposit")]
    records += [credited("a", micros=2000), closes(records, "advertiser:20", MONTH, NOW_MS), credited("d")]
    path = keep(tmp_path, records) / "ledger.sqlite"
    stated, due = (read(path, "advertiser:20", month) for month in (MONTH, MONTH + 1))
    assert [one.id for one in stated.credits] == ["a", "b"]
    assert totals(stated.lines, stated.credits) == (("EUR", 4000),)
    assert ([one.id for one in due.credits], totals(due.lines, due.credits)) == (["d"], (("EUR", -5000),))
    balances = dict(rows(path)["balances"])
    assert (balances["cash:EUR"], balances["wallet:20:EUR"]) == (5_000_000, -5_000_000)
    assert (balances["operator:EUR"], balances["credit:20:EUR"]) == (10_000_000, -10_000_000)
    assert sum(balances.values()) == 0
    assert differences(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE credits SET amount_micros = amount_micros + 1 WHERE id = 'b'", "credit of"),
        ("DELETE FROM credits WHERE id = 'a'", "credit of"),
        ("DELETE FROM statement_credits", "statement of credit"),
        ("DELETE FROM entries WHERE debit LIKE 'cash%'", "entry"),
        ("UPDATE balances SET balance_nanos = 0 WHERE account LIKE 'wallet%'", "balance"),
    ],
)
def test_the_audit_finds_a_changed_credit(tmp_path: Path, change: str, said: str) -> None:
    keep(tmp_path, sound())
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection, connection:
        for table in ("credits", "statement_credits", "entries"):
            for verb in ("update", "delete"):
                connection.execute(f"DROP TRIGGER {table}_no_{verb}")
        assert connection.execute(change).rowcount
    assert any(line.startswith(said) for line in differences(tmp_path))


def test_only_what_is_named_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger knows all that ever sold: rows of others, here such as nobody can read, cost a statement
    nothing. More line items than are asked for at once are read in portions."""
    items = range(1, 6)
    records: list[Record] = [*(terms(item) for item in items), placement(7)]
    for item in items:
        mine = request(item)
        records += [decided(mine, (item,), price=2000), recorded(mine, line_item=item, billed=2000)]
    ledger = keep(tmp_path, records) / "ledger.sqlite"
    with closing(sqlite3.connect(ledger)) as books:
        books.execute(
            "INSERT INTO line_items SELECT serial + 100, CAST(x'ff' AS TEXT), campaign, advertiser + 1, "
            "CAST(x'ff' AS TEXT), revision, at_ms, CAST(x'ff' AS TEXT), amount_micros FROM line_items"
        )
        books.commit()
    monkeypatch.setattr("adserver.ledger.stating._AT_ONCE", 2)
    read = Ledger(ledger)
    for party in ("advertiser:20", "publisher:3"):
        found = read.statement(party, MONTH)
        assert [line.line_item for line in found.lines] == [*items]
        assert [found.line_items[item] for item in items] == [f"acme/summer/item-{item}" for item in items]
        assert {line.currency for line in found.lines} == {"EUR"}
    read.close()
