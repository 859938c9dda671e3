"""Chance: salts for records that have a person, and the seeds of requests."""

import os
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final

from adserver.domain.ids import OWNER_BITS, OWNER_SHIFT

Chance = Callable[[], int]
"""64 random bits."""

SALT_BYTES: Final = 8
_AT_ONCE: Final = 512
_NUMBERS: Final = Struct(f">{_AT_ONCE}Q")
_EACH: Final = int.from_bytes(_NUMBERS.pack(*[1 << OWNER_SHIFT] * _AT_ONCE))
"""The lowest bit of the owner's number, in as many seeds as are drawn at once."""
_CHANCE: Final = int.from_bytes(b"\xff" * _NUMBERS.size) - _EACH * ((1 << OWNER_BITS) - 1)


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
    """Callable: 64 bits, from which everything random in a request follows; ten of them are ``owner``, the
    number of the process, so that what is minted with them tells whose it is."""

    def __init__(self, owner: int = 0) -> None:
        self._left: Iterator[int] = iter(())
        self._owner = _EACH * owner

    def __call__(self) -> int:
        seed = next(self._left, None)
        if seed is None:
            drawn = int.from_bytes(os.urandom(_NUMBERS.size)) & _CHANCE | self._owner
            self._left = iter(_NUMBERS.unpack(drawn.to_bytes(_NUMBERS.size)))
            seed = next(self._left)
        return seed
