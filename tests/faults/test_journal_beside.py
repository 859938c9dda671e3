"""Readers beside a busy writer in another process: never a false alarm, never a record missed or doubled."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from adserver.domain.books import Position
from adserver.domain.records import Released
from adserver.ledger.files import follows
from adserver.ledger.journal import Journal
from adserver.ledger.reader import Reader

CHILD = """
import asyncio, sys
from pathlib import Path
from adserver.domain.records import Personal, Released
from adserver.ledger.journal import Journal

journal = Journal(Path(sys.argv[1]), 16384)
numbers = iter(range(int(sys.argv[2])))
person = Personal(b"saltsalt", bytes(range(16)), None)

async def caller():
    for number in numbers:
        journal.append(Released(number.to_bytes(16, "big"), 0, 0), person if number % 2 else None)
        await journal.durable()

async def main():
    await asyncio.gather(*(caller() for _ in range(8)))

asyncio.run(main())
journal.close()
"""


def test_a_journal_that_begins_while_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(directory: Path, number: int) -> bool:
        with closing(Journal(directory, 16384)) as journal:
            journal.append(Released(bytes(16), 0, 0))
        return follows(directory, number)

    monkeypatch.setattr("adserver.ledger.reader.follows", begun)
    with closing(Reader(tmp_path)) as reader:
        assert len(list(reader.read(Position()))) == 1


@pytest.mark.slow
def test_readers_beside_a_writer(tmp_path: Path) -> None:
    count = 12_000
    writer = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), str(count)])
    following, at, seen = Reader(tmp_path), Position(), []
    passes = 0
    while len(seen) < count:
        ended, before = writer.poll(), len(seen)
        for behind, record, _ in following.read(at):
            at = behind
            assert isinstance(record, Released)
            seen.append(int.from_bytes(record.event_id, "big"))
        assert len(seen) > before or ended is None, "the writer is gone, and not all was found"
        passes += 1
        if passes % 20 == 0:
            with closing(Reader(tmp_path)) as fresh:
                assert sum(1 for _ in fresh.read(Position())) >= len(seen)
    assert writer.wait(30) == 0
    following.close()
    assert seen == list(range(count))
    assert passes > 20
