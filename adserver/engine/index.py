"""The index: for every targeting dimension and value a bitmap over line items in rank order.

Idea: positions are ranks, so the lowest set bit is the best candidate. Bitmaps are cut into chunks of
4096 positions, each a Python integer; a request ANDs one mask per dimension chunk by chunk from the best
rank down and stops when enough candidates passed, so cost hardly depends on the number of line items.
Big integers AND 4096 bits in some 60 ns, less than NumPy's call overhead.

Per dimension, with F the request's values (domain/targeting.py has the definition this must equal):

    mask = (wildcard | OR include[v], v in F) & ~(OR exclude[v], v in F) & (open | OR required[v], v in F)

``wildcard`` marks line items without ``any``. Of an ``all`` clause only the first value is indexed
(``required``, a necessary condition); the clause itself is checked on the candidates (``partial``).
Postings are sparse by chunk, so a value of few line items costs a few integers, not a bitmap.
Source: Whang et al., Indexing Boolean Expressions, VLDB 2009, for the wildcard; O'Neil, bit-sliced
indexes, SIGMOD 1997, for the rest.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from adserver.domain.targeting import Clause

CHUNK: Final = 4096

_KEPT_VALUES: Final = 2
_KEPT_SELECTORS: Final = 1024

Postings = dict[str, dict[int, int]]
"""value -> chunk number -> bits."""


def full_chunks(size: int) -> list[int]:
    """A bitmap with every position set."""
    return [(1 << min(CHUNK, size - start)) - 1 for start in range(0, size, CHUNK)]


class Dimension:
    """One targeting dimension over all positions."""

    __slots__ = ("_kept", "exclude", "include", "open", "required", "wildcard")

    def __init__(self, size: int) -> None:
        self._kept: dict[tuple[str, ...], Selector] = {}
        self.wildcard = full_chunks(size)
        self.open = full_chunks(size)
        self.include: Postings = {}
        self.exclude: Postings = {}
        self.required: Postings = {}

    def add(self, position: int, clause: Clause) -> None:
        chunk, bit = divmod(position, CHUNK)
        if clause.any:
            self.wildcard[chunk] &= ~(1 << bit)
            _post(self.include, clause.any, chunk, bit)
        if clause.all:
            self.open[chunk] &= ~(1 << bit)
            _post(self.required, clause.all[:1], chunk, bit)
        _post(self.exclude, clause.none, chunk, bit)

    def selector(self, values: tuple[str, ...]) -> "Selector":
        """Of one request's values. Those of few values (most requests have the same countries, devices,
        hours) are kept, and with them the masks already made."""
        kept = self._kept.get(values)
        if kept is None:
            kept = Selector(self, values)
            if len(values) <= _KEPT_VALUES:
                if len(self._kept) >= _KEPT_SELECTORS:
                    self._kept.clear()
                self._kept[values] = kept
        return kept


class Selector:
    """A dimension narrowed to some values."""

    __slots__ = ("_dimension", "_exclude", "_include", "_masks", "_required")

    def __init__(self, dimension: Dimension, values: tuple[str, ...]) -> None:
        self._dimension = dimension
        self._include = _of(dimension.include, values)
        self._exclude = _of(dimension.exclude, values)
        self._required = _of(dimension.required, values)
        self._masks: dict[int, int] = {}

    def mask(self, chunk: int) -> int:
        """The positions of a chunk that pass."""
        mask = self._masks.get(chunk)
        if mask is None:
            mask = self._masks[chunk] = self._make(chunk)
        return mask

    def _make(self, chunk: int) -> int:
        mask = self._dimension.wildcard[chunk]
        for postings in self._include:
            mask |= postings.get(chunk, 0)
        for postings in self._exclude:
            mask &= ~postings.get(chunk, 0)
        if self._dimension.required:
            required = self._dimension.open[chunk]
            for postings in self._required:
                required |= postings.get(chunk, 0)
            mask &= required
        return mask


class Index:
    """All dimensions any line item restricts. ``clauses[p]`` are those of position p."""

    def __init__(self, clauses: Sequence[Mapping[str, Clause]]) -> None:
        self.size = len(clauses)
        self.chunks = -(-self.size // CHUNK)
        self.everybody = full_chunks(self.size)
        self.dimensions: dict[str, Dimension] = {}
        self.partial: set[int] = set()
        for position, by_dimension in enumerate(clauses):
            for name, clause in by_dimension.items():
                self._dimension(name).add(position, clause)
                if len(clause.all) > 1:
                    self.partial.add(position)

    def _dimension(self, name: str) -> Dimension:
        dimension = self.dimensions.get(name)
        if dimension is None:
            dimension = self.dimensions[name] = Dimension(self.size)
        return dimension

    def selectors(self, facts: Mapping[str, tuple[str, ...]]) -> list[Selector]:
        """What ``matches`` walks; dimensions that no line item restricts cost nothing."""
        return [dimension.selector(facts.get(name, ())) for name, dimension in self.dimensions.items()]

    def matches(self, within: Sequence[Sequence[int]], selectors: Iterable[Selector]) -> Iterator[int]:
        """Positions, best rank first, that are set in every bitmap of ``within`` and pass every selector.
        Lazy: a chunk is looked at when the ones before are used up. For ``partial`` positions it is a
        superset: their ``all`` clauses remain to be checked."""
        selectors = list(selectors)
        for chunk in range(self.chunks):
            bits = -1
            for bitmap in within:
                bits &= bitmap[chunk]
            for selector in selectors:
                if not bits:
                    break
                bits &= selector.mask(chunk)
            base = chunk * CHUNK - 1
            while bits:
                low = bits & -bits
                bits ^= low
                yield base + low.bit_length()


def _of(postings: Postings, values: Iterable[str]) -> list[dict[int, int]]:
    return [found for value in values if (found := postings.get(value))]


def _post(postings: Postings, values: Iterable[str], chunk: int, bit: int) -> None:
    for value in values:
        by_chunk = postings.setdefault(value, {})
        by_chunk[chunk] = by_chunk.get(chunk, 0) | 1 << bit
