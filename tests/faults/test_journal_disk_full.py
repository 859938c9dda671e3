"""A full disk: paid ads stop first, then records are refused; the process lives and goes on by itself.

Where a small file system can be mounted, on one; always with a limit on the size of files, which fails
allocation the same way (the process gets EFBIG instead of ENOSPC)."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adserver.domain.books import JournalClosed, Position
from adserver.domain.records import Personal, Released
from adserver.ledger.files import segment_path
from adserver.ledger.journal import Journal
from adserver.ledger.reader import Reader

SEGMENT = 256 * 1024
RECORD = Released(bytes(16), 1, 1)


class Watch:
    def __init__(self) -> None:
        self.ms = 0

    def __call__(self) -> int:
        return self.ms


def fill(journal: Journal) -> tuple[int, int]:
    """(records until ``open`` turned False, records more until they were refused)."""
    counts = [0, 0]
    while True:
        still_open = journal.open
        try:
            journal.append(RECORD)
        except JournalClosed:
            return counts[0], counts[1]
        if not still_open and counts[1] == 0:
            # Allocation runs in a thread; let what is going on end before judging.
            journal._spare.wait()
            still_open = journal.open
        counts[0 if still_open else 1] += 1
        assert counts[0] < 1_000_000


def go_through(directory: Path, make_room: object) -> None:
    watch = Watch()
    journal = Journal(directory, SEGMENT, watch)
    before, reserve = fill(journal)
    assert before > 1000 and reserve * 41 > 50_000, "the reserve: for what was already decided"
    assert not journal.open
    for _ in range(3):
        with pytest.raises(JournalClosed):
            journal.append(RECORD)
    make_room()  # type: ignore[operator]
    assert not journal.open, "not asked again within the second"
    watch.ms += 1000
    assert not journal.open
    journal._spare.wait()
    assert journal.open
    journal.append(RECORD)
    journal.close()
    with closing(Reader(directory)) as reader:
        assert sum(1 for _ in reader.read(Position())) == before + reserve + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=800k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no right to mount a small file system here; the limit on file sizes covers the rest")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(100 * 1024))
    go_through(small_disk / "journal", ballast.unlink)


CHILD = """
import resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_journal_disk_full import SEGMENT, Journal, Watch, fill, go_through
import adserver.ledger.disk as disk

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

real = disk.Spare.allocate
def allocate(spare):
    # The first segment fits, the next finds the limit.
    real(spare)
    limit(SEGMENT - 4096 if not lifted else resource.RLIM_INFINITY)
lifted = []
disk.Spare.allocate = allocate
original = Journal.append
def lift():
    lifted.append(True)
    limit(resource.RLIM_INFINITY)
# Writes near the segment's end hit the limit too: they are refused, none is half counted.
go_through(Path(sys.argv[1]), lift)
print("alive")
"""


def test_a_limit_on_file_sizes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path / "journal"), *sys.path]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert child.returncode == 0, child.stderr
    assert "alive" in child.stdout
    assert "no room for the next segment" in child.stderr


def test_a_failing_disk_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes that fail leave nothing behind; when they work again, everything follows on."""
    watch = Watch()
    journal = Journal(tmp_path, SEGMENT, watch)
    journal.append(RECORD)
    at = journal.position
    real = os.pwrite

    def half(fd: int, raw: bytes, offset: int) -> int:
        if any(raw):
            return real(fd, raw[: len(raw) // 2], offset)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", half)
        for _ in range(3):
            with pytest.raises(JournalClosed):
                journal.append(RECORD, Personal(b"saltsalt", bytes(range(16)), bytes(range(16, 32))))
        assert journal.position == at and not journal.open
    watch.ms += 1000
    assert journal.open
    journal.append(RECORD)
    rest = segment_path(tmp_path, 1).read_bytes()[journal.position.offset :]
    assert not any(rest), "a shorter record leaves no rest of the longer one"
    journal.close()
    with closing(Reader(tmp_path)) as reader:
        assert [record for _, record, _ in reader.read(Position())] == [RECORD] * 2
