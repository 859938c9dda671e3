"""Conversions in the books: each once, as an event of the ad it is owed to, and audited."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from ledger_samples import (
    NOW_MS,
    PRICE,
    budget,
    converted,
    decided,
    placement,
    recorded,
    request,
    reversed_,
    terms,
)
from test_posting import post, rows
from verified_samples import differences, keep, sound

from adserver.domain import ids
from adserver.domain.conversions import Converted
from adserver.domain.counted import event_of
from adserver.domain.decision import EventKind
from adserver.domain.records import LineItemTerms, Record, Unbilled

AD = request(1, NOW_MS)
CLICK = recorded(AD, kind=EventKind.CLICK, unbilled=Unbilled.NOT_BILLABLE)
VIEW = recorded(AD, unbilled=Unbilled.NOT_BILLABLE)


def sold(*told: Record) -> list[Record]:
    """An ad of a line item sold per conversion, shown and clicked."""
    promised = terms(1, (budget("line_item:1", 2 * PRICE),), model="cpa")
    return [promised, placement(), decided(AD, converted=1), VIEW, CLICK, *told]


@pytest.mark.parametrize("size", [1, 2, 100])
def test_each_is_posted_once(tmp_path: Path, size: int) -> None:
    path = tmp_path / "ledger.sqlite"
    told = converted(1, CLICK, PRICE)
    ledger = post(path, [*sold(told, converted(2)), told, converted(2)], size)
    (totals,) = ledger.totals()
    assert (totals.conversions, totals.billed_nanos) == (1, PRICE)
    assert ledger.conversions([told.key, converted(2).key, converted(3).key]) == {told.key, converted(2).key}
    assert ledger.conversions_of([AD, CLICK.event_id]) == [told.event_id]
    found = rows(path)
    assert [row[2:5] for row in found["entries"]] == [(0, "advertiser:20:EUR", "publisher:3:EUR")]
    assert [row[3:] for row in found["shown"]] == [(1, 0, 1, 1)]
    assert len(found["conversions"]) == 2, "owed or not"
    assert told.event_id is not None
    taken = ledger.reversible([told.event_id])
    assert [(one.event_id, one.kind, one.billed_nanos) for one in taken] == [(told.event_id, 7, PRICE)]
    ledger.close()


def test_one_is_paid_out_of_the_lease_of_who_was_told(tmp_path: Path) -> None:
    keep(tmp_path, sold(converted(1, CLICK, PRICE)), holder=0)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        leases = connection.execute("SELECT account, spent_nanos FROM leases").fetchall()
    assert set(leases) == {(account, PRICE) for account in ("line_item:1", "campaign:10", "advertiser:20")}
    assert differences(tmp_path) == []


def test_they_are_append_only(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    post(path, sold(converted(1, CLICK, PRICE))).close()
    with closing(sqlite3.connect(path)) as connection:
        for change in ("DELETE FROM conversions", "UPDATE conversions SET value_micros = 0"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(change)


def test_a_ledger_of_before_there_were_any(tmp_path: Path) -> None:
    """Audited as it is, and given what it lacks when it is opened."""
    keep(tmp_path, sold())
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE alembic_version")
        connection.execute("DROP TABLE conversions")
        connection.execute("ALTER TABLE shown DROP COLUMN conversions")
    assert differences(tmp_path) == []
    ledger = post(path, [])
    assert ledger.conversions([b"k" * 16]) == set()
    assert [row[3:] for row in rows(path)["shown"]] == [(1, 0, 1, 0)]
    ledger.close()
    assert differences(tmp_path) == []


def with_(told: Converted, **fields: object) -> Converted:
    return msgspec.structs.replace(told, **fields)


BILLED = converted(1, CLICK, PRICE)
OTHERS = terms(2, advertiser=21, model="cpa")
BROKEN: dict[str, tuple[list[Record], str]] = {
    "told twice": ([BILLED, BILLED], "told twice"),
    "told twice, owed to nobody": ([converted(1), converted(1)], "told twice"),
    "billed twice": ([BILLED, converted(2, CLICK, PRICE)], "the ad was billed before"),
    "for a view and a click": ([BILLED, converted(2, VIEW, PRICE)], "the ad was billed before"),
    "as repeated": ([converted(1, CLICK, unbilled=Unbilled.REPEATED)], "its ad was not billed before"),
    "not billed": ([converted(1, CLICK, unbilled=Unbilled.NOT_BILLABLE)], "not billed, with reason 6"),
    "at another price": ([converted(1, CLICK, PRICE + 1)], "decided was"),
    "somebody else's": ([with_(BILLED, advertiser=21)], "told by advertiser 21, owed to an ad of 20"),
    "of no ad": ([with_(BILLED, touch=request(9))], "no decision"),
    "of no click": ([with_(BILLED, touched=2)], "owed to an event that was never counted"),
    "of another line item": ([OTHERS, with_(BILLED, line_item=2)], "(line item, creative, placement, test)"),
    "too late": ([converted(1, CLICK, PRICE, after_ms=30 * 86_400_000)], "the window is 2592000000"),
    "too late for a view": ([converted(1, VIEW, PRICE, after_ms=86_400_000)], "the window is 86400000"),
    "before the click": ([converted(1, CLICK, PRICE, after_ms=-1)], "happened -1 ms after"),
    "on another day": ([with_(BILLED, day=BILLED.day + 1)], "its decision's was"),
    "over the budget": ([with_(BILLED, billed_nanos=0, free_nanos=PRICE)], "not billed, with reason"),
    "taken back before": ([reversed_(CLICK), BILLED], "owed to what was taken back before"),
    "speaks of an ad": ([with_(converted(1), line_item=1)], "owed to no ad, and speaks of one"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_audit_of_the_journal(tmp_path: Path, name: str) -> None:
    records, said = BROKEN[name]
    found = differences(keep(tmp_path, sold(*records)))
    assert any(said in difference for difference in found), found


def test_the_window_is_the_one_of_the_touch(tmp_path: Path) -> None:
    """Shortened or ended later, it stands for what was shown before."""
    promised = sold()[0]
    assert isinstance(promised, LineItemTerms)
    shorter = msgspec.structs.replace(promised, at_ms=NOW_MS + 5000, revision=2, click_window_ms=1)
    assert differences(keep(tmp_path, sold(shorter, BILLED))) == []


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM conversions WHERE touch IS NULL",
        "UPDATE conversions SET advertiser = 21",
        "UPDATE conversions SET value_micros = value_micros + 1",
        "UPDATE conversions SET touched = 1",
        "INSERT INTO conversions SELECT x'ff', advertiser, at_ms, happened_ms, called, value_micros, "
        "currency, touch, touched FROM conversions LIMIT 1",
    ],
)
def test_the_audit_of_the_ledger(tmp_path: Path, change: str) -> None:
    keep(tmp_path, sound())
    assert differences(tmp_path) == []
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection, connection:
        for verb in ("update", "delete"):
            connection.execute(f"DROP TRIGGER conversions_no_{verb}")
        assert connection.execute(change).rowcount
    assert any(" conversion: " in difference for difference in differences(tmp_path))


def test_a_conversion_is_an_event_of_its_ad() -> None:
    event = event_of(BILLED)
    assert event is not None
    assert (event.event_id, event.kind, event.day) == (BILLED.event_id, EventKind.CONVERSION, CLICK.day)
    assert ids.minted_ms(event.event_id) == ids.minted_ms(CLICK.event_id)
    assert event_of(converted(1)) is None
    assert event_of(CLICK) is CLICK
    assert event_of(decided(AD)) is None
