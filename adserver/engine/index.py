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

from array import array
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from adserver.domain import limits
from adserver.engine import masks
from adserver.engine.compiled import kernel
from adserver.engine.image import Sections
from adserver.engine.kept import Kept
from adserver.engine.masks import Bitmap, Masks
from adserver.engine.names import Names
from adserver.engine.postings import CHUNK, Arrays, Posting, full_chunks
from adserver.engine.selectors import (
    NOWHERE,
    PARTS,
    Compiled,
    Dimension,
    Plain,
    Restricted,
    Selector,
    Three,
    offset_of,
)

__all__ = [
    "ADVERTISER", "COUNTER", "EXCLUDE", "INCLUDE", "LABEL", "NOWHERE", "PARTS", "REQUIRED", "SHOWS", "SOLD",
    "STATIC", "Bitmap", "Index", "Restricted", "Selector",
]  # fmt: skip

INCLUDE: Final = 0
EXCLUDE: Final = 1
REQUIRED: Final = 2
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

PLACED: Final = frozenset(("publishers", "placements", "surfaces", "formats"))
"""Dimensions of which the placement says everything, and the request nothing."""

_KEPT_VALUES: Final = 2


class Index:
    """All dimensions any line item restricts, over ``size`` positions."""

    def __init__(self, given: Sections, size: int, dimensions: Iterable[Restricted]) -> None:
        self.size = size
        self.chunks = -(-size // CHUNK)
        self.everybody = full_chunks(size)
        self.arrays = Arrays(given, size)
        self.dimensions = {told.name: Dimension(told, self.arrays) for told in dimensions}
        self._common = {name: told for name, told in self.dimensions.items() if name not in PLACED}
        self._told = tuple(
            (name, offset_of(told.wildcard), offset_of(told.free)) for name, told in self._common.items()
        )
        self._placed = {name: told for name, told in self.dimensions.items() if name in PLACED}
        self._placements: Kept[Hashable, Masks] = Kept(limits.VIEWS_KEPT)
        self._names = Names(given, "values")
        self._postings = given.numbers("postings", "q")
        self._kept: Kept[tuple[str, str], Three] = Kept(limits.VALUES_KEPT)

    def postings(self, dimension: str, value: str) -> Three:
        """Of a value: where it is included, excluded, required; None where nowhere."""
        found = self._kept.get((dimension, value))
        if found is None:
            found = self._kept.put((dimension, value), self._find(dimension, value))
        return found

    def _find(self, dimension: str, value: str) -> Three:
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
        return self._among(self.dimensions, facts)

    def _among(
        self, dimensions: Mapping[str, Dimension], facts: Mapping[str, tuple[str, ...]]
    ) -> list[Selector]:
        if self.arrays.made > limits.CHUNKS_KEPT:
            self._forget()
        found = []
        for name, dimension in dimensions.items():
            values = facts.get(name, ())
            if values or not dimension.silent:
                found.append(dimension.kept.young.get(values) or self._selector(dimension, values))
        return found

    def common(self, facts: dict[str, tuple[str, ...]]) -> Masks:
        """Those that match what a request says at all of its placements. The best chunk, which mostly is
        enough, is made in one call of the kernel, which costs less than to look for what is kept; who looks
        further looks at many chunks, and then it pays to have looked the values up."""
        if kernel is None:
            return Masks(partial(masks.mask, (), self._among(self._common, facts)))
        return Masks(partial(self._common_mask, facts, []))

    def _common_mask(self, facts: dict[str, tuple[str, ...]], found: list[Selector], chunk: int) -> int:
        """``found``: the selectors, once somebody looked further."""
        if chunk > 0:
            found[:] = found or self._among(self._common, facts)
            return masks.mask((), found, chunk)
        arrays, names = self.arrays, self._names.arrays
        bits = kernel.common(arrays.words, arrays.sparse, *names, self._postings, self._told, facts, chunk)
        return int.from_bytes(bits, "little")

    def placed(self, key: Hashable, within: Bitmap, facts: Mapping[str, tuple[str, ...]]) -> Masks:
        """Those of ``within`` that match what a placement says of itself, whoever asks. ``key``: of the
        placement as it is asked for; kept."""
        found = self._placements.young.get(key) or self._placements.get(key)
        if found is None:
            selectors = self._among(self._placed, facts)
            found = self._placements.put(key, Masks(partial(_counted_mask, self.arrays, within, selectors)))
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
            both = offset_of(dimension.wildcard), offset_of(dimension.free)
            program = kernel.program(*self._names.arrays, self._postings, dimension.name, values, *both)
            return Compiled(dimension.name, program, self.arrays)
        name, find, known = dimension.name, self.postings, self._kept.young.get
        each = (known((name, value)) or find(name, value) for value in values)
        return Plain(dimension, [three for three in each if three is not _NOBODY], self.arrays)

    def _forget(self) -> None:
        """A generation goes, so that a part of what was made is left."""
        self._kept.turn()
        self._placements.turn()
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
            bits = masks.mask(within, selectors, chunk)
            if bits:
                yield chunk * CHUNK, bits


def _counted_mask(arrays: Arrays, within: Bitmap, selectors: list[Selector], chunk: int) -> int:
    """Counted among what was made, since it is kept. Of no index, which keeps it: see ``Selector``."""
    arrays.made += 1
    return masks.mask((within,), selectors, chunk)


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


_NOBODY: Final[Three] = (None, None, None)
