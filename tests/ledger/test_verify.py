"""The verification finds what was changed, left out, put in, or overspent: each seen."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from ledger_samples import (
    NOW_MS,
    PRICE,
    budget,
    decided,
    page,
    person,
    placement,
    recorded,
    request,
    terms,
)

from adserver.domain.books import Position
from adserver.domain.decision import EventKind, Origin
from adserver.domain.records import LineItemTerms, Record, Recorded, Released, Status, Unbilled
from adserver.ledger.journal import Journal
from adserver.ledger.ledger import Ledger
from adserver.ledger.poster import Poster
from adserver.ledger.reader import Reader, segment_path
from adserver.ledger.verify import verify


def sound() -> list[Record]:
    """A journal without fault: decisions, events of every verdict, feeds, a lowered budget."""
    feed = placement(9, share_num=6, share_den=100, account_idle_ms=1000)
    records: list[Record] = [
        terms(1, (budget("line_item:1", 100 * PRICE), budget("campaign:10", 30 * PRICE, "day"))),
        terms(2, (budget("campaign:10", 30 * PRICE, "day"),), model="cpc"),
        placement(),
        feed,
    ]
    promised = []
    for number in range(1, 25):
        mine = request(number, NOW_MS + number * 1000)
        records.append(decided(mine, (1, 2)))
        promised.append(mine)
    records.append(terms(1, (budget("line_item:1", 5 * PRICE),), at_ms=NOW_MS + 30_000, revision=2))
    for number, mine in enumerate(promised, 1):
        if number % 5 == 0:
            records.append(recorded(mine, status=Status.FILTERED, unbilled=Unbilled.FILTERED))
        if number % 7 == 0:
            records.append(
                recorded(mine, status=Status.EXPIRED, unbilled=Unbilled.EXPIRED, after_ms=1_000_000)
            )
        else:
            records.append(recorded(mine))
        if number % 3 == 0:
            records.append(recorded(mine, 2, EventKind.CLICK, line_item=2, billed=PRICE))
        elif number % 3 == 1:
            over = {"unbilled": Unbilled.OVER_BUDGET, "free": PRICE}
            records.append(recorded(mine, 2, EventKind.CLICK, line_item=2, **over))  # type: ignore[arg-type]
        else:
            records.append(Released(recorded(mine, 2).event_id, NOW_MS + 60_000, 2))
    tested = request(900)
    records += [decided(tested, mode=1), recorded(tested, test=True, unbilled=Unbilled.TEST)]
    first = page(request(801), 0, 0, 21, ((16, 1),), place=9)
    slot = first.decision.slots[0]
    again = msgspec.structs.replace(slot, repeated=Origin(first.decision.request_id, 0, 0))
    decision = msgspec.structs.replace(first.decision, request_id=request(802), slots=(again,))
    records += [first, msgspec.structs.replace(first, decision=decision)]
    records.append(page(request(803), 1, 21, 21, ((33, 1),), place=9))
    return records


def keep(directory: Path, records: Iterable[Record], post: bool = True) -> Path:
    journal = Journal(directory / "journal", 16 * 1024)
    for record in records:
        journal.append(record, person() if record.__class__.__name__ == "Decided" else None)
    journal.close()
    if post:
        ledger = Ledger(directory / "ledger.sqlite")
        with closing(Reader(directory / "journal")) as reader:
            Poster(reader, ledger).drain()
        ledger.close()
    return directory


def tamper(directory: Path, *statements: str) -> None:
    """Change the ledger as somebody with the file could."""
    with closing(sqlite3.connect(directory / "ledger.sqlite")) as connection, connection:
        for table in ("entries", "events", "filtered"):
            for change in ("update", "delete"):
                connection.execute(f"DROP TRIGGER IF EXISTS {table}_no_{change}")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement


def differences(directory: Path) -> list[str]:
    lines: list[str] = []
    found = verify(directory, lines.append)
    assert set(found) <= set(lines)
    return found


def test_a_sound_journal_and_its_ledger(tmp_path: Path) -> None:
    lines: list[str] = []
    assert verify(keep(tmp_path, sound()), lines.append) == []
    assert lines == [
        f"journal: {len(sound())} records whole and in the chain, 0 of them not posted yet",
        "law 1: 2 sponsored items on 2 feed pages",
        "law 2: 50 exposures, 3 impressions after their expiry",
        "law 3: 8 budget accounts",
        "law 4: 41 events, 4 filtered, 29 entries",
        "no differences",
    ]


def test_beside_a_running_writer(tmp_path: Path) -> None:
    """What is not posted yet is no difference."""
    records = sound()
    journal = Journal(tmp_path / "journal", 16 * 1024)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    poster = Poster(Reader(tmp_path / "journal"), ledger, lambda: journal.synced_position)
    for number, record in enumerate(records):
        journal.append(record, person() if record.__class__.__name__ == "Decided" else None)
        if number % 9 == 0:
            journal.sync()
            poster.step(5)
        if number % 20 == 0:
            assert differences(tmp_path) == []
    poster._reader.close()
    ledger.close()
    journal.close()
    assert differences(tmp_path) == []


def test_nothing_there(tmp_path: Path) -> None:
    assert differences(tmp_path) == [f"there is no ledger: {tmp_path / 'ledger.sqlite'}"]


def test_a_changed_byte_of_the_journal(tmp_path: Path) -> None:
    keep(tmp_path, sound())
    path = segment_path(tmp_path / "journal", 1)
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 1
    path.write_bytes(raw)
    (difference,) = differences(tmp_path)
    assert "journal damaged: segment 1 offset" in difference


def test_a_journal_that_was_lost(tmp_path: Path) -> None:
    keep(tmp_path, sound())
    for path in (tmp_path / "journal").glob("*.seg"):
        path.unlink()
    (difference,) = differences(tmp_path)
    assert "the ledger was posted up to" in difference


EXTRA = """INSERT INTO events
SELECT x'00112233445566778899aabbccddeeff', kind, status, at_ms, line_item, creative, placement, day,
    billed_nanos, free_nanos, unbilled, reason, test FROM events LIMIT 1"""
SHIFT = "UPDATE balances SET balance_nanos = balance_nanos {} 5 WHERE account LIKE '{}%'"

TAMPERED = {
    "a missing event": (
        ["DELETE FROM events WHERE at_ms = (SELECT max(at_ms) FROM events)"],
        "missing in the ledger",
    ),
    "an extra event": ([EXTRA], "event 0024H36H2NCSVRH6DAQF6DVVQZ impression: the ledger says"),
    "a changed verdict": (["UPDATE events SET status = 1 WHERE status = 2"], "the ledger says (1,"),
    "a changed amount": (["UPDATE entries SET amount_nanos = amount_nanos + 1 WHERE kind = 3"], "entry "),
    "a missing entry": (["DELETE FROM entries WHERE kind = 3"], "missing in the ledger"),
    "an entry for somebody else": (
        ["UPDATE entries SET credit = 'publisher:9:EUR' WHERE kind = 3"],
        "publisher:9:EUR",
    ),
    "a changed balance": (
        ["UPDATE balances SET balance_nanos = 0 WHERE account LIKE 'publisher%'"],
        "debits and credits differ",
    ),
    "balances changed on both sides": (
        [SHIFT.format("+", "publisher"), SHIFT.format("-", "advertiser")],
        "its entries add up to",
    ),
    "changed totals": (
        ["UPDATE totals SET impressions = impressions + 1 WHERE day = -1"],
        "totals of line item, day 1, -1",
    ),
    "a changed day": (["UPDATE totals SET day = day + 1 WHERE day > 0"], "totals of line item, day"),
    "a forgotten bill": (
        ["UPDATE budgets SET billed_nanos = 0 WHERE account = 'campaign:10' AND day > 0"],
        "billed of budget, day campaign:10",
    ),
    "an overspent row": (
        ["UPDATE budgets SET limit_nanos = 1 WHERE account = 'line_item:1' AND day = -1"],
        "nanos billed of 1 in the ledger",
    ),
    "a filtered event gone": (["DELETE FROM filtered"], "filtered event"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_ledger_that_was_changed(tmp_path: Path, name: str) -> None:
    statements, expected = TAMPERED[name]
    keep(tmp_path, sound())
    tamper(tmp_path, *statements)
    found = differences(tmp_path)
    assert found, "not seen"
    assert any(expected in difference for difference in found), found


def test_an_offset_put_back(tmp_path: Path) -> None:
    """Rows the journal explains only later than the ledger says it has read."""
    keep(tmp_path, sound())
    tamper(tmp_path, "UPDATE offsets SET segment = 1, byte = 1500")
    assert any("the journal knows nothing of it" in difference for difference in differences(tmp_path))


def broken(change: object) -> list[Record]:
    records = sound()
    change(records)  # type: ignore[operator]
    return records


def event_of(records: list[Record], **wanted: object) -> int:
    return next(
        at
        for at, record in enumerate(records)
        if isinstance(record, Recorded)
        and all(getattr(record, name) == value for name, value in wanted.items())
    )


def change_event(**changes: object) -> object:
    def change(records: list[Record]) -> None:
        at = event_of(records, status=1, kind=1, test=False)
        records[at] = msgspec.structs.replace(records[at], **changes)  # type: ignore[type-var]

    return change


def repeat_event(records: list[Record]) -> None:
    records.append(records[event_of(records, status=1, kind=1, test=False)])


def bill_twice(records: list[Record]) -> None:
    at = event_of(records, status=1, kind=1, test=False)
    records.append(msgspec.structs.replace(records[at], kind=2))  # type: ignore[type-var]


def forget_decision(records: list[Record]) -> None:
    del records[4]


def decide_twice(records: list[Record]) -> None:
    records.append(records[4])


def overspend(period: str) -> object:
    def change(records: list[Record]) -> None:
        small = (budget("advertiser:20", 3 * PRICE, period),)
        for at, record in enumerate(records):
            if isinstance(record, LineItemTerms):
                records[at] = msgspec.structs.replace(record, budgets=small)

    return change


BROKEN = {
    "recorded twice": (repeat_event, "recorded twice in the journal"),
    "billed twice": (bill_twice, "the ad was billed before"),
    "billed for the wrong kind": (bill_twice, "which it must not be under cpm"),
    "no decision": (forget_decision, "no decision in the journal"),
    "an id twice": (decide_twice, "decided twice"),
    "another price": (change_event(billed_nanos=PRICE + 1), f"billed {PRICE + 1} nanos, decided was {PRICE}"),
    "not billed for no reason": (change_event(billed_nanos=0), "not billed, with reason 0"),
    "another line item": (change_event(line_item=2), "decided was (1, 101, 7, False)"),
    "another creative": (change_event(creative=5), "(line item, creative, placement, test)"),
    "another placement": (change_event(placement=9), "(line item, creative, placement, test)"),
    "another day": (change_event(day=5), "day 5, its decision's was"),
    "accepted after expiry": (change_event(at_ms=NOW_MS + 10**7), "expired at"),
    "a test billed": (change_event(test=True), "which it must not be"),
    "lifetime overspent": (overspend("lifetime"), f"lifetime billed {4 * PRICE} of {3 * PRICE}"),
    "a day overspent": (overspend("day"), f"billed {4 * PRICE} of {3 * PRICE}"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_journal_that_breaks_a_law(tmp_path: Path, name: str) -> None:
    change, expected = BROKEN[name]
    found = differences(keep(tmp_path, broken(change)))
    assert any(expected in difference for difference in found), found


def test_a_promise_made_under_a_higher_budget_is_no_overspending(tmp_path: Path) -> None:
    """In ``sound`` line item 1 is lowered to 5 with 24 promised; decided after that, a sixth would be."""
    late = request(950, NOW_MS + 40_000)
    found = differences(keep(tmp_path, [*sound(), decided(late), recorded(late)]))
    assert any("line_item:1 lifetime billed" in difference for difference in found)


def test_events_the_ledger_refused_are_differences(tmp_path: Path) -> None:
    records = broken(overspend("lifetime"))
    found = differences(keep(tmp_path, records))
    assert any(difference.startswith("event ") and "the ledger says" in difference for difference in found)


def test_positions_are_compared_over_segments(tmp_path: Path) -> None:
    keep(tmp_path, sound())
    assert len(list((tmp_path / "journal").glob("*.seg"))) == 1
    with closing(Reader(tmp_path / "journal")) as reader:
        assert sum(1 for _ in reader.read(Position())) == len(sound())
