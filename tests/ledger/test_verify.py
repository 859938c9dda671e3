"""The verification finds what was changed in the ledger or lost of the journal: each seen."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from ledger_samples import person
from verified_samples import differences, keep, sound

from adserver.commands.audit import audit
from adserver.domain.records import Decided
from adserver.ledger.files import segment_path
from adserver.ledger.journal import Journal
from adserver.ledger.poster import Poster
from adserver.ledger.reader import Reader
from adserver.ledger.verify import verify
from adserver.ledger.writer import LedgerWriter
from adserver.options import Wrong
from adserver.settings import Settings


def tamper(directory: Path, *statements: str) -> None:
    """Change the ledger as somebody with the file could."""
    with closing(sqlite3.connect(directory / "ledger.sqlite")) as connection, connection:
        for table in ("entries", "events", "filtered"):
            for change in ("update", "delete"):
                connection.execute(f"DROP TRIGGER IF EXISTS {table}_no_{change}")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement


def test_a_sound_journal_and_its_ledger(tmp_path: Path) -> None:
    lines: list[str] = []
    assert verify(keep(tmp_path, sound()), lines.append) == []
    assert lines == [
        f"journal: {len(sound())} records whole and in the chain, 0 of them not posted yet",
        "law 1: 2 sponsored items on 2 feed pages",
        "law 2: 59 exposures, 3 impressions after their expiry",
        "law 3: 12 budget accounts",
        "law 4: 62 events, 4 filtered, 85 entries",
        "reports: 32 rollups, 20 of requests, 17 impressions by people",
        "statements: 2 closings, 4 bookings",
        "accounts: 35 in the trial balance",
        "no differences",
    ]


def test_a_ledger_that_is_not_made_yet(tmp_path: Path) -> None:
    """A server that begins has the file before there is anything in it; one may be killed there."""
    keep(tmp_path, sound())
    for path in tmp_path.glob("ledger.sqlite*"):
        path.unlink()
    (tmp_path / "ledger.sqlite").touch()
    assert differences(tmp_path) == [f"there is no ledger: {tmp_path / 'ledger.sqlite'}"]


def test_a_ledger_that_cannot_be_read_is_told_in_a_line(tmp_path: Path) -> None:
    """Whether that shows at the first look or where rows are read."""
    keep(tmp_path, sound())
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        found = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entries'")
        (page,) = found.fetchone()
    whole = path.read_bytes()
    for damaged in (
        b"no database" * 1000,
        whole[: (page - 1) * 4096] + bytes(len(whole) - (page - 1) * 4096),
    ):
        path.write_bytes(damaged)
        with pytest.raises(Wrong, match=r"the ledger cannot be read: (file is not a|database disk image)"):
            audit(Settings(data=tmp_path))


def test_beside_a_running_writer(tmp_path: Path) -> None:
    """What is not posted yet is no difference."""
    records = sound()
    journal = Journal(tmp_path / "journal", 16 * 1024)
    ledger = LedgerWriter(tmp_path / "ledger.sqlite")
    poster = Poster(Reader(tmp_path / "journal"), ledger, lambda: journal.synced_position)
    for number, record in enumerate(records):
        journal.append(record, person() if isinstance(record, Decided) else None)
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
    told: list[str] = []
    (difference,) = verify(tmp_path, report=told.append)
    assert "journal damaged: segment 1 offset" in difference
    assert {"reports: not compared", "accounts: not compared"} <= set(told)


def test_a_journal_that_was_lost(tmp_path: Path) -> None:
    keep(tmp_path, sound())
    for path in (tmp_path / "journal").glob("*.seg"):
        path.unlink()
    (difference,) = differences(tmp_path)
    assert "the ledger was posted up to" in difference


EXTRA = """INSERT INTO events
SELECT x'00112233445566778899aabbccddeeff', kind, status, at_ms, line_item, creative, placement, day,
    billed_nanos, free_nanos, unbilled, reason, test, country, device FROM events WHERE kind = 1 LIMIT 1"""
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
    "a click somewhere else": (
        ["UPDATE shown SET clicks = clicks + 1"],
        "shown of line item, placement, creative 1, 7",
    ),
    "a changed day": (["UPDATE totals SET day = day + 9 WHERE day > 0"], "totals of line item, day"),
    "a forgotten bill": (
        ["UPDATE budgets SET billed_nanos = 0 WHERE account = 'campaign:10' AND day > 0"],
        "billed of budget, day campaign:10",
    ),
    "an overspent row": (
        ["UPDATE budgets SET limit_nanos = 1 WHERE account = 'line_item:1' AND day = -1"],
        "nanos billed of 1 in the ledger",
    ),
    "a filtered event gone": (["DELETE FROM filtered"], "filtered event"),
    "an event from elsewhere": (["UPDATE events SET country = 'US' WHERE country = 'FR'"], "event "),
    "an event from nowhere": (["UPDATE filtered SET country = 'x' WHERE country = 'FR'"], "filtered event "),
    "a changed rollup": (
        ["UPDATE rollups SET clicks = clicks + 1 WHERE clicks > 0 AND device = 2 AND country = ''"],
        "placement, whence 2000000, 2, 102, 7, '', 2: the ledger says",
    ),
    "a rollup gone": (["DELETE FROM rollups WHERE country = 'FR'"], "missing in the ledger"),
    "a rollup of another hour": (["UPDATE rollups SET quarter = quarter + 4"], "the journal knows nothing"),
    "half a nano": (["UPDATE rollups SET earned_nanos = earned_nanos + 0.5"], ".5"),
    "a changed request": (
        ["UPDATE requests SET asked = asked + 1"],
        "requests of quarter, placement 2000000",
    ),
    "a request gone": (["DELETE FROM requests WHERE placement = 9"], "requests of quarter, placement"),
    "somebody else": (["UPDATE people SET person = person + 1"], "whom the journal does not know"),
    "nobody": (["DELETE FROM people"], "nobody in the ledger saw it"),
    "another's line item": (["UPDATE line_items SET full_id = 'brise/x/y' WHERE serial = 1"], "line_items 1"),
    "another's placement": (["UPDATE placements SET full_id = 'other/x' WHERE serial = 7"], "placements 7"),
    "another creative": (["UPDATE creatives SET identity = 1"], "creatives 101"),
    "no person": (["UPDATE people SET person = 'anna'"], "what no posting writes"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_ledger_that_was_changed(tmp_path: Path, name: str) -> None:
    statements, expected = TAMPERED[name]
    keep(tmp_path, sound())
    tamper(tmp_path, *statements)
    found = differences(tmp_path)
    assert found, "not seen"
    assert any(expected in difference for difference in found), found


def test_a_ledger_of_before_it_was_counted_what_was_shown(tmp_path: Path) -> None:
    """It is sound; the next server that opens it counts, and then it is compared."""
    keep(tmp_path, sound())
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection, connection:
        connection.execute("DROP TABLE alembic_version")
        connection.execute("DROP TABLE shown")
    assert differences(tmp_path) == []
    LedgerWriter(tmp_path / "ledger.sqlite").close()
    assert differences(tmp_path) == []


def test_an_offset_put_back(tmp_path: Path) -> None:
    """Rows the journal explains only later than the ledger says it has read."""
    keep(tmp_path, sound())
    tamper(tmp_path, "UPDATE offsets SET segment = 1, byte = 1500")
    assert any("the journal knows nothing of it" in difference for difference in differences(tmp_path))
