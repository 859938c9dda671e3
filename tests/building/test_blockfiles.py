"""Files of blocks: what is written is found again, whole or not at all, and nothing of use is lost."""

import random
from collections.abc import Iterable, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from adserver.building import blockfiles
from adserver.building.blockfiles import BlockFiles
from adserver.domain.campaign import Advertiser
from adserver.engine.rows import block
from adserver.engine.values import Values

LINEAGE = (7, "line")


def given(*serials: int, name: str = "x") -> dict[str, memoryview]:
    made = {f"k{n}": block(Values(), Advertiser(f"brand-{n}", n, name * n), ()) for n in serials}
    return {key: one.sections.whole for key, one in made.items()}


def lineages(wanted: Iterable[int]) -> Mapping[int, str]:
    return {last: "line" for last in wanted if last <= 9}


def held(files: BlockFiles) -> dict[str, bytes]:
    return {key: bytes(one.block.sections.whole) for key, one in files.held.items()}


def plain(blocks: dict[str, memoryview]) -> dict[str, bytes]:
    return {key: bytes(one) for key, one in blocks.items()}


def taken_up(folder: Path, *wanted: str, program: str = "p") -> BlockFiles:
    files = BlockFiles(folder, program)
    files.take_up(wanted, lineages)
    return files


def stored(files: BlockFiles, folder: Path) -> list[bytes]:
    """What an image would find of them."""
    blocks, where = files.in_order()
    texts = [(folder / name).read_bytes() for name in where.files]
    sizes = [one.sections.whole.nbytes for one in blocks]
    return [texts[of][at : at + size] for (of, at), size in zip(where.places.tolist(), sizes, strict=True)]


def test_what_was_written_is_taken_up(tmp_path: Path) -> None:
    first = BlockFiles(tmp_path / "new", "p")
    first.add(given(1, 2, 3), *LINEAGE)
    first.add(given(4), *LINEAGE)
    first.keep(["k1", "k3", "k4"])
    assert stored(first, tmp_path / "new") == [bytes(one) for one in given(1, 3, 4).values()]
    again = taken_up(tmp_path / "new", "k4", "k2", "k9")
    assert held(again) == plain(given(2, 4))
    # Each process writes a file of its own.
    again.add(given(5), *LINEAGE)
    assert stored(again, tmp_path / "new") == [bytes(one) for one in given(2, 4, 5).values()]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["1.blocks", "2.blocks"]


def test_large_batches_are_mapped_and_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockfiles, "_MAPPED_BYTES", 1)
    files = BlockFiles(tmp_path, "p")
    files.add(given(1, 2), *LINEAGE)
    files.add(given(3), *LINEAGE)
    assert held(files) == plain(given(1, 2, 3))


def test_blocks_of_another_program_or_of_other_serials_are_not(tmp_path: Path) -> None:
    files = BlockFiles(tmp_path, "p")
    files.add(given(1), *LINEAGE)
    files.add(given(2), 7, "another")
    files.add(given(3), 10, "line")
    assert held(taken_up(tmp_path, "k1", "k2", "k3")) == plain(given(1))
    assert held(taken_up(tmp_path, "k1", program="q")) == {}


def test_a_damaged_file_gives_what_is_whole(tmp_path: Path) -> None:
    """Cut anywhere, or a bit of it changed."""
    files = BlockFiles(tmp_path, "p")
    files.add(given(1, 2), *LINEAGE)
    files.add(given(3), *LINEAGE)
    path, chance = tmp_path / "1.blocks", random.Random(5)
    whole, wanted = path.read_bytes(), plain(given(1, 2, 3))
    assert held(taken_up(tmp_path, *wanted)) == wanted
    seen = set()
    for _ in range(150):
        path.write_bytes(whole[: chance.randrange(len(whole))])
        found = held(taken_up(tmp_path, *wanted))
        assert found.items() <= wanted.items() and len(found) < 3
        seen.add(len(found))
        place, bit = chance.randrange(len(whole)), 1 << chance.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        owners = {key: one.block.advertiser for key, one in taken_up(tmp_path, *wanted).held.items()}
        assert owners.items() <= {key: one.block.advertiser for key, one in files.held.items()}.items()
    assert seen == {0, 1, 2}


def test_a_disk_without_room_costs_nothing_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = BlockFiles(tmp_path, "p")
    files.add(given(1), *LINEAGE)
    left = 1
    write = FileIO.write

    class Full(FileIO):
        def write(self, given: Any) -> int:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(28, "No space left on device")
            return write(self, given)

    monkeypatch.setattr(Path, "open", lambda path, mode, buffering=0: Full(path, mode))
    with pytest.raises(OSError, match="No space"):
        files.add(given(2, 3), *LINEAGE)
    assert held(files) == plain(given(1))
    left = 1
    with pytest.raises(OSError, match="No space"):
        files.gather(*LINEAGE)
    assert [path.name for path in tmp_path.iterdir()] == ["1.blocks"]
    monkeypatch.undo()
    files.add(given(4), *LINEAGE)
    assert held(files) == plain(given(1, 4))
    assert stored(files, tmp_path) == [bytes(one) for one in given(1, 4).values()]
    assert held(taken_up(tmp_path, "k1", "k2", "k4")) == plain(given(1, 4))


def test_files_mostly_of_no_use_are_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockfiles, "_WASTED_BYTES", 0)
    files = BlockFiles(tmp_path, "p")
    files.add(given(1, 2, 3, 4), *LINEAGE)
    assert not files.wasteful
    files.keep(["k2"])
    assert files.wasteful
    files.gather(*LINEAGE)
    assert not files.wasteful
    assert files.in_order()[1].files == ("2.blocks",)
    files.add(given(5), *LINEAGE)
    assert stored(files, tmp_path) == [bytes(one) for one in given(2, 5).values()]
    (tmp_path / "1.blocks").unlink()
    assert held(taken_up(tmp_path, "k1", "k2", "k5")) == plain(given(2, 5))


def test_too_many_files_are_gathered(tmp_path: Path) -> None:
    for number in range(blockfiles._FILES_MAX + 1):
        files = taken_up(tmp_path, *(f"k{n + 1}" for n in range(number)))
        assert not files.wasteful
        files.add(given(number + 1), *LINEAGE)
    assert files.wasteful
    files.gather(*LINEAGE)
    assert not files.wasteful and len(files.held) == blockfiles._FILES_MAX + 1


def test_a_removed_file_is_noticed(tmp_path: Path) -> None:
    files = BlockFiles(tmp_path / "blocks", "p")
    files.add(given(1), *LINEAGE)
    assert files.whole
    (tmp_path / "blocks" / "1.blocks").unlink()
    (tmp_path / "blocks").rmdir()
    assert not files.whole
    files.gather(*LINEAGE)
    assert files.whole and stored(files, tmp_path / "blocks") == [bytes(given(1)["k1"])]
