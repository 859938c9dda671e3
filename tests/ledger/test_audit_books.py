"""The audit by columns is the audit by rows: the same offences, the same books, whatever the journal says."""

import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import (
    DAY,
    NOW_MS,
    PRICE,
    budget,
    decided,
    placement,
    recorded,
    request,
    reversed_,
    terms,
)
from plain_books import Books as PlainBooks
from verified_samples import fees, sound

from adserver.domain.conversions import Converted
from adserver.domain.decision import UNRECORDED, EventKind
from adserver.domain.fees import Accrued
from adserver.domain.records import (
    Credited,
    Decided,
    LineItemTerms,
    PlacementTerms,
    Record,
    Recorded,
    Reversed,
    Status,
    Unbilled,
)
from adserver.ledger.audit_books import EVENT, Heard
from adserver.ledger.audit_judging import Books
from adserver.ledger.audit_rollups import told_whence
from adserver.ledger.audit_rows import Differing, Groups, Rows, ordered

_SMALL = {
    "kind": (1, 2, 3, 5),
    "status": (1, 2, 3),
    "at_ms": (NOW_MS, NOW_MS + 10**7),
    "line_item": (1, 2, 3),
    "creative": (101, 102, 5),
    "placement": (7, 8, 9),
    "billed_nanos": (0, PRICE, PRICE + 1),
    "unbilled": (0, 1, 2, 6, 8),
    "day": (DAY, DAY + 1),
    "free_nanos": (0, PRICE),
    "test": (False, True),
    "country": ("", "FR", "US"),
    "device": (0, 1, 2),
}
_FEE: dict[str, tuple[Any, ...]] = {
    "line_item": (1, 4),
    "day": (DAY, DAY + 1, DAY + 2),
    "start_ms": (DAY * 86_400_000, DAY * 86_400_000 + 1),
    "at_ms": (NOW_MS, NOW_MS + 10**9),
    "unbilled": (0, 1, 2),
    "parts": ((), ((7, 2, PRICE),), ((8, 1, 0), (9, 1, 7))),
}
_TOLD = {
    "key": tuple(number.to_bytes(8, "big") * 2 for number in (1, 2, 9)),
    "advertiser": (20, 21),
    "happened_ms": (NOW_MS, NOW_MS + 5000, NOW_MS + 10**10),
    "touch": (None, recorded(request(701, NOW_MS + 701)).event_id, recorded(request(1)).event_id),
    "touched": (0, 1, 2, 3),
    **{name: _SMALL[name] for name in ("line_item", "billed_nanos", "day", "free_nanos")},
    "unbilled": (0, 1, 6, 7),
}


PAYS_AHEAD = budget("advertiser:20", 0, "prepaid")


def shaken(records: list[Record], chance: random.Random, changes: int) -> list[Record]:
    """With so many things wrong: dropped, repeated, moved, changed."""
    records = list(records)
    for _ in range(changes):
        at = chance.randrange(len(records))
        record, what = records[at], chance.choice(("drop", "repeat", "move", "change", "change", "reverse"))
        if what == "drop":
            del records[at]
        elif what == "repeat":
            records.insert(chance.randrange(len(records)), record)
        elif what == "move":
            records.insert(chance.randrange(len(records)), records.pop(at))
        elif what == "reverse" and isinstance(record, Recorded):
            records.append(reversed_(record))
        else:
            records[at] = changed(record, chance)
    return records


def changed(record: Record, chance: random.Random) -> Record:
    if isinstance(record, Recorded | Reversed):
        name = chance.choice([name for name in _SMALL if hasattr(record, name)])
        return msgspec.structs.replace(record, **{name: chance.choice(_SMALL[name])})
    if isinstance(record, Converted):
        name = chance.choice(list(_TOLD))
        return msgspec.structs.replace(record, **{name: chance.choice(_TOLD[name])})
    if isinstance(record, Accrued):
        name = chance.choice(list(_FEE))
        return msgspec.structs.replace(record, **{name: chance.choice(_FEE[name])})
    if isinstance(record, LineItemTerms):
        limit = chance.choice((0, 3 * PRICE, 20 * PRICE))
        own = budget(chance.choice(("line_item:1", "campaign:10", "advertiser:20")), limit, "day")
        ahead = chance.choice(((), (PAYS_AHEAD,), (PAYS_AHEAD, budget("advertiser:20", limit))))
        zone = chance.choice(("UTC", "Asia/Kathmandu", "Pacific/Kiritimati"))
        days = chance.choice((0, record.days))
        return msgspec.structs.replace(record, budgets=(own, *ahead), timezone=zone, days=days)
    if isinstance(record, Credited):
        kind = chance.choice(("deposit", "make_good"))
        return msgspec.structs.replace(record, kind=kind, amount_micros=chance.choice((1, 4000, 10**6)))
    if isinstance(record, PlacementTerms):
        return placement(record.serial, revenue_share_ppm=chance.choice((0, 1, 333_333, 1_000_000)))
    if isinstance(record, Decided):
        return decided(
            record.decision.request_id,
            chance.choice(((1, 2, 3), (4,))),
            clicked=chance.choice((0, 1, 2)),
            converted=3,
            flat=chance.choice((1, 2, 4, 4, 4)),
        )
    return record


