"""How fast events come, by whom: a limit a minute, in one number for each who comes.

A level rises by one with each event and sinks steadily by the limit a minute; whoever pushes it above the
limit is too fast (a leaky bucket as a meter; ITU-T I.371 calls it virtual scheduling: what is kept is the
time at which the level would be zero). So the window slides, nobody is too fast who keeps to the limit in
every minute, and whoever keeps above it stays too fast until slower. A level stands above the limit by one
event at most, so a minute of quiet mends all but that one. All is integers: time counts in units of a
millisecond divided by the limit, in which one event is exactly 60 000.

Memory: a level that has sunk to nothing is as good as none, so a table nobody touched for two minutes goes
as a whole; one that grows too large goes sooner, which can only forgive. Nothing outlives the process.
"""

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key")

_MINUTE: Final = 60_000
_SHED: Final = 8
"""Let go with each number put: to free a whole table at once would stop the loop for milliseconds."""


class Fading(Generic[Key]):
    """Numbers by key, kept for ``life_ms`` at least since they were put, and up to about twice as long: there
    is a young table and an old one. With more than ``most`` in a table they go sooner."""

    def __init__(self, life_ms: int, most: int) -> None:
        self._life_ms = life_ms
        self._most = most
        self._young: dict[Key, int] = {}
        self._old: dict[Key, int] = {}
        self._gone: dict[Key, int] = {}
        self._turn_ms = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old) + len(self._gone)

    def get(self, key: Key) -> int | None:
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def put(self, key: Key, value: int, now_ms: int) -> None:
        if self._gone or now_ms > self._turn_ms or len(self._young) >= self._most:
            self._turn(now_ms)
        self._young[key] = value

    def put_all(self, keys: Iterable[Key], value: int, now_ms: int) -> None:
        """``put`` each."""
        for key in keys:
            if self._gone or now_ms > self._turn_ms or len(self._young) >= self._most:
                self._turn(now_ms)
            self._young[key] = value

    def _turn(self, now_ms: int) -> None:
        """Make room, if it is time or a table is full."""
        if now_ms > self._turn_ms or len(self._young) >= self._most:
            self._gone, self._old, self._young = self._old, self._young, {}
            self._turn_ms = now_ms + self._life_ms
        for _ in range(min(_SHED, len(self._gone))):
            self._gone.popitem()


class Tempo(Fading[Key]):
    """``per_minute``: the limit, at least 1; ``most``: keys in a table. Kept: when a level will be empty."""

    def __init__(self, per_minute: int, most: int) -> None:
        super().__init__(2 * _MINUTE, most)
        self._limit = per_minute
        self._full = _MINUTE * per_minute

    def exceeds(self, key: Key, now_ms: int, counts: bool) -> bool:
        """Whether this event is too fast. ``counts``: it is a new one, else it is asked how it stands."""
        now, full = now_ms * self._limit, self._full
        empty_at = self._young.get(key)
        if empty_at is None:
            empty_at = self._old.get(key, 0)
        level = empty_at - now if empty_at > now else 0
        if not counts:
            return level > full
        if level > full:
            level = full
        # As ``put`` does: a call costs as much as all else here.
        if self._gone or now_ms > self._turn_ms or len(self._young) >= self._most:
            self._turn(now_ms)
        self._young[key] = now + level + _MINUTE
        return level + _MINUTE > full

    def exceeding(self, keys: Iterable[Key | None], now_ms: int) -> list[int]:
        """``exceeds`` of new events, one after the other: the places of those that come too fast. None is
        nobody, and never too fast."""
        now, full, found = now_ms * self._limit, self._full, list[int]()
        once = now + _MINUTE
        for place, key in enumerate(keys):
            if key is None:
                continue
            empty_at = self._young.get(key)
            if empty_at is None:
                empty_at = self._old.get(key, 0)
            if self._gone or now_ms > self._turn_ms or len(self._young) >= self._most:
                self._turn(now_ms)
            if empty_at <= now:
                self._young[key] = once
                continue
            level = min(empty_at - now, full)
            self._young[key] = once + level
            if level + _MINUTE > full:
                found.append(place)
        return found
