"""A targeting dimension narrowed to some values: which positions of a chunk pass."""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from adserver.domain import limits
from adserver.engine.compiled import kernel
from adserver.engine.kept import Kept
from adserver.engine.postings import DENSE, Arrays, Posting

PARTS: Final = 3
"""Of a value: where it is included, excluded, required."""
NOWHERE: Final = -1
"""Instead of an offset: nobody restricts this part of the dimension."""

Three = tuple[Posting | None, Posting | None, Posting | None]


class Restricted(Struct, frozen=True, array_like=True):
    """A dimension as the image tells it; ``wildcard`` and ``free`` are word offsets of bitmaps."""

    name: str
    wildcard: int
    free: int


class Dimension:
    """One targeting dimension over all positions. Its selectors of few values (most requests have the same
    countries, devices, hours) are kept, and with them the masks already made; of the others the last, which
    the next placement of the same request asks for again."""

    __slots__ = ("free", "kept", "last", "name", "silent", "wildcard")

    def __init__(self, told: Restricted, arrays: Arrays) -> None:
        self.name = told.name
        self.wildcard = _bitmap(told.wildcard, arrays)
        self.free = _bitmap(told.free, arrays)
        self.silent = self.wildcard is None and self.free is None
        """Nobody includes anything: only what a request says can leave somebody out."""
        self.kept: Kept[tuple[str, ...], Selector] = Kept(limits.SELECTORS_KEPT)
        self.last: tuple[tuple[str, ...], Selector] | None = None


class Selector(ABC):
    """A dimension narrowed to some values. It does not refer to the dimension, which may keep it: what goes
    in a circle stays until somebody collects it, and the image with it."""

    __slots__ = ("_arrays", "_masks", "name")

    def __init__(self, name: str, arrays: Arrays) -> None:
        self.name = name
        self._arrays = arrays
        self._masks: dict[int, int] = {}

    def mask(self, chunk: int) -> int:
        """The positions of a chunk that pass."""
        mask = self._masks.get(chunk)
        if mask is None:
            mask = self._masks[chunk] = self._make(chunk)
            self._arrays.made += 1
        return mask

    @property
    @abstractmethod
    def program(self) -> bytes:
        """It as numbers (i64): [wildcard, includes, excludes, free, required] and then the (count, offset)
        of each posting; word offsets, or NOWHERE."""

    @abstractmethod
    def _make(self, chunk: int) -> int: ...


class Compiled(Selector):
    """By the kernel, which also looked the values up."""

    __slots__ = ("_program",)

    def __init__(self, name: str, program: bytes, arrays: Arrays) -> None:
        super().__init__(name, arrays)
        self._program = program

    @property
    def program(self) -> bytes:
        return self._program

    def _make(self, chunk: int) -> int:
        arrays = self._arrays
        return int.from_bytes(kernel.mask(arrays.words, arrays.sparse, self._program, chunk), "little")


class Plain(Selector):
    """The same in Python."""

    __slots__ = ("_exclude", "_free", "_include", "_required", "_wildcard")

    def __init__(self, dimension: Dimension, found: Sequence[Three], arrays: Arrays) -> None:
        super().__init__(dimension.name, arrays)
        self._wildcard, self._free = dimension.wildcard, dimension.free
        self._include, self._exclude, self._required = (
            [posting for three in found if (posting := three[part]) is not None] for part in range(PARTS)
        )

    def _make(self, chunk: int) -> int:
        mask = -1 if self._wildcard is None else self._wildcard[chunk]
        for posting in self._include:
            mask |= posting[chunk]
        for posting in self._exclude:
            mask &= ~posting[chunk]
        if self._free is not None:
            required = self._free[chunk]
            for posting in self._required:
                required |= posting[chunk]
            mask &= required
        return mask

    @property
    def program(self) -> bytes:
        both = (offset_of(self._wildcard), len(self._include), len(self._exclude), offset_of(self._free))
        program = array("q", (*both, len(self._required)))
        for posting in (*self._include, *self._exclude, *self._required):
            program.extend((posting.count, posting.offset))
        return program.tobytes()


def _bitmap(offset: int, arrays: Arrays) -> Posting | None:
    return None if offset == NOWHERE else Posting(arrays, DENSE, offset)


def offset_of(bitmap: Posting | None) -> int:
    return NOWHERE if bitmap is None else bitmap.offset