def by_columns(records: list[Record]) -> tuple[set[str], dict[str, Any]]:
    told: list[str] = []
    heard = Heard()
    for record in records:
        heard.take(record)
    books = Books(heard, told.append)
    entries = {
        (_id(row), int(row["kind"]), paid.part): (*paid.pairs[row["pair"]], int(nanos))
        for paid in (*books.entries, *books.booked)
        for row, nanos in zip(paid.rows, paid.nanos, strict=True)
    }
    found = {
        "events": {(_id(row), int(row["kind"])): values(row) for row in books.events},
        "filtered": {(_id(row), int(row["kind"])): values(row) for row in books.filtered},
        "reversals": {(_id(row), int(row["kind"])) for row in books.reversals},
        "conversions": books.conversions,
        "entries": entries,
        "totals": some(books.totals),
        "shown": some(books.shown),
        "rollups": rolled(books),
        "balances": {name: nanos for name, nanos in books.balances.items() if nanos},
        "budgets": {key: nanos for key, nanos in books.budgets.items() if nanos},
        "earned": some(books.statements.earned),
        "statements": books.statements.statements,
        "lines": books.statements.lines,
        "credits": books.statements.credits,
        "taken off": books.statements.taken_off,
    }
    return set(told), found


def by_rows(records: list[Record]) -> tuple[set[str], dict[str, Any]]:
    told: list[str] = []
    books = PlainBooks(told.append)
    for record in records:
        books.take(record)

    def numbers(row: Any) -> tuple[int, ...]:
        return tuple(int(one) for at, one in enumerate(row) if at != 9)

    found = {
        "events": {key: numbers(row) for key, row in books.events.items()},
        "filtered": {key: numbers(row) for key, row in books.filtered.items()},
        "reversals": set(books.reversals),
        "conversions": books.conversions,
        "entries": books.entries,
        "totals": some(books.totals),
        "shown": some(books.shown),
        "rollups": some(books.rollups),
        "balances": {name: nanos for name, nanos in books.balances.items() if nanos},
        "budgets": {key: nanos for key, nanos in books.budgets.items() if nanos},
        "earned": some(books.earned),
        "statements": books.statements,
        "lines": books.lines,
        "credits": books.credits,
        "taken off": books.taken_off,
    }
    return set(told), found


def rolled(books: Books) -> dict[Any, tuple[int, ...]]:
    rows = [row for _, _, part in books.cells.parts() for row in part.tolist()]
    cells = {(*row[:4], told_whence(row[4])): tuple(row[5:]) for row in rows if any(row[5:])}
    return {
        (*key, ("" if country == "''" else country, device)): row
        for (*key, (country, device)), row in cells.items()
    }


def _id(row: Any) -> bytes:
    return bytes(row["id"]).ljust(16, b"\0")


def values(row: Any) -> tuple[int, ...]:
    return tuple(int(row[name]) for name in EVENT if name != "kind")


def some(counts: Any) -> dict[Any, tuple[int, ...]]:
    return {key: tuple(row) for key, row in counts.items() if any(row)}


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 12))
def test_both_audits_find_the_same(chance: random.Random, changes: int) -> None:
    records = shaken(sound(), chance, changes)
    told, found = by_columns(records)
    plainly_told, plainly_found = by_rows(records)
    assert told == plainly_told
    if not told:
        assert found == plainly_found


def test_an_empty_journal() -> None:
    assert by_columns([]) == by_rows([])
    assert by_columns([terms(1), placement(7)]) == by_rows([terms(1), placement(7)])
    assert by_columns([decided(request(1))])[0] == set()


def test_a_kind_nobody_knows_is_told_and_not_stumbled_over() -> None:
    event = Recorded(request(5), 77, Status.ACCEPTED, NOW_MS, 1, 101, 7, 0, Unbilled.NONE, DAY)
    told, _ = by_columns([terms(1), event, reversed_(event)])
    assert any("of kind 77: no decision in the journal" in line for line in told)


def test_an_ad_that_was_given_away_needs_no_decision_and_moves_nothing() -> None:
    given = request(5)[:14] + (UNRECORDED + 1).to_bytes(2, "big")
    event = Recorded(given, EventKind.IMPRESSION, Status.ACCEPTED, NOW_MS, 1, 101, 7, 0, Unbilled.FREE, DAY)
    told, found = by_columns([terms(1), event])
    assert (told, found["totals"][1, -1][:2]) == (set(), (1, 0))
    for change in ({}, {"billed_nanos": 5}, {"free_nanos": 5}, {"day": DAY + 1}, {"status": Status.FILTERED}):
        records = [terms(1), msgspec.structs.replace(event, **change)]
        assert by_columns(records) == by_rows(records), change
        assert bool(by_rows(records)[0]) == (
            change.keys() <= {"billed_nanos", "free_nanos", "day"} and bool(change)
        )
    assert by_columns([event])[0] == by_rows([event])[0] != set(), "nobody told its terms"


