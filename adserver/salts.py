"""Chance: salts for records that have a person, and the seeds of requests."""

import os
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final

Chance = Callable[[], int]
"""64 random bits."""

SALT_BYTES: Final = 8
_AT_ONCE: Final = 512
_NUMBERS: Final = Struct(f">{_AT_ONCE}Q")


class Salts:
    """Callable: the next salt. The kernel is asked for many at once, which costs a tenth."""

    def __init__(self) -> None:
        self._left: Iterator[bytes] = iter(())

    def __call__(self) -> bytes:
        salt = next(self._left, None)
        if salt is None:
            chance = os.urandom(_AT_ONCE * SALT_BYTES)
            self._left = iter([chance[at : at + SALT_BYTES] for at in range(0, len(chance), SALT_BYTES)])
            salt = next(self._left)
        return salt


class Seeds:
    """Callable: 64 bits, from which everything random in a request follows."""

    def __init__(self) -> None:
        self._left: Iterator[int] = iter(())

    def __call__(self) -> int:
        seed = next(self._left, None)
        if seed is None:
            self._left = iter(_NUMBERS.unpack(os.urandom(_NUMBERS.size)))
            seed = next(self._left)
        return seed
