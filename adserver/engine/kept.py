"""What was made of the image and may be asked for again, within bounds.

Two generations: what is asked for again in the old one moves to the young one, and when the young one is
full the old one goes. So a look costs a dictionary's look, and what was asked for last is kept. What goes
is let go a little with every new value: to free 20 000 values at once would stop a request for 20 ms.
"""

from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_SHED: Final = 16
"""Values of a generation let go in one turn: some 50 us where they are line items."""


class Kept(Generic[K, V]):
    """At most ``most`` values by key; None is no value. ``young``: the young generation, where the hottest
    paths look themselves before they ``get``, which saves a call."""

    __slots__ = ("_gone", "_half", "_old", "young")

    def __init__(self, most: int) -> None:
        self._half = max(most // 2, 1)
        self.young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._gone: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self.young) + len(self._old) + len(self._gone)

    def get(self, key: K) -> V | None:
        found = self.young.get(key)
        if found is None and self._old:
            found = self._old.pop(key, None)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> V:
        if len(self.young) >= self._half:
            self.turn()
        if self._gone:
            # One goes for one that comes, so all have gone when the next generation is to go.
            try:
                self._gone.popitem()
            except KeyError:
                pass  # another thread took the last: at worst a value is made again
        self.young[key] = value
        return value

    def shed(self) -> bool:
        """Let some of it go; False when nothing is left. Many would stop whoever waits meanwhile."""
        for generation in (self.young, self._old, self._gone):
            for _ in range(min(len(generation), _SHED)):
                generation.popitem()
        return bool(len(self))

    def turn(self) -> None:
        """The young are old from now on, and the old go."""
        self._gone, self._old, self.young = self._old, self.young, {}
