"""Which line items a person has capped, known before any of them is looked at.

A person's full counters, mapped through the catalogue, are bits to clear before the walk; so a request costs
nothing for the thousands of line items its person has seen often enough. The bits are exactly those of the
line items that have a full cap (of scope creative excepted), a function of counters, catalogue and time: a
decision does not depend on what was remembered here.

A counter with ``o`` outstanding and confirmed times t1 <= .. <= tk is full for a cap if at least
``limit - o`` of the times lie within its window, so it stays full until the ``limit - o``-th last of them has
passed out of it, unless it moves. So of one person's counters only those are looked at again that moved or
whose time has come. Invariant: ``bits`` is the union of the bits of ``full``. Cost: 1 us a counter looked at;
memory: a list of numbers a person who asked under this catalogue, for so many people at most.
"""

import heapq
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from adserver.domain import limits
from adserver.domain.caps import BoundCap

Bits = Mapping[int, int]
"""Chunk of positions -> bits."""

CapsOn = Callable[[str], tuple[tuple[BoundCap, Bits], ...]]
"""Counter -> the caps that look at it, each with the line items it binds."""

Window = Callable[[BoundCap], tuple[int, int]]
"""Of a cap: how long a time counts, and the time up to which none does."""

FOREVER: Final = 1 << 62


class CappedOut:
    """Of one person, or one session."""

    __slots__ = ("_ends", "_full", "bits", "moved")

    def __init__(self, names: Iterable[str]) -> None:
        self.bits: dict[int, int] = {}
        self.moved = set(names)
        self._full: dict[str, tuple[Bits, ...]] = {}
        self._ends: list[tuple[int, str]] = []

    def refresh(self, counters: Mapping[str, list[int]], caps: CapsOn, window: Window, now_ms: int) -> Bits:
        """The bits as of now."""
        while self._ends and self._ends[0][0] <= now_ms:
            self.moved.add(heapq.heappop(self._ends)[1])
        if self.moved:
            moved = self.moved
            opened = [n for n in moved if self._is_open(n, counters.get(n), caps, window, now_ms)]
            self.moved.clear()
            if opened:
                self._open(opened)
        return self.bits

    def _is_open(
        self, name: str, counter: list[int] | None, caps: CapsOn, window: Window, now_ms: int
    ) -> bool:
        """Take the counter's bits in if it is full; whether it was and is no more."""
        found = []
        for cap, bits in caps(name) if counter is not None else ():
            until_ms = full_until(counter or [0], cap.limit, *window(cap), now_ms)
            if until_ms > now_ms:
                found.append(bits)
                if until_ms < FOREVER:
                    heapq.heappush(self._ends, (until_ms, name))
        if not found:
            return name in self._full
        if name not in self._full:
            for bits in found:
                for chunk, some in bits.items():
                    self.bits[chunk] = self.bits.get(chunk, 0) | some
        self._full[name] = tuple(found)
        return False

    def _open(self, names: list[str]) -> None:
        """These are not full any more: what only they had ruled out is open again."""
        chunks = {chunk for name in names for bits in self._full.pop(name) for chunk in bits}
        for chunk in chunks:
            left = 0
            for several in self._full.values():
                for bits in several:
                    left |= bits.get(chunk, 0)
            if left:
                self.bits[chunk] = left
            else:
                del self.bits[chunk]


class Catalogued(Protocol):
    """The line items served, as far as caps bind them."""

    def capped(self, counter: str, /) -> tuple[tuple[BoundCap, Bits], ...]:
        """The caps that look at a counter, each with the line items it binds."""
        ...


class Remembered:
    """What is kept of people under one catalogue: of those who asked last. In two generations: the older goes
    when the younger is full, a few with everybody who comes, for ten thousand let go at once stop a request
    for a millisecond. (To delete the first of a dictionary again and again walks past all that once were.)"""

    __slots__ = ("_catalogue", "_gone", "_old", "_window", "_young")

    def __init__(self, window: Window) -> None:
        self._window = window
        self._catalogue: weakref.ref[Catalogued] | None = None
        self._young: dict[bytes, CappedOut] = {}
        self._old: dict[bytes, CappedOut] = {}
        self._gone: list[dict[bytes, CappedOut]] = []

    def bits(
        self, who: bytes | None, counters: Mapping[str, list[int]] | None, catalogue: Catalogued, now_ms: int
    ) -> Bits:
        """The line items that are capped for somebody with these ``counters``."""
        if who is None or not counters:
            return _NOBODY
        if self._catalogue is None or self._catalogue() is not catalogue:
            self._gone += (self._young, self._old)
            self._catalogue, self._young, self._old = weakref.ref(catalogue), {}, {}
        kept = self._young.get(who)
        if kept is None:
            kept = self._keep(who, self._old.pop(who) if who in self._old else CappedOut(counters))
        return kept.refresh(counters, catalogue.capped, self._window, now_ms)

    def _keep(self, who: bytes, capped: CappedOut) -> CappedOut:
        self.shed(1)
        if len(self._young) >= limits.PEOPLE_KEPT // 2:
            self._gone.append(self._old)
            self._old, self._young = self._young, {}
        self._young[who] = capped
        return capped

    def moved(self, who: bytes, counter: str) -> None:
        """This counter of somebody has changed."""
        kept = self._young.get(who) or self._old.get(who)
        if kept is not None:
            kept.moved.add(counter)

    def forget(self, who: bytes) -> None:
        self._young.pop(who, None)
        self._old.pop(who, None)

    def shed(self, most: int) -> None:
        """Let some go of those that nobody is asked for any more."""
        while self._gone and most > 0:
            if self._gone[-1]:
                self._gone[-1].popitem()
                most -= 1
            else:
                self._gone.pop()

    def clear(self) -> None:
        self._young.clear()
        self._old.clear()


_NOBODY: Final[Bits] = {}


def full_until(counter: list[int], limit: int, per_ms: int, after_ms: int, now_ms: int) -> int:
    """The instant from which a cap has room if nothing moves: ``FOREVER`` where only what is outstanding
    fills it, ``now_ms`` or earlier where it has room already. Times up to ``after_ms`` do not count."""
    missing = limit - counter[0]
    if missing <= 0:
        return FOREVER
    if missing >= len(counter) or counter[-missing] <= after_ms:
        return now_ms
    return counter[-missing] + per_ms
