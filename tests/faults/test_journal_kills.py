"""kill -9 at any moment: what was acknowledged is there once, whatever else is there was appended."""

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from adserver.domain.books import Position
from adserver.domain.records import Personal, Released
from adserver.ledger.journal import Journal
from adserver.ledger.reader import Reader
from adserver.ledger.segments import encode_frame

CHILD = """
import asyncio, os, sys
from pathlib import Path
from adserver.domain.records import Personal, Released
from adserver.ledger.journal import Journal

journal = Journal(Path(sys.argv[1]), 8192)
numbers = iter(range(int(sys.argv[2]), 10**9))
person = Personal(b"saltsalt", bytes(range(16)), None)

async def caller():
    while True:
        number = next(numbers)
        journal.append(Released(number.to_bytes(16, "big"), 0, 0), person if number % 3 else None)
        await journal.durable()
        os.write(1, b"%d\\n" % number)

async def main():
    await asyncio.gather(*(caller() for _ in range(20)))

asyncio.run(main())
"""


def kill_one(directory: Path, first: int, lines: int) -> set[int]:
    """Run a writer, kill it after so many acknowledgements; what was acknowledged."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(directory), str(first)], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    acknowledged = set()
    with child.stdout as pipe:
        for _ in range(lines):
            acknowledged.add(int(pipe.readline()))
        child.kill()
        child.wait()
        acknowledged.update(int(line) for line in pipe.read().split(b"\n")[:-1])
    return acknowledged


def run(directory: Path, kills: int, chance: random.Random) -> None:
    acknowledged: set[int] = set()
    for kill in range(kills):
        acknowledged |= kill_one(directory, 1 + kill * 1_000_000, chance.randint(1, 400))
    Journal(directory, 8192).close()
    with closing(Reader(directory)) as reader:
        found = Counter(
            int.from_bytes(record.event_id, "big")
            for _, record, _ in reader.read(Position())
            if isinstance(record, Released)
        )
    assert not acknowledged - found.keys(), "lost"
    assert set(found.values()) == {1}, "doubled"
    assert len(acknowledged) >= kills
    assert len(found) - len(acknowledged) <= 20 * kills, "at most what was in flight"


def test_ten_kills(tmp_path: Path) -> None:
    run(tmp_path, 10, random.Random(10))


@pytest.mark.slow
def test_a_hundred_kills(tmp_path: Path) -> None:
    run(tmp_path, 100, random.Random(100))


def test_a_write_cut_short_never_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill in the middle of ``pwrite`` leaves a part of the frame: at every length it is no frame."""
    person = Personal(b"saltsalt", bytes(range(16)), None)
    record = Released(bytes(16), 1, 1)
    real = os.pwrite
    frame_bytes = len(encode_frame(record, person, 0)[0])
    for kept in range(1, frame_bytes):
        directory = tmp_path / str(kept)
        journal = Journal(directory, 8192)
        journal.append(record)
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", lambda fd, raw, at, kept=kept: real(fd, raw[:kept], at))
            with pytest.raises(Exception, match="short write"):
                journal.append(record, person)
        copy = tmp_path / f"{kept}-killed"
        copy.mkdir()
        (copy / "00000001.seg").write_bytes((directory / "00000001.seg").read_bytes())
        reopened = Journal(copy, 8192)
        assert reopened.cut_bytes <= kept
        reopened.close()
        with closing(Reader(copy)) as reader:
            assert [found for _, found, _ in reader.read(Position())] == [record]
        journal.append(record)
        asyncio.run(journal.durable())
        journal.close()
        with closing(Reader(directory)) as reader:
            assert len(list(reader.read(Position()))) == 2
