"""Very many networks in little memory: is an address in one of them?

The networks of a list are united to disjoint ranges in order, kept as a column of first and one of last
addresses: one bisection finds the only range an address may lie in. IPv4 takes 8 bytes a range, and IPv6 16:
nearly all networks there are /64 or wider, so their upper halves are enough, and the few narrower ones are
kept as whole numbers. Exact at every length. 300 000 networks are read in half a second; a look takes one
microsecond.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Final

import numpy as np

_HALF: Final = 64
_MOST_LISTED: Final = 2_000_000
_NETWORK_CHARS: Final = 80
_MAPPED: Final = bytes(10) + b"\xff\xff"
_MAPPED_BITS: Final = 8 * len(_MAPPED)


def packed(text: str) -> bytes | None:
    """4 or 16 bytes of an address (one of IPv4 within IPv6 is IPv4), None if it is none."""
    try:
        if ":" not in text:
            return inet_pton(AF_INET, text)
        found = inet_pton(AF_INET6, text)
    except (OSError, ValueError):
        return None
    return found[12:] if found.startswith(_MAPPED) else found


class Networks:
    """``lines``: a network each (``192.0.2.0/24``, ``2001:db8::/32``) or an address; ``#`` begins a comment.
    ``len`` is how many were listed. Raises ValueError, naming the line."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        narrow, wide, slim = _Listed(32, array("I")), _Listed(_HALF, array("Q")), _Listed(128, [])
        self._number = 0
        for address, length in _read(lines):
            self._number += 1
            if len(address) == 4:
                narrow.add(address, length)
            elif length <= _HALF:
                wide.add(address[:8], length)
            else:
                slim.add(address, length)
        self._narrow, self._wide, self._slim = narrow.united(), wide.united(), slim.united()

    def __len__(self) -> int:
        return self._number

    def __contains__(self, address: bytes) -> bool:
        """``address``: as ``packed`` gives it."""
        if len(address) == 4:
            return int.from_bytes(address, "big") in self._narrow
        return (
            int.from_bytes(address[:8], "big") in self._wide or int.from_bytes(address, "big") in self._slim
        )


class _Ranges:
    """First and last addresses of disjoint ranges, in order."""

    def __init__(self, first: Sequence[int], last: Sequence[int]) -> None:
        self._first = first
        self._last = last

    def __contains__(self, address: int) -> bool:
        place = bisect_right(self._first, address)
        return place > 0 and address <= self._last[place - 1]


class _Listed:
    """Ranges of addresses of one width (bits), as they are read. ``column``: an empty one of addresses."""

    def __init__(self, width: int, column: "array[int] | list[int]") -> None:
        self._width = width
        self._first, self._last = column, column[:]

    def add(self, address: bytes, length: int) -> None:
        first = int.from_bytes(address, "big")
        self._first.append(first)
        self._last.append(first + (1 << self._width - length) - 1)

    def united(self) -> _Ranges:
        """Those that overlap are made one. NumPy sorts numbers of up to 64 bits without holding up whoever
        waits for the interpreter."""
        kind = self._first.typecode if isinstance(self._first, array) else object
        first, last = np.array(self._first, kind), np.array(self._last, kind)
        order = np.argsort(first, kind="stable")
        first, last = first[order], np.maximum.accumulate(last[order])
        apart = (first[1:] > last[:-1]).astype(bool)
        here = [True] if len(first) else []
        begins, ends = np.append(here, apart).astype(bool), np.append(apart, here).astype(bool)
        return _Ranges(self._column(first[begins]), self._column(last[ends]))

    def _column(self, numbers: Any) -> Sequence[int]:
        column: Sequence[int] = numbers.tolist()
        return array(self._first.typecode, numbers.tobytes()) if isinstance(self._first, array) else column


def _read(lines: Iterable[str]) -> Iterator[tuple[bytes, int]]:
    """(packed, length of the prefix) of each."""
    number = 0
    for line, text in enumerate(lines, 1):
        said = text.partition("#")[0].strip()
        if not said:
            continue
        number += 1
        try:
            if number > _MOST_LISTED:
                raise ValueError(f"more than {_MOST_LISTED} networks")
            yield _narrowed(said, *_network(said))
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from None


def _narrowed(said: str, address: bytes, length: int) -> tuple[bytes, int]:
    """One of IPv4 within IPv6 is IPv4, as the addresses that are looked for are."""
    length -= _MAPPED_BITS
    if length < 0 or len(address) == 4 or not address.startswith(_MAPPED):
        return address, length + _MAPPED_BITS
    if length == 0:
        raise ValueError(f"{said} is every address of IPv4 there is")
    return address[12:], length


def _network(said: str) -> tuple[bytes, int]:
    """As ``ipaddress.ip_network`` reads it, at a third of its cost for what is right."""
    text, slash, prefix = said.partition("/")
    try:
        address = inet_pton(AF_INET6 if ":" in text else AF_INET, text)
        if not slash or (prefix.isdecimal() and prefix.isascii()):
            width = 8 * len(address)
            length = int(prefix) if slash else width
            if 0 < length <= width and not int.from_bytes(address, "big") & ((1 << width - length) - 1):
                return address, length
    except (OSError, ValueError):
        pass  # spelled otherwise, or wrong: ``ip_network`` below reads the one and says what is the other
    if len(said) > _NETWORK_CHARS or "%" in said:
        raise ValueError("not a network such as 192.0.2.0/24")
    found = ip_network(said)
    if found.prefixlen == 0:
        raise ValueError(f"{said} is every address there is")
    return found.network_address.packed, found.prefixlen
