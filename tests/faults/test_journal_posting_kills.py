"""kill -9 while events are acknowledged and posted: every acknowledged one is in the books exactly once."""

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from adserver.ledger.journal import Journal
from adserver.ledger.poster import Poster
from adserver.ledger.reader import Reader
from adserver.ledger.verify import verify
from adserver.ledger.writer import LedgerWriter

CHILD = """
import asyncio, os, sys
from pathlib import Path
from adserver.domain import ids
from adserver.domain.decision import Ad, Decision, Slot, event_id
from adserver.domain.records import Decided, LineItemTerms, PlacementTerms, Recorded
from adserver.ledger.journal import Journal
from adserver.ledger.writer import LedgerWriter
from adserver.ledger.poster import Poster
from adserver.ledger.reader import Reader

data, first = Path(sys.argv[1]), int(sys.argv[2])
NOW = 1_800_000_000_000
journal = Journal(data / "journal", 8192)
ledger = LedgerWriter(data / "ledger.sqlite")
poster = Poster(Reader(data / "journal"), ledger, lambda: journal.synced_position)
journal.append(LineItemTerms(NOW, 1, 1, "acme/summer/one", 10, 20, "EUR", "UTC", "cpm", 4200))
journal.append(PlacementTerms(NOW, 1, 7, "lumen/feed", 3, "EUR"))
numbers = iter(range(first, 10**9))

async def caller():
    while True:
        number = next(numbers)
        request = ids.mint(NOW, number, 0)
        slot = Slot(7, "feed", (Ad(1, 1, 5, 4200, 4200, 4200),), expires_ms=NOW + 900_000)
        journal.append(Decided(Decision(request, 1, 3, (slot,))))
        event = event_id(request, 1)
        journal.append(Recorded(event, 1, 1, NOW + 1, 1, 5, 7, 4200, 0, NOW // 86_400_000))
        await journal.durable()
        os.write(1, event.hex().encode() + b"\\n")

async def post():
    while True:
        await asyncio.to_thread(poster.step, 50)

async def main():
    await asyncio.gather(post(), *(caller() for _ in range(10)))

asyncio.run(main())
"""


@pytest.mark.slow
def test_kills_while_posting(tmp_path: Path) -> None:
    chance, acknowledged = random.Random(7), set()
    for kill in range(6):
        command = [sys.executable, "-c", CHILD, str(tmp_path), str(1 + kill * 1_000_000)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        with child.stdout as pipe:
            for _ in range(chance.randint(20, 300)):
                acknowledged.add(pipe.readline().strip())
            child.kill()
            child.wait()
            acknowledged.update(pipe.read().split(b"\n")[:-1])
    Journal(tmp_path / "journal", 8192).close()
    ledger = LedgerWriter(tmp_path / "ledger.sqlite")
    with closing(Reader(tmp_path / "journal")) as reader:
        Poster(reader, ledger).drain()
    assert ledger.refused == 0
    (totals,) = ledger.totals()
    ledger.close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        posted = [row[0].hex().encode() for row in connection.execute("SELECT event_id FROM events")]
    assert acknowledged <= set(posted) and len(posted) == len(set(posted))
    assert (totals.impressions, totals.billed_nanos) == (len(posted), 4200 * len(posted))
    assert verify(tmp_path, lambda line: None) == []
