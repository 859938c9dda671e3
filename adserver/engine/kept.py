"""What was made of the image and may be asked for again, within bounds.

Two generations: what is asked for again in the old one moves to the new one, and when the new one is full
the old one goes. So a look costs a dictionary's look, and at most ``most`` values are kept, the ones asked
for last among them.
"""

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """At most ``most`` values by key; None is no value. ``young``: the new generation, where the hottest
    paths look themselves before they ``get``, which saves a call."""

    __slots__ = ("_half", "_old", "young")

    def __init__(self, most: int) -> None:
        self._half = max(most // 2, 1)
        self.young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def get(self, key: K) -> V | None:
        found = self.young.get(key)
        if found is None and self._old:
            found = self._old.pop(key, None)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> V:
        if len(self.young) >= self._half:
            self._old, self.young = self.young, {}
        self.young[key] = value
        return value

    def clear(self) -> None:
        self.young, self._old = {}, {}
