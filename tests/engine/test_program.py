"""A dimension narrowed to values: the kernel's program, Python's, and what a dictionary says.

"plumless" and "buckeroo" have one CRC, and so have any two rows of as many of them.
"""

from array import array
from collections.abc import Iterable, Mapping
from itertools import product
from random import Random
from typing import Final
from zlib import crc32

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adserver.engine import index as indexes
from adserver.engine import names
from adserver.engine.image import Image, Sections
from adserver.engine.index import NOWHERE, PARTS, Index, Restricted
from adserver.engine.names import Names

Pair = tuple[int, int]
Three = tuple[Pair, Pair, Pair]
Table = Mapping[tuple[str, str], Three]

SIZE: Final = 4096
WORDS: Final = bytes(3 * SIZE // 8)
SPARSE: Final = np.arange(100, dtype=np.uint32)
DIMENSIONS: Final = ("d", "de", "é")
TWINS: Final = [["".join(row) for row in product(("plumless", "buckeroo"), repeat=n)] for n in (1, 2, 8)]

VALUES = st.one_of(
    *map(st.sampled_from, TWINS),
    st.sampled_from(["", "\0", "a\0", "a\0b", "a", "ab", "é", "日本", "😀", "x" * 5000, "x" * 5000 + "y"]),
    st.text(max_size=4),
)
PAIRS = st.one_of(
    st.just((0, 0)),
    st.tuples(st.just(-1), st.integers(0, 128)),
    st.tuples(st.integers(1, 50), st.integers(0, 50)),
)
TABLES = st.dictionaries(st.tuples(st.sampled_from(DIMENSIONS), VALUES), st.tuples(PAIRS, PAIRS, PAIRS))
OFFSETS = st.sampled_from([NOWHERE, 0, 64])


def sections(table: Table) -> Sections:
    """As ``assemble`` writes them."""
    plain = [f"{dimension}\0{value}".encode() for dimension, value in table]
    hashes = np.array([names.hash_of(name) for name in plain], np.uint32)
    order = names.order_of(plain, hashes)
    threes = list(table.values())
    postings = np.array([threes[number] for number in order.tolist()], np.int64)
    columns = names.sections("values", [plain[number] for number in order.tolist()], hashes[order])
    return Sections(bytes(Image(columns | {"words": WORDS, "sparse": SPARSE, "postings": postings})))


def said(table: Table, told: Restricted, values: Iterable[str]) -> list[int]:
    """The program, from a dictionary."""
    threes = [table[told.name, value] for value in values if (told.name, value) in table]
    parts = [[three[part] for three in threes if three[part][0]] for part in range(PARTS)]
    counts = list(map(len, parts))
    return [
        told.wildcard,
        *counts[:2],
        told.free,
        counts[2],
        *(n for part in parts for pair in part for n in pair),
    ]


@settings(deadline=None)
@given(TABLES, OFFSETS, OFFSETS, st.lists(VALUES, max_size=8), st.integers(0, 2**32))
@example({("d", value): ((1, 7), (0, 0), (-1, 64)) for value in TWINS[2]}, 0, NOWHERE, TWINS[2], 0)
def test_the_kernel_finds_what_python_finds(
    table: Table, wildcard: int, free: int, others: list[str], seed: int
) -> None:
    given = sections(table)
    chance = Random(seed)
    for told in (Restricted(name, wildcard, free) for name in DIMENSIONS):
        values = [*others, *chance.sample([value for _, value in table], min(len(table), 40))]
        values += values[:2]
        wanted = said(table, told, values)
        for kernel in {indexes.kernel, None}:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(indexes, "kernel", kernel)
                found = Index(given, SIZE, [told]).selectors({told.name: tuple(values)})
            assert [array("q", one.program).tolist() for one in found] == [wanted] * bool(
                values or wildcard != NOWHERE or free != NOWHERE
            )


@settings(deadline=None)
@given(TABLES, VALUES)
@example({("d", value): ((1, 7), (0, 0), (0, 0)) for value in TWINS[2]}, TWINS[2][77])
def test_a_name_is_at_its_row(table: Table, other: str) -> None:
    there = Names(sections(table), "values")
    told = {there.name(row): row for row in range(len(there))}
    assert told.keys() == {f"{dimension}\0{value}" for dimension, value in table}
    for name in (*told, *(f"{dimension}\0{other}" for dimension in DIMENSIONS)):
        assert there.row(name.encode()) == told.get(name, -1)


def test_names_of_one_hash_are_bisected(monkeypatch: pytest.MonkeyPatch) -> None:
    """No catalogue can be written of which a look is slow."""
    table = {("d", value): ((1, 7), (0, 0), (0, 0)) for value in TWINS[2]}
    looked: list[int] = []
    plain = Names._plain
    monkeypatch.setattr(Names, "_plain", lambda self, row: (looked.append(row), plain(self, row))[1])
    there = Names(sections(table), "values")
    for value in TWINS[2]:
        looked.clear()
        assert there.row(f"d\0{value}".encode()) >= 0
        assert len(looked) <= 10  # of 256


# -- the kernel alone ------------------------------------------------------------------------------

HASH: Final = crc32(b"d\0plumless")
assert crc32(b"d\0buckeroo") == HASH
GOOD: Final = {
    "hashes": array("I", [HASH, HASH]),
    "ends": array("Q", [0, 10, 20]),
    "text": b"d\0buckerood\0plumless",
    "postings": array("q", [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 11, 12]),
    "dimension": "d",
    "values": ("plumless", "nobody", "buckeroo"),
    "wildcard": -1,
    "free": 64,
}
compiled = pytest.mark.skipif(indexes.kernel is None, reason="built without a compiler")


def program(change: Mapping[str, object]) -> list[int]:
    assert indexes.kernel is not None
    found: bytes = indexes.kernel.program(*(GOOD | change).values())  # type: ignore[arg-type]
    return array("q", found).tolist()


@compiled
def test_a_part_follows_the_other() -> None:
    assert program({}) == [-1, 2, 1, 64, 2, 7, 8, 1, 2, 3, 4, 11, 12, 5, 6]
    assert program({"values": ()}) == program({"dimension": "e"}) == [-1, 0, 0, 64, 0]


@compiled
@pytest.mark.parametrize("row", [b"d\0plum", b"d\0plumlessness", b"d", b"d\0", b""])
def test_a_part_of_a_name_is_not_the_name(row: bytes) -> None:
    """Under the hash of the name asked for."""
    change = {"hashes": [HASH], "ends": [0, len(row)], "postings": [1] * 6}
    columns = {key: array(code, change[key]) for key, code in zip(change, "IQq", strict=True)}
    assert program(columns | {"text": row, "values": ("plumless",)}) == [-1, 0, 0, 64, 0]


@compiled
def test_the_kernel_bisects_names_of_one_hash() -> None:
    """It finds the last without having looked at the first, which is corrupt."""
    twins = sorted(f"d\0{value}" for value in TWINS[2])
    ends = array("Q", (len(twins[0]) * number for number in range(len(twins) + 1)))
    ends[0] = 2**64 - 1
    change = {
        "hashes": array("I", [crc32(twins[0].encode())] * len(twins)),
        "ends": ends,
        "text": "".join(twins).encode(),
        "postings": array("q", [1, 7, 0, 0, 0, 0] * len(twins)),
    }
    assert program(change | {"values": (twins[-1][2:],)}) == [-1, 1, 0, 64, 0, 1, 7]
    with pytest.raises(ValueError, match="outside of the text"):
        program(change | {"values": (twins[0][2:],)})


@compiled
@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"ends": array("Q", [0, 10, 21])}, "outside of the text"),
        ({"ends": array("Q", [0, 2**64 - 1, 20])}, "outside of the text"),
        ({"ends": array("Q", [0, 21, 20])}, "outside of the text"),
        ({"text": b""}, "outside of the text"),
        ({"hashes": array("I", [HASH])}, "not as many"),
        ({"ends": array("Q", [0, 10])}, "not as many"),
        ({"ends": b""}, "not as many"),
        ({"postings": array("q", [0] * 11)}, "not as many"),
        ({"postings": array("q", [0] * 18)}, "not as many"),
        ({"hashes": b"1234567"}, "whole, aligned"),
        ({"hashes": memoryview(bytes(12))[2:10]}, "whole, aligned"),
        ({"ends": memoryview(bytes(32))[4:28]}, "whole, aligned"),
        ({"postings": bytes(97)}, "whole, aligned"),
        ({"dimension": "a\0b"}, "null character"),
    ],
)
def test_a_corrupt_table_is_refused(change: Mapping[str, object], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        program(change)


@compiled
@pytest.mark.parametrize("change", [{"values": ("a", 1)}, {"values": ["a"]}, {"dimension": b"d"}])
def test_what_is_no_string_is_refused(change: Mapping[str, object]) -> None:
    with pytest.raises(TypeError):
        program(change)


@compiled
@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_garbage_is_refused_or_read_within_bounds(seed: int) -> None:
    """Run under AddressSanitizer, this says that nothing else was read."""
    chance = Random(seed)
    rows = chance.choice([0, 1, 2, 5, 100])
    text = b"".join(chance.choice([b"d\0plumless", b"d\0buckeroo"]) for _ in range(rows))
    ends = [chance.choice([10 * row, 10 * row, 10 * row, chance.getrandbits(64)]) for row in range(rows + 1)]
    change = {
        "hashes": array("I", [chance.choice([HASH, HASH, 0, 2**32 - 1]) for _ in range(rows)]),
        "ends": array("Q", ends),
        "text": text[: chance.choice([len(text), len(text) // 2])],
        "postings": array("q", [chance.getrandbits(64) - 2**63 for _ in range(6 * rows)]),
        "values": tuple(
            chance.choices(["plumless", "buckeroo", "", "plumlesss"], k=chance.choice([0, 1, 90]))
        ),
    }
    try:
        found = program(change)
    except ValueError:
        return
    assert len(found) == 5 + 2 * (found[1] + found[2] + found[4])


# -- what several dimensions have in common --------------------------------------------------------

FRANCE: Final = crc32(b"countries\0FR")
COMMON: Final = {
    "words": array("Q", [0b0110, *[0] * 63, 0b1111, *[0] * 63]),
    "sparse": array("I", [3, 5]),
    "hashes": array("I", [FRANCE]),
    "ends": array("Q", [0, 12]),
    "text": b"countries\0FR",
    "postings": array("q", [2, 0, 0, 0, 0, 0]),
    "dimensions": (("countries", 0, -1), ("devices", 64, -1)),
    "facts": {"countries": ("FR", "DE")},
    "chunk": 0,
}


def common(change: Mapping[str, object]) -> int:
    assert indexes.kernel is not None
    found: bytes = indexes.kernel.common(*(COMMON | change).values())  # type: ignore[arg-type]
    return int.from_bytes(found, "little")


@compiled
def test_all_dimensions_narrow_what_passes() -> None:
    assert common({}) == 0b1110, "wildcards and line item 3, not 5, which wants another device"
    assert common({"dimensions": (("countries", 0, -1),)}) == 0b101110
    assert common({"facts": {}}) == 0b0110
    assert common({"dimensions": ()}) == (1 << 4096) - 1


@compiled
@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"chunk": -1}, "chunk that no position has"),
        ({"chunk": 1}, "outside of the words"),
        ({"chunk": 2**40}, "chunk that no position has"),
        ({"postings": array("q", [3, 0, 0, 0, 0, 0])}, "outside of the positions"),
        ({"postings": array("q", [-1, 2**61, 0, 0, 0, 0])}, "outside of the words"),
        ({"postings": array("q", [1, 2**62 + 1, 0, 0, 0, 0])}, "outside of the positions"),
        ({"hashes": array("I", [FRANCE, FRANCE])}, "not as many"),
        ({"ends": array("Q", [0, 13])}, "outside of the text"),
        ({"words": bytes(9)}, "whole, aligned"),
        ({"sparse": memoryview(bytes(12))[2:10]}, "whole, aligned"),
    ],
)
def test_what_lies_outside_is_refused(change: Mapping[str, object], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        common(change)


@compiled
@pytest.mark.parametrize(
    "change",
    [
        {"dimensions": ("countries",)},
        {"dimensions": (("countries", 0),)},
        {"dimensions": ((b"countries", 0, -1),)},
        {"dimensions": [("countries", 0, -1)]},
        {"facts": {"countries": ["FR"]}},
        {"facts": {"countries": ("FR", 7)}},
        {"facts": (("countries", ("FR",)),)},
    ],
)
def test_what_is_no_fact_or_dimension_is_refused(change: Mapping[str, object]) -> None:
    with pytest.raises(TypeError):
        common(change)
