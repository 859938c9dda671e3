"""What is left of a journal that was cut off at any byte: every whole frame, nothing else."""

from contextlib import closing
from pathlib import Path

import pytest

from adserver.domain.books import Position
from adserver.domain.records import Personal, Record, Released
from adserver.ledger import segments
from adserver.ledger.files import segment_path
from adserver.ledger.journal import Journal
from adserver.ledger.reader import Reader
from adserver.ledger.segments import HEADER_BYTES, Damage

SMALL = segments.SEGMENT_BYTES_MIN
PERSON = Personal(b"saltsalt", bytes(range(16)), bytes(range(16, 32)))


def release(number: int) -> Released:
    return Released(number.to_bytes(16, "big"), 1_800_000_000_000, number)


def read(directory: Path) -> list[Record]:
    with closing(Reader(directory)) as reader:
        return [record for _, record, _ in reader.read(Position())]


def unsynced_tail(directory: Path) -> tuple[bytes, list[int], int]:
    """A segment as a killed process leaves it: (its bytes, the ends of its frames, the frames a mark
    proves)."""
    journal = Journal(directory, SMALL)
    ends = [HEADER_BYTES]
    for number in range(1, 7):
        journal.append(release(number), PERSON if number % 2 else None)
        ends.append(journal.position.offset)
        if number == 2:
            journal.sync()
    # The mark of the batch before is written when the next begins.
    journal.sync()
    ends.append(journal.position.offset)
    journal.append(release(7), PERSON)
    ends.append(journal.position.offset)
    journal.append(release(8))
    ends.append(journal.position.offset)
    raw = segment_path(directory, 1).read_bytes()
    journal.close()
    return raw, ends, 2


def put(directory: Path, raw: bytes) -> None:
    for path in directory.glob("*.seg"):
        path.unlink()
    segment_path(directory, 1).write_bytes(raw)


@pytest.fixture
def journal(tmp_path: Path) -> tuple[Path, bytes, list[int]]:
    raw, ends, _ = unsynced_tail(tmp_path)
    return tmp_path, raw, ends


TEARS = {
    "cut": lambda raw, at: raw[:at],
    "zeros": lambda raw, at: raw[:at] + bytes(SMALL - at),
    "garbage": lambda raw, at: raw[:at] + bytes(1 + (7 * k + at) % 255 for k in range(SMALL - at)),
    "a changed byte": lambda raw, at: raw[:at] + bytes([raw[at] ^ 0x55]) + bytes(SMALL - at - 1),
    "zeros, then what followed": lambda raw, at: (
        raw[:at] + bytes(len(raw[at : at + 6])) + raw[at + 6 : at + 40] + bytes(SMALL)
    )[:SMALL],
}


@pytest.mark.parametrize("tear", TEARS)
def test_a_tail_torn_anywhere_leaves_the_whole_frames(
    journal: tuple[Path, bytes, list[int]], tear: str
) -> None:
    """Behind the last mark's durable offset nothing was acknowledged: it is cut, and writing goes on."""
    directory, raw, ends = journal
    released = [release(number) for number in range(1, 9)]
    proven = ends[2]
    # Every byte; every third for those that only vary the others (each costs some syncs).
    step = 1 if tear in ("garbage", "a changed byte") else 3
    for at in range(proven, ends[-1], step):
        torn = TEARS[tear](raw, at)
        put(directory, torn)
        whole = [end for end in ends if end <= at or torn[:end] == raw[:end]]
        # ends: header, 6 records, a mark, 2 records
        kept = released[: min(len(whole) - 1, 6) + max(0, len(whole) - 8)]
        reopened = Journal(directory, SMALL)
        rest = torn[max(whole) :].rstrip(b"\0")
        assert reopened.cut_bytes == len(rest), at
        reopened.append(release(99), PERSON)
        reopened.close()
        assert read(directory) == [*kept, release(99)], at


def test_what_was_cut_never_comes_back(tmp_path: Path) -> None:
    """Behind a torn frame whole ones may stand (pages reach the disk in any order). The next record has
    the torn one's length exactly; the old neighbour must not follow it."""
    journal = Journal(tmp_path, SMALL)
    ends = []
    for number in range(1, 6):
        journal.append(release(number))
        ends.append(journal.position.offset)
    raw = bytearray(segment_path(tmp_path, 1).read_bytes())
    journal.close()
    raw[ends[2] - 1] ^= 1
    put(tmp_path, bytes(raw))
    reopened = Journal(tmp_path, SMALL)
    assert reopened.cut_bytes == ends[4] - ends[1]
    reopened.append(release(99))
    assert reopened.position.offset == ends[2]
    assert read(tmp_path) == [release(1), release(2), release(99)]
    reopened.close()


