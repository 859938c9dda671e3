"""Chance: salts for records that have a person, and the seeds of requests."""

import os
from collections.abc import Callable, Iterator
from typing import Final

Chance = Callable[[], int]
"""64 random bits."""

SALT_BYTES: Final = 8
_AT_ONCE: Final = 512


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


def seed() -> int:
    """64 bits, from which everything random in a request follows."""
    return int.from_bytes(os.urandom(8), "big")