rows_of = st.lists(
    st.tuples(st.integers(0, 3).map(lambda n: bytes([n]) * 16), st.integers(0, 1), st.integers(0, 1)),
    max_size=12,
    unique_by=lambda row: row[:2],
)


@settings(max_examples=200, deadline=None)
@given(rows_of, rows_of)
def test_what_differs(first: list[Any], second: list[Any]) -> None:
    def array(found: list[Any]) -> Any:
        rows = Rows(("kind", "value"))
        for row in found:
            rows.add(*row)
        return ordered(rows.array(), "kind")

    def keys(found: Any) -> set[tuple[bytes, int]]:
        return {(_id(row), int(row["kind"])) for row in found}

    different = Differing(array(first), array(second), ("kind",), ("value",))
    one, other = ({row[:2]: row[2] for row in side} for side in (first, second))
    assert keys(different.missing) == one.keys() - other.keys()
    assert keys(different.extra) == other.keys() - one.keys()
    unequal = {key for key in one.keys() & other.keys() if one[key] != other[key]}
    assert keys(ours for ours, _ in different.changed) == unequal


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2), st.integers(-(2**40), 2**40)), max_size=20))
def test_groups_add_up(rows: list[tuple[int, int, int]]) -> None:
    columns = [np.array([row[at] for row in rows], np.int64) for at in range(3)]
    groups = Groups(*columns[:2])
    expected: dict[tuple[int, int], int] = {}
    for one, other, value in rows:
        expected[one, other] = expected.get((one, other), 0) + value
    assert dict(zip(groups.keys, groups.sums(columns[2]), strict=True)) == expected
    assert EventKind.IMPRESSION in EventKind


START_MS = DAY * 86_400_000
_OFFENCES: dict[str, tuple[dict[str, Any], str]] = {
    "before the day is over": ({"at_ms": START_MS + 86_399_999}, "before it was over"),
    "from the wrong instant": ({"start_ms": START_MS + 1}, "has no midnight before it"),
    "of another day": ({"day": DAY - 1, "start_ms": START_MS - 86_400_000}, "no flat ad of that day"),
    "of another line item": ({"line_item": 1}, "no flat ad of that day"),
    "a nano more": ({"parts": ((7, 2, 93_333_333_334), (8, 1, 46_666_666_667))}, "due are 140000000000"),
    "shared otherwise": (
        {"parts": ((7, 2, 93_333_333_334), (8, 1, 46_666_666_666))}, "by what was shown [(7, 2, 93333333333)"
    ),
    "by other counts": (
        {"parts": ((7, 4, 93_333_333_333), (8, 2, 46_666_666_667))}, "by what was shown [(7, 2, 93333333333)"
    ),
    "to nobody": ({"parts": ()}, "comes to 0 nanos"),
    "for no reason": ({"unbilled": int(Unbilled.TEST)}, "not billed for the reason 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", _OFFENCES)
def test_a_fee_that_is_wrong(name: str) -> None:
    """Told by both audits."""
    changes, expected = _OFFENCES[name]
    records = fees()
    at = next(at for at, record in enumerate(records) if isinstance(record, Accrued))
    assert by_columns(records)[0] == by_rows(records)[0] == set()
    records[at] = msgspec.structs.replace(records[at], **changes)
    told = by_columns(records)[0]
    assert told == by_rows(records)[0]
    assert any(expected in line for line in told), told


def test_a_fee_while_its_last_ad_may_still_be_shown() -> None:
    """One decided just before midnight expires after it."""
    records = fees()
    at = next(at for at, record in enumerate(records) if isinstance(record, Accrued))
    records.insert(at, decided(request(650, START_MS + 86_399_000), (4,), flat=4))
    told = by_columns(records)[0]
    assert told == by_rows(records)[0]
    assert len(told) == 1 and "before it was over and its ads had expired" in told.pop()


def test_a_fee_accrued_twice() -> None:
    records = fees()
    records.append(next(record for record in records if isinstance(record, Accrued)))
    told = by_columns(records)[0]
    assert told == by_rows(records)[0]
    assert any("accrued twice" in line for line in told)


def test_an_impression_that_is_not_billed_for_the_wrong_reason() -> None:
    records = fees()
    at = next(at for at, record in enumerate(records) if isinstance(record, Recorded))
    records[at] = msgspec.structs.replace(records[at], unbilled=int(Unbilled.NOT_BILLABLE))
    told = by_columns(records)[0]
    assert told == by_rows(records)[0]
    assert any("not that of flat" in line for line in told)
