"""The index: for every targeting dimension and value a bitmap over line items in rank order.

Idea: positions are ranks, so the lowest set bit is the best candidate. Bitmaps are cut into chunks of
4096 positions, each a Python integer; a request ANDs one mask per dimension chunk by chunk from the best
rank down and stops when enough candidates passed, so cost hardly depends on the number of line items.
Big integers AND 4096 bits in some 60 ns, less than NumPy's call overhead.

Per dimension, with F the request's values (domain/targeting.py has the definition this must equal):

    mask = (wildcard | OR include[v], v in F) & ~(OR exclude[v], v in F) & (free | OR required[v], v in F)

``wildcard`` marks line items without ``any``. Of an ``all`` clause only the first value is indexed
(``required``, a necessary condition); the clause itself is checked on the candidates (``PARTIAL``).
What a placement can show, and what its publisher blocks, are postings too (``STATIC``): a kind of
placement is a fixed mask over them, and costs nothing per line item.
All of it is read from the image (``postings``); what was read is kept within bounds.
Source: Whang et al., Indexing Boolean Expressions, VLDB 2009, for the wildcard; O'Neil, bit-sliced
indexes, SIGMOD 1997, for the rest.
"""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from adserver.domain import limits
from adserver.engine.image import Sections
from adserver.engine.kept import Kept
from adserver.engine.names import Names
from adserver.engine.postings import CHUNK, DENSE, Arrays, Posting, full_chunks

_CONTRACT: Final = 2
try:
    from adserver.engine import _kernel as kernel

    if getattr(kernel, "CONTRACT", 0) != _CONTRACT:
        # A build of other sources than these, left behind: not one whose answers would mean this.
        kernel = None  # type: ignore[assignment]
except ImportError:
    # Built without a compiler: the same in Python.
    kernel = None  # type: ignore[assignment]

INCLUDE: Final = 0
EXCLUDE: Final = 1
REQUIRED: Final = 2
PARTS: Final = 3
NOWHERE: Final = -1
"""Instead of an offset: nobody restricts this part of the dimension."""

SOLD: Final = "=sold"
"""Active line items, by currency."""
SHOWS: Final = "=shows"
"""Line items with an active creative, by its format and by its format and size."""
ADVERTISER: Final = "=advertiser"
LABEL: Final = "=label"
COUNTER: Final = "=counter"
"""Counters of caps that bind siblings."""
STATIC: Final = frozenset((SOLD, SHOWS, ADVERTISER, LABEL, COUNTER))
"""What no request can change; no targeting dimension begins with ``=``."""

Bitmap = Sequence[int] | Mapping[int, int]
"""Chunk -> bits."""

_KEPT_VALUES: Final = 2
_Three = tuple[Posting | None, Posting | None, Posting | None]


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


class _Compiled(Selector):
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


class _Plain(Selector):
    """The same in Python."""

    __slots__ = ("_exclude", "_free", "_include", "_required", "_wildcard")

    def __init__(self, dimension: Dimension, found: Sequence[_Three], arrays: Arrays) -> None:
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
        both = (_offset(self._wildcard), len(self._include), len(self._exclude), _offset(self._free))
        program = array("q", (*both, len(self._required)))
        for posting in (*self._include, *self._exclude, *self._required):
            program.extend((posting.count, posting.offset))
        return program.tobytes()


