"""The compiled kernel: it finds what sets of positions say, and reads nothing it was not given.

Arrays and programs are random, with sizes around the borders of words and chunks. That the index with the
kernel finds what a scan finds, and what it finds without it, is asked in ``test_index.py``.
"""

from array import array
from collections.abc import Iterable
from itertools import accumulate, chain
from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

kernel = pytest.importorskip("adserver.engine._kernel", reason="built without a compiler")

Buffer = bytes | bytearray | memoryview | array
CHUNK: Final = 4096
EVERYBODY: Final = -1
DENSE: Final = -1
WORDS: Final = bytes(8 * 64)
ALL: Final = array("q", [EVERYBODY, 0, 0, EVERYBODY, 0]).tobytes()
TOO_FAR: Final = 2**62
SIZES = st.sampled_from([0, 1, 63, 64, 65, 4095, 4096, 4097, 8191, 8192, 8193, 9000])
SHARES = st.sampled_from([0.0, 0.0005, 0.3, 0.9, 1.0])
"""Of all positions, how many a posting has."""
Shares = list[tuple[float, bool]]
"""Postings to be made: their share, and whether they are dense."""
Drawn = tuple[float, Shares, Shares, float, Shares]


def bitmap(size: int, positions: Iterable[int]) -> bytes:
    """Padded to whole chunks."""
    bits = bytearray(-(-size // CHUNK) * (CHUNK // 8))
    for position in positions:
        bits[position // 8] |= 1 << position % 8
    return bytes(bits)


class Arrays:
    """The two arrays of an image, as they grow."""

    def __init__(self, size: int, chance: Random) -> None:
        self.size = size
        self.chance = chance
        # Something in front, so that an offset of 0 is not right by luck.
        self.words = bytearray(b"\xa5" * 8 * 7)
        self.sparse = array("I", [5, 3])

    def some(self, share: float) -> set[int]:
        return {position for position in range(self.size) if self.chance.random() < share}

    def dense(self, positions: set[int]) -> int:
        offset = len(self.words) // 8
        self.words += bitmap(self.size, positions)
        return offset

    def posting(self, share: float, dense: bool) -> tuple[set[int], tuple[int, int]]:
        positions = self.some(share)
        if dense:
            return positions, (DENSE, self.dense(positions))
        offset = len(self.sparse)
        self.sparse.extend(sorted(positions))
        return positions, (len(positions), offset)

    def union(self, base: float, postings: Shares) -> tuple[set[int], int, list[int]]:
        """Positions, word offset of the base, and the postings' numbers; ``base`` is a share or EVERYBODY."""
        passing = self.some(1.0 if base == EVERYBODY else base)
        offset = EVERYBODY if base == EVERYBODY else self.dense(passing)
        numbers = list[int]()
        for share, dense in postings:
            positions, pair = self.posting(share, dense)
            passing = passing | positions
            numbers += pair
        return passing, offset, numbers


Bases = st.one_of(st.just(EVERYBODY), SHARES)
Postings = st.lists(st.tuples(SHARES, st.booleans()), max_size=3)
Programs = st.tuples(Bases, Postings, Postings, Bases, Postings)


def program(arrays: Arrays, drawn: Drawn) -> tuple[set[int], "array[int]"]:
    wildcard, include, exclude, opened, require = drawn
    included, first, includes = arrays.union(wildcard, include)
    excluded, _, excludes = arrays.union(0.0, exclude)
    required, second, requires = arrays.union(opened, require)
    counts = [len(numbers) // 2 for numbers in (includes, excludes, requires)]
    numbers = array("q", [first, *counts[:2], second, counts[2], *includes, *excludes, *requires])
    return (included - excluded) & required, numbers


def walk(words: Buffer, sparse: Buffer, program: "array[int]", chunk: int) -> list[int]:
    """The positions of a chunk that pass a program."""
    bits = kernel.mask(words, sparse, program, chunk)
    return array("I", kernel.positions(bits, chunk * CHUNK)).tolist()


@settings(deadline=None)
@given(SIZES, Programs, st.integers(0, 2**32))
def test_a_mask_is_what_the_sets_say(size: int, drawn: Drawn, seed: int) -> None:
    arrays = Arrays(size, Random(seed))
    passing, numbers = program(arrays, drawn)
    for chunk in range(-(-size // CHUNK)):
        found = walk(arrays.words, arrays.sparse, numbers, chunk)
        assert [p for p in found if p < size] == [p for p in sorted(passing) if p // CHUNK == chunk]


@settings(deadline=None)
@given(st.lists(st.sampled_from([1, 2, 63, 700, CHUNK, 30_000]), max_size=60))
def test_a_sparse_posting_is_found_in_each_chunk(gaps: list[int]) -> None:
    positions = list(accumulate(gaps))
    size = positions[-1] + 1 if positions else 0
    arrays = Arrays(size, Random(0))
    arrays.sparse.extend(positions)
    only = array("q", [arrays.dense(set()), 1, 0, EVERYBODY, 0, len(positions), 2])
    found = (walk(arrays.words, arrays.sparse, only, chunk) for chunk in range(-(-size // CHUNK)))
    assert list(chain.from_iterable(found)) == positions


def test_the_first_position_of_a_chunk_is_found_behind_any_others() -> None:
    for before in range(100):
        sparse = array("I", [*range(before), CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK])
        only = array("q", [0, 1, 0, EVERYBODY, 0, len(sparse), 0])
        assert walk(bytes(3 * 512), sparse, only, 0) == list(range(before))
        assert walk(bytes(3 * 512), sparse, only, 1) == [CHUNK, CHUNK + 1, 2 * CHUNK - 1]
        assert walk(bytes(3 * 512), sparse, only, 2) == [2 * CHUNK]


@settings(deadline=None)
@given(st.sets(st.integers(0, CHUNK - 1)), st.sampled_from([0, 1, 4096, 70_001, 2**32 - CHUNK]))
def test_positions_are_the_bits_that_are_set(bits: set[int], first: int) -> None:
    found = array("I", kernel.positions(bitmap(CHUNK, bits), first))
    assert found.tolist() == [first + bit for bit in sorted(bits)]


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "wrong"),
    [
        ([EVERYBODY, 0, 0, EVERYBODY], "cut short"),
        ([EVERYBODY, 1, 0, EVERYBODY, 0], "more postings"),
        ([EVERYBODY, 0, 1, EVERYBODY, 1, 0, 0], "more postings"),
        ([EVERYBODY, -1, 1, EVERYBODY, 0], "more postings"),
        ([EVERYBODY, 0, 0, EVERYBODY, -1], "more postings"),
        ([EVERYBODY, 0, -1, 0, 1], "more postings"),
        ([EVERYBODY, 0, TOO_FAR, EVERYBODY, TOO_FAR], "more postings"),
        ([EVERYBODY, TOO_FAR, TOO_FAR, EVERYBODY, 0], "more postings"),
        ([1, 0, 0, EVERYBODY, 0], "bitmap outside"),
        ([-2, 0, 0, EVERYBODY, 0], "bitmap outside"),
        ([TOO_FAR, 0, 0, EVERYBODY, 0], "bitmap outside"),
        ([EVERYBODY, 0, 0, 1, 0], "bitmap outside"),
        ([0, 1, 0, EVERYBODY, 0, DENSE, 1], "bitmap outside"),
        ([0, 1, 0, EVERYBODY, 0, DENSE, EVERYBODY], "bitmap outside"),
        ([0, 1, 0, EVERYBODY, 0, -2, 0], "posting outside"),
        ([0, 1, 0, EVERYBODY, 0, 4, 0], "posting outside"),
        ([0, 1, 0, EVERYBODY, 0, 3, 1], "posting outside"),
        ([0, 1, 0, EVERYBODY, 0, 1, -1], "posting outside"),
        ([0, 1, 0, EVERYBODY, 0, TOO_FAR, TOO_FAR], "posting outside"),
        ([EVERYBODY, 0, 1, EVERYBODY, 0, 1, TOO_FAR], "posting outside"),
    ],
)
def test_a_corrupt_program_is_refused(numbers: list[int], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        walk(WORDS, array("I", [1, 2, 3]), array("q", numbers), 0)


def test_a_chunk_behind_the_bitmaps_is_refused() -> None:
    for program in ([0, 0, 0, EVERYBODY, 0], [EVERYBODY, 0, 1, EVERYBODY, 0, DENSE, 0]):
        walk(WORDS, b"", array("q", program), 0)
        with pytest.raises(ValueError, match="bitmap outside"):
            walk(WORDS, b"", array("q", program), 1)


@pytest.mark.parametrize("sparse", [[CHUNK, CHUNK + 1, 3], [CHUNK + 1, CHUNK + 2, CHUNK + 5, 0]])
def test_positions_that_fall_back_are_refused(sparse: list[int]) -> None:
    program = array("q", [EVERYBODY, 0, 1, EVERYBODY, 0, len(sparse), 0])
    with pytest.raises(ValueError, match="ascend"):
        walk(b"", array("I", sparse), program, 1)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"chunk": -1}, "no position"),
        ({"chunk": 2**20}, "no position"),
        ({"words": b"1234567"}, "whole, aligned"),
        ({"sparse": b"123"}, "whole, aligned"),
        ({"program": ALL[4:]}, "whole, aligned"),
        ({"program": memoryview(b"...." + ALL + b"....")[4:44]}, "whole, aligned"),
        ({"words": memoryview(WORDS)[4:-4]}, "whole, aligned"),
        ({"sparse": memoryview(bytes(8))[2:6]}, "whole, aligned"),
    ],
)
def test_unusable_arguments_are_refused(change: dict[str, object], wrong: str) -> None:
    given = {"words": WORDS, "sparse": b"", "program": ALL, "chunk": 0}
    assert kernel.mask(*given.values()) == b"\xff" * 512
    with pytest.raises(ValueError, match=wrong):
        kernel.mask(*(given | change).values())


@pytest.mark.parametrize(
    ("size", "first"), [(0, 0), (511, 0), (513, 0), (512, -1), (512, 2**32 - CHUNK + 1), (512, 2**40)]
)
def test_what_are_no_bits_of_a_chunk_is_refused(size: int, first: int) -> None:
    with pytest.raises(ValueError, match="not the bits of a chunk"):
        kernel.positions(bytes(size), first)


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_garbage_is_refused_or_read_within_bounds(seed: int) -> None:
    """Run under AddressSanitizer, this says that nothing else was read."""
    chance = Random(seed)
    sparse = array("I", sorted(chance.randrange(9000) for _ in range(chance.randrange(50))))
    if sparse and chance.random() < 0.5:
        sparse[chance.randrange(len(sparse))] = chance.getrandbits(32)
    words = chance.randbytes(8 * chance.choice([0, 1, 64, 128, 191, 192, 300]))
    numbers = [garbage(chance) for _ in range(chance.randrange(40))]
    if chance.random() < 0.8 and len(numbers) > 5:
        pairs = (len(numbers) - 5) // 2
        numbers[1] = chance.randint(0, pairs)
        numbers[2] = chance.randint(0, pairs - numbers[1])
        numbers[4] = chance.randint(0, pairs - numbers[1] - numbers[2])
    chunk = chance.randrange(3)
    try:
        found = walk(words, sparse, array("q", numbers), chunk)
    except ValueError:
        return
    assert found == sorted(set(found))
    assert all(position // CHUNK == chunk for position in found)


def garbage(chance: Random) -> int:
    """What a program holds, mostly."""
    return chance.choice(
        [-1, -1, -2, 0, 0, 0, 1, 1, 2, chance.randrange(200), chance.getrandbits(64) - 2**63]
    )
