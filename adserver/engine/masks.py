"""Bits of chunks, made when they are first looked at: once for everybody who looks."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from adserver.engine.selectors import Selector

Bitmap = Sequence[int] | Mapping[int, int]
"""Chunk -> bits."""


class Masks(dict[int, int]):
    """By chunk."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[int], int]) -> None:
        self._make = make

    def __missing__(self, chunk: int) -> int:
        bits = self[chunk] = self._make(chunk)
        return bits


def mask(within: Sequence[Bitmap], selectors: Iterable[Selector], chunk: int) -> int:
    """The positions of a chunk that are set in every bitmap and pass every selector."""
    bits = -1
    for bitmap in within:
        if not bits:
            return 0
        bits &= bitmap[chunk]
    for selector in selectors:
        if not bits:
            break
        bits &= selector.mask(chunk)
    return bits
