"""What the hash chain and the digests of personal parts tell, and what erasing leaves."""

from pathlib import Path

import pytest
from ledger_samples import contents, decided, person, recorded, request, write

from adserver.domain.records import Personal
from adserver.ledger import segments
from adserver.ledger.files import segment_path
from adserver.ledger.journal import Journal
from adserver.ledger.segments import Damage


def erase(path: Path, personal: Personal) -> None:
    """What erasing a person will do: zeros over the personal part."""
    raw = bytearray(path.read_bytes())
    secret = segments.ENCODER.encode(personal)
    at = raw.index(secret)
    raw[at : at + len(secret)] = bytes(len(secret))
    path.write_bytes(raw)


def test_a_person_can_be_erased_and_the_chain_holds(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(decided(request(1)), person(1))
    journal.append(decided(request(2)), person(2))
    journal.close()
    erase(segment_path(tmp_path, 1), person(1))
    found = [(record, personal) for _, record, personal in contents(tmp_path)]
    assert found == [(decided(request(1)), None), (decided(request(2)), person(2))]
    Journal(tmp_path).close()


def test_another_person_put_in_is_damage(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(decided(request(1)), person(1))
    journal.close()
    path = segment_path(tmp_path, 1)
    ours, other = segments.ENCODER.encode(person(1)), segments.ENCODER.encode(person(9))
    path.write_bytes(path.read_bytes().replace(ours, other))
    with pytest.raises(Damage, match="personal part"):
        contents(tmp_path)
    with pytest.raises(Damage, match="personal part"):
        Journal(tmp_path)


def test_a_replaced_segment_is_seen(tmp_path: Path) -> None:
    """Whole in itself, but not the one that was there: the chain over segments tells."""
    write(tmp_path / "a", 60)
    write(tmp_path / "b", 60)
    segment_path(tmp_path / "a", 2).write_bytes(segment_path(tmp_path / "b", 2).read_bytes())
    with pytest.raises(Damage, match="hash chain"):
        contents(tmp_path / "a")


def test_a_reforged_frame_breaks_the_chain(tmp_path: Path) -> None:
    """A frame rewritten with a right CRC: only the chain, told by the marks, knows."""
    write(tmp_path, 10, 64 * 1024)
    path = segment_path(tmp_path, 1)
    raw = path.read_bytes()
    seed = segments.decode_header(raw[: segments.HEADER_BYTES]).seed
    true, false = recorded(request(3)), recorded(request(3), billed=1_000_000)
    old, new = (segments.encode_frame(record, None, seed)[0] for record in (true, false))
    assert len(old) == len(new) and old in raw
    path.write_bytes(raw.replace(old, new))
    with pytest.raises(Damage, match="hash chain broken"):
        contents(tmp_path)
