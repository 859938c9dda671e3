"""Frames read in a row are those read one by one, in C and in Python."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import SMALL, decided, person, recorded, request, write

from adserver.domain.books import Position
from adserver.domain.records import Closed, Mark, Personal, Record
from adserver.ledger import cursor, rows, segments
from adserver.ledger.files import segment_path
from adserver.ledger.journal import Journal
from adserver.ledger.reader import Reader
from adserver.ledger.segments import Damage, Frame

SEED = 0x5EED

records = st.one_of(
    st.builds(lambda n: recorded(request(n)), st.integers(1, 2**40)),
    st.builds(lambda n: decided(request(n)), st.integers(1, 2**40)),
    st.builds(Mark, st.integers(0, 2**20), st.binary(min_size=16, max_size=16)),
    st.just(Closed("advertiser:1", 600, 0, (("EUR", 1),), 99, 64, bytes(16))),
)
names = st.none() | st.binary(min_size=16, max_size=16)
people = st.none() | st.builds(Personal, st.binary(min_size=8, max_size=8), names, names)
PLAIN = st.builds(lambda n: recorded(request(n)), st.integers(1, 2**40))


@pytest.fixture(params=["compiled", "python"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Read in both ways."""
    if request.param == "python":
        monkeypatch.setattr(rows, "compiled", None)
    elif rows.compiled is None:
        pytest.skip("built without a compiler")
    return str(request.param)


@given(st.lists(st.tuples(records, people), max_size=6), st.binary(max_size=20), st.data())
def test_c_tells_what_python_tells(told: list[Any], rest: bytes, data: st.DataObject) -> None:
    """Of whole frames and of damaged ones; of erased people; up to any end."""
    octets = pytest.importorskip("adserver._octets", reason="built without a compiler")
    raw = bytearray(b"xyz" + b"".join(segments.encode_frame(*both, SEED)[0] for both in told) + rest)
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] ^= data.draw(st.integers(0, 255))
    for _, personal in told:
        secret = b"" if personal is None else segments.ENCODER.encode(personal)
        if secret in raw and data.draw(st.booleans()):
            raw[raw.index(secret) : raw.index(secret) + len(secret)] = bytes(len(secret))
    at, stop = data.draw(st.sampled_from((3, 0, len(raw)))), data.draw(st.integers(0, len(raw) + 9))
    given = bytes(raw), at, stop, data.draw(st.integers(0, 7)), SEED
    assert octets.booked(*given) == rows._read(*given)


@pytest.mark.parametrize("flip", [1, 128])
def test_no_frame_with_a_changed_byte_is_told(either: str, flip: int) -> None:
    one, two = (
        segments.encode_frame(recorded(request(number)), person(number), SEED)[0] for number in (1, 2)
    )
    for place in range(len(one + two)):
        raw = bytearray(one + two)
        raw[place] ^= flip
        assert rows.read(bytes(raw), 0, len(raw), 9, 0, SEED).count == (place >= len(one)), place


@pytest.mark.parametrize("given", [(b"", 0, 0, 0), ("", 0, 0, 0, 0), (b"", -1, 0, 0, 0), (b"", 0, "1", 0, 0)])
def test_what_is_no_row_is_a_mistake(given: tuple[Any, ...]) -> None:
    octets = pytest.importorskip("adserver._octets", reason="built without a compiler")
    with pytest.raises((TypeError, OverflowError)):
        octets.booked(*given)


@settings(max_examples=30)
@given(st.lists(st.tuples(PLAIN, people), min_size=1, max_size=9), st.data())
def test_a_row_is_hashed_in_any_pieces(told: list[Any], data: st.DataObject) -> None:
    """As marks ask: up to the end of some frame, each byte once."""
    raw = b"".join(segments.encode_frame(*both, SEED)[0] for both in told)
    row = rows.read(raw, 0, len(raw), 99, 1000, SEED)
    ends, covered = [1000], [b""]
    while isinstance(frame := segments.parse_frame(raw, ends[-1] - 1000, 1000, SEED), Frame):
        ends.append(frame.end)
        covered.append(covered[-1] + frame.covered)
    assert (row.count, row.end) == (len(told), ends[-1])
    taken, hashed = b"", 1000
    for place in data.draw(st.lists(st.integers(0, len(told)), max_size=5)):
        end, more = row.take(ends[place])
        taken, hashed = taken + more, max(hashed, end)
        assert (taken, hashed) == (covered[ends.index(hashed)], max(hashed, ends[place]))


