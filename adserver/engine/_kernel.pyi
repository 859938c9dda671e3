from array import array
from typing import Final

CONTRACT: Final[int]

_Numbers = bytes | bytearray | memoryview | array[int]

def mask(words: _Numbers, sparse: _Numbers, program: _Numbers, chunk: int) -> bytes:
    """``Selector.mask`` of a chunk, as its 512 bytes. ``words`` are u64, ``sparse`` u32, ``program`` i64 (see
    ``Selector.program``). ValueError for a program or positions that lead outside of what was given."""

def program(
    hashes: _Numbers, ends: _Numbers, text: _Numbers, postings: _Numbers,
    dimension: str, values: tuple[str, ...], wildcard: int, free: int,
) -> bytes:  # fmt: skip
    """``Selector.program`` of a dimension narrowed to some values: of each the six numbers of its row in
    ``postings`` (i64), found as ``Names.row`` does; ``hashes`` are u32, ``ends`` u64. ValueError for a table
    whose names lie outside of its text or whose columns are not of one length."""

def common(
    words: _Numbers, sparse: _Numbers, hashes: _Numbers, ends: _Numbers, text: _Numbers, postings: _Numbers,
    dimensions: tuple[tuple[str, int, int], ...], facts: dict[str, tuple[str, ...]], chunk: int,
) -> bytes:  # fmt: skip
    """The positions of a chunk that pass all ``dimensions`` (name, wildcard, free), as its 512 bytes: what
    ``mask`` says of each one's ``program`` for the values that ``facts`` has of it."""

def pack(
    hashes: _Numbers, ends: _Numbers, text: _Numbers,
    also_hashes: _Numbers, also_ends: _Numbers, also_text: _Numbers, facts: dict[str, tuple[str, ...]],
) -> bytes:  # fmt: skip
    """``Vocabulary.pack``: of all values of all dimensions, ``Names.row`` of those that are in either table.
    ValueError as above; TypeError for facts that are no tuples."""

def positions(bits: _Numbers, first: int) -> bytes:
    """Those of the bits that are set in 512 bytes, ascending, as u32; the lowest bit stands for ``first``."""

def mix(seed: int, salt: int, /) -> int:
    """As ``draw.mix``: both as they are in 64 bits."""

def below(seed: int, salt: int, n: int, /) -> int:
    """As ``draw.below``; ``n`` of at most 64 bits."""
