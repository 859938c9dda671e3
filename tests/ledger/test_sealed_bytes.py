"""A changed, missing or added byte anywhere in a sealed segment is found and named."""

import random
from pathlib import Path

import pytest
from ledger_samples import write

from adserver.domain.books import Position
from adserver.ledger import segments
from adserver.ledger.audit_walk import Walk
from adserver.ledger.files import segment_numbers, segment_path
from adserver.ledger.segments import HEADER_BYTES, SEGMENT_BYTES_MIN, Header, decode_header

pytestmark = pytest.mark.slow

NAMED = ("segment 1 ", "segment 2 offset 0")
"""The next one's header tells the chain of the whole."""


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sealed")
    write(directory, 60, SEGMENT_BYTES_MIN)
    assert len(segment_numbers(directory)) > 2 and audited(directory) == []
    return directory


def audited(directory: Path) -> list[str]:
    told: list[str] = []
    for _ in Walk(0, directory, Position(), told.append).records():
        pass
    return told


def found(journal: Path, raw: bytes) -> bool:
    """With these bytes as its first segment."""
    path = segment_path(journal, 1)
    true = path.read_bytes()
    path.write_bytes(raw)
    told = audited(journal)
    path.write_bytes(true)
    return len(told) == 1 and any(name in told[0] for name in NAMED)


def test_a_changed_byte(journal: Path) -> None:
    """Every one of them, the header's and the zeros behind the seal too."""
    true = segment_path(journal, 1).read_bytes()
    for at in range(len(true)):
        raw = bytearray(true)
        raw[at] ^= 1 << at % 8
        assert found(journal, bytes(raw)), at


def test_a_missing_and_an_added_byte(journal: Path) -> None:
    true, chance = segment_path(journal, 1).read_bytes(), random.Random(7)
    for at in [0, HEADER_BYTES, len(true) - 1, *chance.sample(range(len(true)), 100)]:
        assert found(journal, true[:at] + true[at + 1 :]), at
        for byte in (b"\0", b"x"):
            assert found(journal, true[:at] + byte + true[at:]), at
    assert found(journal, true + b"\0") and found(journal, true + b"x")


def test_a_missing_segment(journal: Path) -> None:
    for number in (1, 2):
        path = segment_path(journal, number)
        true = path.read_bytes()
        path.unlink()
        assert audited(journal) == [f"journal damaged: segment {number} offset 0: the segment is missing"]
        path.write_bytes(true)


def test_a_segment_of_before_headers_told_sizes(tmp_path: Path) -> None:
    """It is read as it was, its size is nobody's word."""
    write(tmp_path, 3)
    header = decode_header(segment_path(tmp_path, 1).read_bytes()[:HEADER_BYTES])
    older = Header(header.number, header.previous)
    assert header.size and older.encode()[36:] == bytes(28) and decode_header(older.encode()) == older
    assert segments.chain_of(older).digest() != segments.chain_of(header).digest()
