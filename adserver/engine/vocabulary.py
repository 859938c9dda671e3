"""The values that a snapshot's line items name, as numbers: how a decision's facts are kept with it.

A fact that no line item names can decide nothing (what is in no table narrows no dimension), so a request is
kept as the rows of those that are: in the table of values that the index finds them by, and behind it in that
of the values that line items want ``all`` of, of which the index holds the first. Rows are written in order,
each as its distance from the one before in two bytes; ``_FAR`` stands for that distance and no row. Row and
name belong together only in images of one revision, so these bytes are read with the image of the decision's.
Cost: a look into the table for each value; some 60 bytes for thirty of a hundred thousand.
"""

from collections.abc import Iterable
from operator import sub
from struct import Struct as Packing
from typing import Final

from adserver.domain import expressions, limits
from adserver.engine import checks
from adserver.engine.checks import Name
from adserver.engine.compiled import kernel
from adserver.engine.image import Sections
from adserver.engine.kept import Kept
from adserver.engine.names import Names
from adserver.engine.values import name_of

Facts = dict[str, tuple[str, ...]]

POINT: Final = ("geo", "lat")
"""Among the names that are looked at it stands for the whole point."""
_LON: Final = ("geo", "lon")

ALSO: Final = "also"
"""The second table."""

_FAR: Final = 0xFFFF
_MANY: Final = 64
_PACKINGS: Final = tuple(Packing(f"<{count}H") for count in range(_MANY))


class Vocabulary:
    """``looked_at``: the names that line items ask of requests in expressions and the like
    (``engine.checks``); None where they are too many."""

    def __init__(
        self, given: Sections, dimensions: Iterable[str], looked_at: tuple[Name, ...] | None
    ) -> None:
        self.looked_at = looked_at
        self._names = Names(given, "values")
        self._also = Names(given, ALSO)
        self._arrays = *self._names.arrays, *self._also.arrays
        self._rows: dict[str, Kept[str, int]] = {name: Kept(limits.VALUES_KEPT) for name in dimensions}

    def pack(self, facts: Facts) -> bytes:
        """The values that are in the table. The kernel has just found most of them for the walk."""
        if kernel is not None:
            return kernel.pack(*self._arrays, facts)
        distinct = sorted({-1, *self._found(facts)})
        return _packed([*map(sub, distinct[1:], distinct)])

    def _found(self, facts: Facts) -> Iterable[int]:
        for dimension, values in facts.items():
            rows = self._rows.get(dimension)
            if rows is not None:
                yield from (self._row(rows, dimension, value) for value in values)

    def unpack(self, packed: bytes) -> dict[str, tuple[str, ...]]:
        """Facts that decide what those packed did. Raises ValueError for rows that are not in the table."""
        facts: dict[str, list[str]] = {}
        row = -1
        for (far,) in Packing("<H").iter_unpack(packed):
            row += far
            if far != _FAR:
                dimension, _, value = self._name(row).partition("\0")
                facts.setdefault(dimension, []).append(value)
        return {dimension: tuple(values) for dimension, values in facts.items()}

    def _row(self, rows: Kept[str, int], dimension: str, value: str) -> int:
        """-1 where no line item names it."""
        row = rows.get(value)
        if row is None:
            name = name_of(dimension, value)
            row = self._names.row(name)
            if row < 0 and (behind := self._also.row(name)) >= 0:
                row = len(self._names) + behind
            rows.put(value, row)
        return row

    def _name(self, row: int) -> str:
        first = len(self._names)
        if not 0 <= row < first + len(self._also):
            raise ValueError(f"the snapshot has no value {row}")
        return self._names.name(row) if row < first else self._also.name(row - first)


def _packed(far: list[int]) -> bytes:
    packing = _PACKINGS[len(far)] if len(far) < _MANY else Packing(f"<{len(far)}H")
    if not far or max(far) < _FAR:
        return packing.pack(*far)
    split = [part for one in far for part in (*(_FAR,) * (one // _FAR), one % _FAR)]
    return Packing(f"<{len(split)}H").pack(*split)


def looked_at(asked: tuple[checks.Check, ...]) -> set[Name]:
    """The names of all that they ask of a request."""
    found: set[Name] = set()
    for check in asked:
        if isinstance(check, checks.Custom):
            names = (name.parts for name in expressions.names(check.tree))
            found.update(POINT if name == _LON else name for name in names)
        elif isinstance(check, checks.Radius):
            found.add(POINT)
        else:
            found.add(("page", "url") if isinstance(check, checks.Patterns) else ("device", "os_version"))
    return found
