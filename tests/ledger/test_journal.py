"""The journal's frames, its reading, its batches."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_samples import (
    SMALL,
    contents,
    decided,
    page,
    person,
    placement,
    recorded,
    request,
    terms,
    write,
)

from adserver.domain.books import JournalClosed, Position
from adserver.domain.records import ENCODER, PERSONAL, Mark, Personal, Record, Released
from adserver.ledger import segments
from adserver.ledger.disk import JournalBusy
from adserver.ledger.files import segment_numbers, segment_path
from adserver.ledger.journal import Journal
from adserver.ledger.reader import Reader
from adserver.ledger.segments import Damage, Frame, Header, Short

SEED = Header(1, bytes(16)).seed

records = st.one_of(
    st.builds(lambda n: recorded(request(n)), st.integers(1, 2**40)),
    st.builds(lambda n, k: decided(request(n), tuple(range(1, k))), st.integers(1, 2**40), st.integers(1, 8)),
    st.builds(Released, st.binary(min_size=16, max_size=16), st.integers(0, 2**40), st.integers(1, 2**31)),
    st.builds(lambda n: terms(n), st.integers(1, 1000)),
    st.builds(lambda n: placement(n), st.integers(1, 1000)),
)
names = st.none() | st.binary(min_size=16, max_size=16)
people = st.none() | st.builds(Personal, st.binary(min_size=8, max_size=8), names, names)


@given(records, people)
def test_a_frame_is_read_as_it_was_written(record: Record, personal: Personal | None) -> None:
    raw, covered = segments.encode_frame(record, personal, SEED)
    frame = segments.parse_frame(b"xyz" + raw, 3, 100, SEED)
    assert isinstance(frame, Frame)
    assert (frame.start, frame.end, frame.covered) == (103, 103 + len(raw), covered)
    assert frame.record() == record
    assert segments.sound(frame)
    assert bool(frame.secret) == (personal is not None)


@given(records, people, st.data())
def test_no_part_of_a_frame_is_a_frame(
    record: Record, personal: Personal | None, data: st.DataObject
) -> None:
    raw, _ = segments.encode_frame(record, personal, SEED)
    cut = data.draw(st.integers(0, len(raw) - 1))
    assert isinstance(segments.parse_frame(raw[:cut], 0, 0, SEED), Short)
    zeroed = raw[:cut] + bytes(len(raw) - cut)
    if zeroed != raw:
        assert not isinstance(segments.parse_frame(zeroed, 0, 0, SEED), Frame)


@given(records, people, st.data())
def test_every_changed_byte_is_seen(record: Record, personal: Personal | None, data: st.DataObject) -> None:
    raw, _ = segments.encode_frame(record, personal, SEED)
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = bytearray(raw)
    changed[at] ^= data.draw(st.integers(1, 255))
    frame = segments.parse_frame(bytes(changed), 0, 0, SEED)
    assert not isinstance(frame, Frame) or not segments.sound(frame)


def test_a_frame_of_another_segment_is_none_here() -> None:
    raw, _ = segments.encode_frame(recorded(request(1)), None, SEED)
    assert segments.parse_frame(raw, 0, 0, Header(2, bytes(16)).seed) is None
    assert segments.parse_frame(raw, 0, 0, Header(1, b"x" * 16).seed) is None


def test_bytes_a_record_takes(tmp_path: Path) -> None:
    """The goal of DESIGN: 300 a decision of one ad, 120 an event, personal part and frame included."""
    assert len(segments.encode_frame(decided(request(1)), person(), SEED)[0]) <= 300
    assert len(segments.encode_frame(page(request(1), 0, 0, 20, ((16, 1),)), person(), SEED)[0]) <= 300
    assert len(segments.encode_frame(recorded(request(1)), None, SEED)[0]) <= 120
    assert len(segments.encode_frame(Mark(2**31, bytes(16), True), None, SEED)[0]) <= 40


def test_a_record_too_long_is_refused() -> None:
    huge = terms(1, caps=()).__class__(1, 1, 1, "x" * segments.FRAME_BYTES_MAX, 1, 1, "EUR", "UTC", "cpm", 1)
    with pytest.raises(ValueError, match="bytes"):
        segments.encode_frame(huge, None, SEED)


def of_size(size: int) -> Personal:
    """A personal part of so many bytes."""
    found = (Personal(b"saltsalt", facts=bytes(number)) for number in range(size))
    return next(personal for personal in found if len(ENCODER.encode(personal)) == size)


@pytest.mark.parametrize("size", [255, 256, 271, 300, 4095])
def test_a_personal_part_has_twelve_bits(size: int) -> None:
    raw, _ = segments.encode_frame(recorded(request(1)), of_size(size), SEED)
    frame = segments.parse_frame(raw, 0, 0, SEED)
    assert isinstance(frame, Frame)
    assert (PERSONAL.decode(frame.secret), frame.record()) == (of_size(size), recorded(request(1)))


def test_a_longer_personal_part_is_refused() -> None:
    with pytest.raises(ValueError, match="a personal part of 4096 bytes"):
        segments.encode_frame(recorded(request(1)), of_size(4096), SEED)


def test_what_is_appended_is_read_over_segments_and_restarts(tmp_path: Path) -> None:
    written = write(tmp_path, 60) + write(tmp_path, 60)
    assert len(segment_numbers(tmp_path)) > 4
    found = contents(tmp_path)
    assert [record for _, record, _ in found] == written
    assert {personal for _, record, personal in found if record == written[0]} == {person()}
    for behind, _, _ in found[:: len(found) // 7]:
        rest = [record for at, record, _ in found if at > behind]
        assert [record for _, record, _ in contents(tmp_path, behind)] == rest


def test_a_reader_goes_on_beside_the_writer(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SMALL)
    reader, at, seen = Reader(tmp_path), Position(), []
    for number in range(1, 200):
        journal.append(recorded(request(number)))
        if number % 3 == 0:
            journal.sync()
        for behind, record, _ in reader.read(at):
            at = behind
            seen.append(record)
            if number % 7 == 0:
                break
    seen += [record for _, record, _ in reader.read(at)]
    reader.close()
    assert seen == [recorded(request(number)) for number in range(1, 200)]
    journal.close()


def test_reading_ends_where_it_was_told_to(tmp_path: Path) -> None:
    journal = Journal(tmp_path, SMALL)
    positions = []
    for number in range(1, 120):
        journal.append(recorded(request(number)))
        positions.append(journal.position)
    reader = Reader(tmp_path)
    for count in (0, 1, 50, 51, 119):
        until = positions[count - 1] if count else Position()
        assert len(contents(tmp_path, until=until)) == count
        assert all(behind <= until for behind, _, _ in reader.read(Position(), until))
    journal.close()
    reader.close()
    with pytest.raises(Damage, match="goes on"):
        contents(tmp_path, until=Position(99, 64))


def test_the_second_writer_is_told_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(JournalBusy, match="another process"):
        Journal(tmp_path)
    script = "import sys; from pathlib import Path; from adserver.ledger.journal import Journal; "
    script += "Journal(Path(sys.argv[1]))"
    other = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert other.returncode != 0 and "JournalBusy" in other.stderr
    journal.close()
    Journal(tmp_path).close()


def test_callers_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, syncs = Journal(tmp_path), []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (syncs.append(fd), real(fd)))

    async def event(number: int) -> Position:
        journal.append(recorded(request(number)))
        mine = journal.position
        await journal.durable()
        assert journal.synced_position >= mine
        return mine

    async def many() -> None:
        await asyncio.gather(*(event(number) for number in range(1000)))
        before = len(syncs)
        await journal.durable()
        assert len(syncs) == before, "nothing new: nothing to sync"

    asyncio.run(many())
    assert 1 <= len(syncs) <= 4
    journal.close()


def test_a_cancelled_caller_takes_nobody_with_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)

    async def main() -> None:
        journal.append(recorded(request(1)))
        tasks = [asyncio.create_task(journal.durable()) for _ in range(10)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [result is None for result in done] == [False, True] * 5

    asyncio.run(main())
    journal.close()


def test_marks_tell_how_far_the_batches_got(tmp_path: Path) -> None:
    write(tmp_path, 40)
    marks = []
    for number in segment_numbers(tmp_path):
        raw = segment_path(tmp_path, number).read_bytes()
        header = segments.decode_header(raw[: segments.HEADER_BYTES])
        found = [mark for _, mark in segments.later_marks(raw, 0, header.seed)]
        durable = [mark.durable for mark in found]
        assert durable == sorted(durable)
        marks.append(found)
    assert all(found[-1].sealed for found in marks[:-1])
    assert not marks[-1][-1].sealed and marks[-1][-1].durable > segments.HEADER_BYTES


def test_a_failed_sync_ends_the_process(tmp_path: Path) -> None:
    script = """
import asyncio, os, sys
from pathlib import Path
from adserver.domain.records import Released
from adserver.ledger.journal import Journal
journal = Journal(Path(sys.argv[1]))
def broken(fd): raise OSError(5, "Input/output error")
os.fdatasync = broken
async def main():
    journal.append(Released(bytes(16), 1, 1))
    await journal.durable()
    print("acknowledged", flush=True)
asyncio.run(main())
"""
    child = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert child.returncode == 74
    assert "acknowledged" not in child.stdout
    assert "fdatasync failed" in child.stderr and len(child.stderr.splitlines()) == 1


def test_a_closed_journal_takes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.close()
    journal.close()
    assert not journal.open
    with pytest.raises(JournalClosed):
        journal.append(recorded(request(1)))


def test_opening_and_closing_writes_nothing(tmp_path: Path) -> None:
    write(tmp_path, 3)
    before = segment_path(tmp_path, 1).read_bytes()
    for _ in range(3):
        Journal(tmp_path).close()
    assert segment_path(tmp_path, 1).read_bytes() == before