class Index:
    """All dimensions any line item restricts, over ``size`` positions."""

    def __init__(self, given: Sections, size: int, dimensions: Iterable[Restricted]) -> None:
        self.size = size
        self.chunks = -(-size // CHUNK)
        self.everybody = full_chunks(size)
        self.arrays = Arrays(given, size)
        self.dimensions = {told.name: Dimension(told, self.arrays) for told in dimensions}
        self._names = Names(given, "values")
        self._postings = given.numbers("postings", "q")
        self._kept: Kept[tuple[str, str], _Three] = Kept(limits.VALUES_KEPT)

    def postings(self, dimension: str, value: str) -> _Three:
        """Of a value: where it is included, excluded, required; None where nowhere."""
        found = self._kept.get((dimension, value))
        if found is None:
            found = self._kept.put((dimension, value), self._find(dimension, value))
        return found

    def _find(self, dimension: str, value: str) -> _Three:
        row = self._names.row(f"{dimension}\0{value}".encode())
        if row < 0:
            return _NOBODY
        first = row * PARTS * 2
        numbers = self._postings[first : first + PARTS * 2].tolist()
        include, exclude, required = (
            Posting(self.arrays, count, offset) if count else None
            for count, offset in zip(numbers[::2], numbers[1::2], strict=True)
        )
        return include, exclude, required

    def selectors(self, facts: Mapping[str, tuple[str, ...]]) -> list[Selector]:
        """What ``matches`` walks; dimensions that no line item restricts cost nothing, nor do those that
        hold nothing but ``none`` and of which the request says nothing."""
        if self.arrays.made > limits.CHUNKS_KEPT:
            self._forget()
        found = []
        for name, dimension in self.dimensions.items():
            values = facts.get(name, ())
            if values or not dimension.silent:
                found.append(dimension.kept.young.get(values) or self._selector(dimension, values))
        return found

    def _selector(self, dimension: Dimension, values: tuple[str, ...]) -> Selector:
        if len(values) > _KEPT_VALUES:
            last = dimension.last
            if last is None or last[0] is not values:
                last = dimension.last = (values, self._narrowed(dimension, values))
            return last[1]
        kept = dimension.kept.get(values)
        return dimension.kept.put(values, self._narrowed(dimension, values)) if kept is None else kept

    def _narrowed(self, dimension: Dimension, values: tuple[str, ...]) -> Selector:
        if kernel is not None:
            both = _offset(dimension.wildcard), _offset(dimension.free)
            program = kernel.program(*self._names.arrays, self._postings, dimension.name, values, *both)
            return _Compiled(dimension.name, program, self.arrays)
        name, find, known = dimension.name, self.postings, self._kept.young.get
        each = (known((name, value)) or find(name, value) for value in values)
        return _Plain(dimension, [three for three in each if three is not _NOBODY], self.arrays)

    def _forget(self) -> None:
        """A generation goes, so that a part of what was made is left."""
        self._kept.turn()
        for dimension in self.dimensions.values():
            dimension.kept.turn()
        self.arrays.made //= 2

    def matches(self, within: Sequence[Bitmap], selectors: Iterable[Selector]) -> Iterator[int]:
        """Positions, best rank first, that are set in every bitmap of ``within`` and pass every selector.
        For ``PARTIAL`` positions it is a superset: their ``all`` clauses remain to be checked."""
        for base, bits in self.masks(within, selectors):
            yield from positions(bits, base)

    def masks(self, within: Sequence[Bitmap], selectors: Iterable[Selector]) -> Iterator[tuple[int, int]]:
        """The same as bits: (a chunk's first position, its matches), chunks without any left out. Lazy: a
        chunk is looked at when the ones before are used up."""
        selectors = list(selectors)
        for chunk in range(self.chunks):
            bits = self.mask(chunk, within, selectors)
            if bits:
                yield chunk * CHUNK, bits

    def mask(self, chunk: int, within: Sequence[Bitmap], selectors: Iterable[Selector]) -> int:
        """The matches of one chunk."""
        bits = -1
        for bitmap in within:
            bits &= bitmap[chunk]
        for selector in selectors:
            if not bits:
                break
            bits &= selector.mask(chunk)
        return bits


def positions(bits: int, first: int) -> Iterable[int]:
    """Of the bits that are set in a chunk, ascending; the lowest bit stands for ``first``."""
    if kernel is not None:
        return array("I", kernel.positions(bits.to_bytes(CHUNK // 8, "little"), first))
    return _positions(bits, first - 1)


def _positions(bits: int, base: int) -> Iterator[int]:
    while bits:
        low = bits & -bits
        bits ^= low
        yield base + low.bit_length()


_NOBODY: Final[_Three] = (None, None, None)


def _bitmap(offset: int, arrays: Arrays) -> Posting | None:
    return None if offset == NOWHERE else Posting(arrays, DENSE, offset)


def _offset(bitmap: Posting | None) -> int:
    return NOWHERE if bitmap is None else bitmap.offset