def test_a_tear_before_a_mark_is_damage(journal: tuple[Path, bytes, list[int]]) -> None:
    """What a mark says was on disk cannot be torn: the server refuses to start and says where."""
    directory, raw, ends = journal
    for at in range(HEADER_BYTES, ends[2]):
        changed = bytearray(raw)
        changed[at] ^= 0xFF
        put(directory, bytes(changed))
        with pytest.raises(Damage) as caught:
            Journal(directory, SMALL)
        assert caught.value.segment == 1
        assert caught.value.offset == max(end for end in ends if end <= at), at
        assert "segment 1 offset" in str(caught.value)
        with pytest.raises(Damage):
            read(directory)
        assert segment_path(directory, 1).read_bytes() == bytes(changed), "nothing was repaired"


def test_a_damaged_header_is_damage(journal: tuple[Path, bytes, list[int]]) -> None:
    directory, raw, _ = journal
    for at in (0, 4, 8, 20, 33):
        put(directory, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(Damage, match="segment 1 offset 0"):
            Journal(directory, SMALL)


def three_segments(directory: Path) -> list[Released]:
    journal = Journal(directory, SMALL)
    written = []
    while journal.position.segment < 3 or journal.position.offset < 1000:
        written.append(release(len(written) + 1))
        journal.append(written[-1])
        if len(written) % 10 == 0:
            journal.sync()
    journal.close()
    return written


def test_a_lost_unproven_segment_is_dropped_with_what_follows(tmp_path: Path) -> None:
    """A power cut right after a switch: the new segment is there, the end of the old one is not."""
    journal = Journal(tmp_path, SMALL)
    numbers = iter(range(1, 10_000))
    for _ in range(20):
        journal.append(release(next(numbers)))
    journal.sync()
    while journal.position.segment < 3:
        journal.append(release(next(numbers)))
    old = segment_path(tmp_path, 1).read_bytes()
    new = segment_path(tmp_path, 2).read_bytes(), segment_path(tmp_path, 3).read_bytes()
    journal.close()
    for cut in (2000, SMALL - 100):
        segment_path(tmp_path, 1).write_bytes(old[:cut] + bytes(SMALL - cut))
        segment_path(tmp_path, 2).write_bytes(new[0])
        segment_path(tmp_path, 3).write_bytes(new[1])
        reopened = Journal(tmp_path, SMALL)
        assert reopened.position.segment == 1 and reopened.cut_bytes > SMALL
        reopened.append(release(9999))
        reopened.close()
        found = read(tmp_path)
        assert found[:20] == [release(number) for number in range(1, 21)]
        assert found[:-1] == [release(number) for number in range(1, len(found))]
        assert found[-1] == release(9999)


def test_damage_in_an_older_segment_is_found_by_reading(tmp_path: Path) -> None:
    three_segments(tmp_path)
    path = segment_path(tmp_path, 1)
    raw = bytearray(path.read_bytes())
    raw[500] ^= 1
    path.write_bytes(raw)
    with pytest.raises(Damage, match="segment 1"):
        read(tmp_path)


def test_a_missing_segment_is_damage(tmp_path: Path) -> None:
    three_segments(tmp_path)
    segment_path(tmp_path, 2).unlink()
    with pytest.raises(Damage, match="segment 2 offset 0: the segment is missing"):
        Journal(tmp_path, SMALL)


def test_a_damaged_header_of_a_later_segment_is_damage(tmp_path: Path) -> None:
    """The header can be known from the segment before, so its marks still prove what was there."""
    written = three_segments(tmp_path)
    raw = segment_path(tmp_path, 3).read_bytes()
    segment_path(tmp_path, 3).write_bytes(b"x" + raw[1:])
    with pytest.raises(Damage, match="segment 3 offset 0"):
        Journal(tmp_path, SMALL)
    segment_path(tmp_path, 3).write_bytes(bytes(SMALL))
    Journal(tmp_path, SMALL).close()
    found = read(tmp_path)
    assert found == written[: len(found)], "never reached the disk, was never promised"