def booked(directory: Path, most: int, until: Position | None = None) -> Iterator[Any]:
    """All of them, so many at a time by one reader."""
    with closing(Reader(directory)) as reader:
        at = Position()
        while found := reader.booked(at, until, most):
            assert len(found) <= most
            at = reader.behind
            yield from found


def one_by_one(directory: Path, until: Position | None = None) -> list[Any]:
    with closing(Reader(directory)) as reader:
        return [
            None if type(record).__name__ in ("Decided", "Released") else (record, personal)
            for _, record, personal in reader.read(Position(), until)
        ]


def filled(directory: Path) -> list[Position]:
    """Segments of everything there is; where records end."""
    journal, ends = Journal(directory, SMALL), []
    closing = Closed("advertiser:1", 600, 0, (("EUR", 1),), 99, 64, bytes(16))
    for number in range(1, 150):
        told: list[tuple[Record, Personal | None]] = [
            (decided(request(number)), person(number)),
            (recorded(request(number)), person(number) if number % 3 else None),
        ]
        for record, personal in [*told, *([(closing, None)] if number % 40 == 0 else [])]:
            journal.append(record, personal)
            ends.append(journal.position)
        if number % 7 == 0:
            journal.sync()
    journal.close()
    return ends


@pytest.mark.parametrize("most", [1, 2, 5, 64, 10_000])
def test_in_rows_as_one_by_one(tmp_path: Path, either: str, most: int) -> None:
    ends = filled(tmp_path)
    assert segment_path(tmp_path, 3).exists()
    assert list(booked(tmp_path, most)) == one_by_one(tmp_path)
    for until in ends[:: len(ends) // 5]:
        assert list(booked(tmp_path, most, until)) == one_by_one(tmp_path, until)


@pytest.mark.parametrize("read_bytes", [100, 777])
def test_frames_that_lie_across_what_is_read_at_once(
    tmp_path: Path, either: str, read_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    whole = one_by_one(tmp_path)
    monkeypatch.setattr(cursor, "READ_BYTES", read_bytes)
    assert list(booked(tmp_path, 10_000)) == list(booked(tmp_path, 3)) == one_by_one(tmp_path) == whole


def test_from_any_record_on(tmp_path: Path, either: str) -> None:
    ends, whole = filled(tmp_path), one_by_one(tmp_path)
    for count in range(0, len(ends), 17):
        with closing(Reader(tmp_path)) as reader:
            assert reader.booked(ends[count], None, 3) == whole[count + 1 : count + 4]
            assert reader.behind == ends[min(count + 3, len(ends) - 1)]


def test_rows_are_in_the_chain_too(tmp_path: Path, either: str) -> None:
    """A frame rewritten with a right CRC: only the chain, told by the marks, knows."""
    write(tmp_path, 10, 64 * 1024)
    path = segment_path(tmp_path, 1)
    raw = path.read_bytes()
    seed = segments.decode_header(raw[: segments.HEADER_BYTES]).seed
    old, new = (
        segments.encode_frame(recorded(request(3), billed=nanos), None, seed)[0]
        for nanos in (None, 1_000_000)
    )
    assert len(old) == len(new) and old in raw
    path.write_bytes(raw.replace(old, new))
    with pytest.raises(Damage, match="hash chain broken"):
        list(booked(tmp_path, 1000))


def test_another_person_in_a_row_is_damage(tmp_path: Path, either: str) -> None:
    journal = Journal(tmp_path)
    for number in (1, 2, 3):
        journal.append(recorded(request(number)), person(number))
    journal.close()
    path = segment_path(tmp_path, 1)
    ours, other = segments.ENCODER.encode(person(2)), segments.ENCODER.encode(person(9))
    path.write_bytes(path.read_bytes().replace(ours, other))
    with pytest.raises(Damage, match="personal part"):
        list(booked(tmp_path, 1000))


class Strange(msgspec.Struct, array_like=True, tag=2):
    """What an event is not."""

    event_id: str = "no bytes"


def test_it_is_told_where_a_record_cannot_be_read(tmp_path: Path, either: str) -> None:
    journal = Journal(tmp_path)
    journal.append(recorded(request(1)))
    at = journal.position
    journal.append(Strange())  # type: ignore[arg-type]
    journal.append(recorded(request(2)))
    journal.close()
    with pytest.raises(Damage, match="cannot be read") as found:
        list(booked(tmp_path, 1000))
    assert found.value.offset == at.offset
