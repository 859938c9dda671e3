"""Events found invalid later: once each, the money back where it came from, and audited."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from ledger_samples import DAY, NOW_MS, PRICE, budget, decided, placement, recorded, request, reversed_, terms
from test_posting import post, rows
from verified_samples import differences, keep, sound

from adserver.domain.books import LineItemTotals
from adserver.domain.decision import EventKind
from adserver.domain.records import Record, Recorded, Reversed, Status, Unbilled
from adserver.ledger.verify import verify

FIRST = request(1, NOW_MS)


def sold() -> list[Record]:
    """One impression billed, its viewable impression not billable."""
    return [
        terms(1, (budget("line_item:1", 2 * PRICE),)),
        placement(7),
        decided(FIRST),
        recorded(FIRST),
        recorded(FIRST, kind=EventKind.VIEWABLE, unbilled=Unbilled.NOT_BILLABLE),
    ]


def taken_back() -> list[Record]:
    return [reversed_(event) for event in sold() if isinstance(event, Recorded)]


@pytest.mark.parametrize("size", [1, 2, 100])
def test_the_money_goes_back_and_the_counts_stay(tmp_path: Path, size: int) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = post(path, [*sold(), *taken_back(), *taken_back()], size)
    (totals,) = ledger.totals()
    assert totals == LineItemTotals(
        1,
        impressions=1,
        viewable=1,
        billed_nanos=PRICE,
        invalid_impressions=1,
        invalid_viewable=1,
        refunded_nanos=PRICE,
    )
    assert (totals.net("impressions"), totals.invalidated) == (0, 2)
    found = rows(path)
    assert set(dict(found["balances"]).values()) == {0}
    assert {row[3] for row in found["budgets"]} == {0}
    there, back = found["entries"]
    assert (there[2:5], back[2:5]) == (
        (0, "advertiser:20:EUR", "publisher:3:EUR"),
        (1, "publisher:3:EUR", "advertiser:20:EUR"),
    )
    assert [row[3:] for row in found["shown"]] == [(0, 0, 0, 0)]
    ledger.close()


def test_the_budget_has_room_again(tmp_path: Path) -> None:
    """Twice the price is the budget: with one taken back, a third impression is billed."""
    later = [request(number, NOW_MS + number) for number in (2, 3)]
    events: list[Record] = [record for mine in later for record in (decided(mine), recorded(mine))]
    path = tmp_path / "ledger.sqlite"
    ledger = post(path, [*sold(), *taken_back(), *events])
    assert ledger.refused == 0
    assert {row[3] for row in rows(path)["budgets"]} == {2 * PRICE}
    ledger.close()


def test_what_can_be_taken_back(tmp_path: Path) -> None:
    """Accepted events of live ads of the kinds that are counted, not taken back before."""
    filtered, tested = request(2, NOW_MS), request(3, NOW_MS)
    others: list[Record] = [
        recorded(filtered, status=Status.FILTERED, unbilled=Unbilled.FILTERED),
        recorded(tested, test=True, unbilled=Unbilled.TEST),
        recorded(FIRST, kind=EventKind.HIDE, unbilled=Unbilled.NOT_BILLABLE),
    ]
    ledger = post(tmp_path / "ledger.sqlite", [*sold(), *others])
    ids = [recorded(mine).event_id for mine in (FIRST, filtered, tested, request(4))]
    found = ledger.reversible(ids)
    assert [(event.kind, event.billed_nanos) for event in found] == [(1, PRICE), (2, 0)]
    behind = msgspec.structs.replace(ledger.position, offset=ledger.position.offset + 100)
    ledger.post([msgspec.structs.replace(found[0], at_ms=NOW_MS, reason="a farm")], behind)
    assert [event.kind for event in ledger.reversible(ids)] == [2]
    ledger.close()


def test_what_is_not_in_the_books_is_not_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    stray = reversed_(recorded(request(9)))
    post(path, [*sold(), stray]).close()
    assert dict(rows(path)["balances"])["advertiser:20:EUR"] == PRICE


def test_reversals_are_append_only(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    post(path, [*sold(), *taken_back()]).close()
    with closing(sqlite3.connect(path)) as connection:
        for change in ("DELETE FROM reversals", "UPDATE reversals SET reason = ''"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(change)


def test_a_ledger_of_before_there_were_any(tmp_path: Path) -> None:
    """Audited as it is, and given what it lacks when it is opened."""
    keep(tmp_path, sold())
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE alembic_version")
        connection.execute("DROP TABLE reversals")
        for name in LineItemTotals.__struct_fields__[9:]:
            connection.execute(f"ALTER TABLE totals DROP COLUMN {name}")
    assert differences(tmp_path) == []
    ledger = post(path, [])
    (totals,) = ledger.totals()
    assert totals == LineItemTotals(1, impressions=1, viewable=1, billed_nanos=PRICE)
    ledger.close()
    assert differences(tmp_path) == []


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (taken_back()[0], "reversed twice"),
        (reversed_(recorded(request(77))), "reversed, though it was never counted"),
        (msgspec.structs.replace(taken_back()[1], billed_nanos=5), "reversed as"),
    ],
)
def test_the_audit_of_the_journal(tmp_path: Path, record: Reversed, said: str) -> None:
    found = differences(keep(tmp_path, [*sold(), taken_back()[0], record]))
    assert found and said in found[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM reversals WHERE kind = 1", "reversal"),
        ("UPDATE reversals SET amount_nanos = 1 WHERE kind = 1", "reversal"),
        ("DELETE FROM entries WHERE reversal = 1", "entry"),
        ("UPDATE totals SET refunded_nanos = 0", "totals"),
        ("UPDATE totals SET invalid_clicks = 7", "totals"),
    ],
)
def test_the_audit_of_the_ledger(tmp_path: Path, change: str, said: str) -> None:
    keep(tmp_path, sound())
    assert differences(tmp_path) == []
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection, connection:
        for table in ("entries", "reversals"):
            for verb in ("update", "delete"):
                connection.execute(f"DROP TRIGGER {table}_no_{verb}")
        assert connection.execute(change).rowcount
    lines: list[str] = []
    assert verify(tmp_path, lines.append)
    assert any(line.startswith(said) for line in lines)


def test_days_are_those_of_the_decision(tmp_path: Path) -> None:
    ledger = post(tmp_path / "ledger.sqlite", [*sold(), *taken_back()])
    refunded = {row[1] for row in rows(tmp_path / "ledger.sqlite")["totals"] if row[-1]}
    assert refunded == {-1, DAY}
    ledger.close()
