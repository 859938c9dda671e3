"""What is due when: ids by the millisecond in which they end.

Most of what is put here ends as long after it began as what was put before, so many share a millisecond and
hardly any order has to be made: a list for each millisecond, and a heap of those there are. A heap of all
ids would be a day's decisions deep, and cost each of them a walk through cold memory. O(1) an id, and
O(log milliseconds) a millisecond (after Varghese and Lauck, Hashed and hierarchical timing wheels, 1987,
with a heap for a hand).
"""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush


class Calendar:
    """Every id stands in it as often as it was put."""

    __slots__ = ("_ids", "_instants")

    def __init__(self, given: Iterable[tuple[int, bytes]] = ()) -> None:
        self._ids: dict[int, list[bytes]] = {}
        self._instants: list[int] = []
        for at_ms, ident in given:
            self.put(at_ms, ident)

    def put(self, at_ms: int, ident: bytes) -> None:
        ids = self._ids.get(at_ms)
        if ids is None:
            self._ids[at_ms] = [ident]
            heappush(self._instants, at_ms)
        else:
            ids.append(ident)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """(when, id) of all, in no order."""
        return ((at_ms, ident) for at_ms, ids in self._ids.items() for ident in ids)

    def over(self, now_ms: int) -> Iterator[tuple[int, bytes]]:
        """(when, id) of those due before ``now_ms``, the earliest first, each taken out as it is given; what
        is put meanwhile is due too if it is."""
        while self._instants and self._instants[0] < now_ms:
            at_ms = self._instants[0]
            ids = self._ids[at_ms]
            if ids:
                yield at_ms, ids.pop()
            else:
                del self._ids[heappop(self._instants)]
