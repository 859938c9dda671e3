"""What Redis has yet to hear of what became of ads, in order. Bounded: a store that cannot be told everything
any more is told anew all that there is (``agreement``)."""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from adserver.domain import limits
from adserver.state.shared.mirror import Told

_AT_ONCE: Final = 200


class Untold:
    def __init__(self) -> None:
        self._waiting: deque[Told] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Told]:
        return iter(tuple(self._waiting))

    def put(self, told: Told) -> bool:
        """False where there is no room: then nothing waits any more."""
        if len(self._waiting) >= limits.STATE_UNTOLD:
            self._waiting.clear()
            return False
        self._waiting.append(told)
        return True

    def some(self) -> list[Told]:
        """The first of them: all at once would take Redis longer than anybody waits."""
        return list(islice(self._waiting, _AT_ONCE))

    def heard(self, told: Told) -> None:
        """In the order in which they wait. What was cleared meanwhile, or stands behind one that Redis
        refused, stays."""
        if self._waiting and self._waiting[0] is told:
            self._waiting.popleft()

    def take(self, whose: Callable[[bytes], bool]) -> list[Told]:
        """Those of some people, in order; they wait here no more. ``whose``: asked of their roots."""
        told = [one for one in self._waiting if whose(one.who.root)]
        if told:
            self._waiting = deque(one for one in self._waiting if not whose(one.who.root))
        return told

    def clear(self) -> None:
        self._waiting.clear()
