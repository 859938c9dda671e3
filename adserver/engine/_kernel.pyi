from array import array

_Numbers = bytes | bytearray | memoryview | array[int]

def mask(words: _Numbers, sparse: _Numbers, program: _Numbers, chunk: int) -> bytes:
    """``Selector.mask`` of a chunk, as its 512 bytes. ``words`` are u64, ``sparse`` u32, ``program`` i64 (see
    ``Selector.program``). ValueError for a program or positions that lead outside of what was given."""

def positions(bits: _Numbers, first: int) -> bytes:
    """Those of the bits that are set in 512 bytes, ascending, as u32; the lowest bit stands for ``first``."""
