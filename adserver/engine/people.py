"""Members of audiences in an image: pseudonyms in order, found by bisection; there may be millions."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Final

import msgspec
import numpy as np

from adserver.domain import limits
from adserver.engine.image import Piece, Sections
from adserver.engine.kept import Kept

_TWO: Final = Struct(">QQ")
_AUDIENCES: Final = msgspec.msgpack.Decoder(tuple[str, ...])


def sections(members: Mapping[bytes, tuple[str, ...]]) -> dict[str, Piece]:
    """A pseudonym is two words, so that the first can be bisected as a number. People of the same
    audiences share one list of them."""
    words = np.frombuffer(b"".join(members), ">u8").reshape(-1, 2).astype(np.uint64)
    order = np.lexsort((words[:, 1], words[:, 0]))
    lists: dict[tuple[str, ...], int] = {}
    each = np.fromiter((lists.setdefault(of, len(lists)) for of in members.values()), np.uint32, len(members))
    each = each[order]
    # Numbered in the order of people, not of the mapping.
    _, first, which = np.unique(each, return_index=True, return_inverse=True)
    by_people = np.argsort(first, kind="stable")
    renumbered = np.argsort(by_people, kind="stable").astype(np.uint32)
    named = list(lists)
    kinds = np.unique(each)[by_people].tolist()
    blobs = [msgspec.msgpack.encode(named[number]) for number in kinds]
    return {
        "people.first": words[order, 0],
        "people.second": words[order, 1],
        "people.list": renumbered[which] if len(each) else each,
        "people.list_ends": np.cumsum([0, *map(len, blobs)], dtype=np.uint64),
        "people.lists": b"".join(blobs),
    }


class People(Mapping[bytes, tuple[str, ...]]):
    """Pseudonym (16 bytes) -> full ids of audiences."""

    def __init__(self, given: Sections) -> None:
        self._first = given.numbers("people.first", "Q")
        self._second = given.numbers("people.second", "Q")
        self._list = given.numbers("people.list", "I")
        self._ends = given.numbers("people.list_ends", "Q")
        self._lists = given.bytes("people.lists")
        self._kept: Kept[int, tuple[str, ...]] = Kept(limits.OWNERS_KEPT)

    def __len__(self) -> int:
        return len(self._first)

    def __iter__(self) -> Iterator[bytes]:
        return (_TWO.pack(*both) for both in zip(self._first, self._second, strict=True))

    def __getitem__(self, person: bytes) -> tuple[str, ...]:
        row = self._row(person)
        if row < 0:
            raise KeyError(person)
        return self._audiences(self._list[row])

    def of(self, person: bytes) -> tuple[str, ...]:
        """The same; most people are in none, and to say so costs no exception."""
        row = self._row(person)
        return self._audiences(self._list[row]) if row >= 0 else ()

    def _row(self, person: bytes) -> int:
        """-1 where nobody knows this person."""
        first, second = _TWO.unpack(person)
        row = bisect_left(self._first, first)
        while row < len(self._first) and self._first[row] == first:
            if self._second[row] == second:
                return row
            row += 1
        return -1

    def _audiences(self, number: int) -> tuple[str, ...]:
        found = self._kept.get(number)
        if found is None:
            blob = self._lists[self._ends[number] : self._ends[number + 1]]
            found = self._kept.put(number, _AUDIENCES.decode(blob))
        return found
