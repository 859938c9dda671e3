"""Identifiers: slugs that people choose, and 16-byte ids that the server mints.

A minted id is 48 bits of milliseconds, 64 bits of chance, 16 bits of index. A decision's request has
index 0 and its ads 1, 2, ...; so ids sort by time, an event tells when it was decided, and the same
(time, seed) gives the same ids (law 5). Ten bits in the middle of the chance are the number of the process
that decided: the low half stays chance, and so do the high bits by which samples are drawn. Text form:
Crockford base32, 26 characters, as in ULIDs.
"""

import re
from typing import Final

SLUG: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z", re.ASCII)

OWNER_SHIFT: Final = 32
OWNER_BITS: Final = 10
"""Where in a seed the number of the process stands that decides with it."""

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)}


def mint(now_ms: int, seed: int, index: int) -> bytes:
    """The 16-byte id number ``index`` of the decision made at ``now_ms`` with ``seed`` (64 bits)."""
    return ((now_ms << 80) | ((seed & 0xFFFF_FFFF_FFFF_FFFF) << 16) | index).to_bytes(16, "big")


def minted_ms(minted: bytes) -> int:
    """When the decision was made that this id belongs to."""
    return int.from_bytes(minted[:6], "big")


def request_of(minted: bytes) -> bytes:
    """The id of the request an event id belongs to."""
    return minted[:14] + b"\0\0"


def index_of(minted: bytes) -> int:
    return int.from_bytes(minted[14:], "big")


def owner_of(minted: bytes) -> int:
    """The number of the process that minted it."""
    return (minted[8] & 3) << 8 | minted[9]


def encode(minted: bytes) -> str:
    """16 bytes -> 26 characters."""
    n = int.from_bytes(minted, "big")
    pairs = _PAIRS
    return "".join([pairs[(n >> shift) & 1023] for shift in range(120, -1, -10)])


def decode(text: str) -> bytes:
    """26 characters -> 16 bytes; ValueError for anything ``encode`` does not write."""
    if len(text) != 26:
        raise ValueError("an id has 26 characters")
    n = 0
    for letter in text:
        value = _VALUES.get(letter)
        if value is None:
            raise ValueError(f"{letter!r} is not a letter of an id")
        n = n << 5 | value
    if n >> 128:
        raise ValueError("an id has 128 bits")
    return n.to_bytes(16, "big")
