"""Where the blocks of an image lie: in the image itself, or in files beside it that several images share."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct

from adserver.engine.image import ImageError, Sections

_FIELDS: Final = 4
"""Of a block: its file (0 is the image), from where, how many bytes, and their checksum."""


class Store(Struct, frozen=True, eq=False):
    """A file of blocks, mapped. What it holds at a place never changes, it only grows; no other file ever had
    its ``number`` in this process (from 1 on)."""

    number: int
    given: memoryview


class Places:
    """``stores``: the files the image names. Raises ImageError for a block that is outside of them: then a
    file was cut."""

    def __init__(self, given: Sections, stores: Sequence[Store]) -> None:
        self._stores = [given.bytes("blocks"), *(store.given for store in stores)]
        self._numbers = (0, *(store.number for store in stores))
        self._table = table = given.numbers("places", "Q")
        of, first, size, _ = np.frombuffer(table, np.uint64).reshape(-1, _FIELDS).T
        lengths = np.array([store.nbytes for store in self._stores], np.uint64)
        if (of >= len(lengths)).any() or (first + size > lengths[of]).any():
            raise ImageError("the image's blocks are not where they were")

    def bytes(self, block: int, first: int, end: int) -> memoryview:
        store, start = self._table[_FIELDS * block], self._table[_FIELDS * block + 1]
        return self._stores[store][start + first : start + end]

    def lies(self, block: int, first: int) -> tuple[int, int]:
        """(number of the file, where in it) of a byte of a block; the image itself is 0."""
        store, start = self._table[_FIELDS * block], self._table[_FIELDS * block + 1]
        return self._numbers[store], start + first

    def check(self) -> None:
        """Read all of every block. Raises ImageError unless each is what was there."""
        table = self._table.tolist()
        for place in range(0, len(table), _FIELDS):
            store, first, size, checksum = table[place : place + _FIELDS]
            block = Sections(self._stores[store][first : first + size])
            block.check()
            if block.checksum != checksum:
                raise ImageError("a block of the image is another")
