"""Serial numbers: small integers that tokens, journal and counters speak of instead of names.

Given once per (space, name), counting from 1 in each space, never reused: rows are only added. So what
was read once stays true. Who needs them all fetches only the rows behind the last one it has seen; who
changes a few objects learns theirs.
"""

from collections import defaultdict
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, Literal

from sqlalchemy import Connection, func, select

from adserver.catalog import dialects
from adserver.catalog.tables import SERIALS

Space = Literal[
    "advertiser",
    "campaign",
    "line_item",
    "creative",
    "creative_version",
    "publisher",
    "placement",
    "audience",
]

SERIAL_MAX: Final = 2**32 - 1
_ASKED_AT_ONCE: Final = 500
_ROWS_AT_ONCE: Final = 10_000


class Lineage:
    """Which serials were given, as a digest of all of them up to some row. A catalog brought back from a
    backup gives other serials from there on, perhaps to the same names: by this whoever kept something made
    of serials knows whether it is of the file as it is."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.last = 0
        self._content = blake2b(digest_size=16)

    @property
    def digest(self) -> str:
        """Of the rows up to ``last``."""
        return self._content.hexdigest()

    def follow(self, connection: Connection, upto: int | None = None) -> None:
        """Read on, to the newest row or to ``upto``, if it is there."""
        end = connection.exec_driver_sql("SELECT coalesce(max(id), 0) FROM serials").scalar_one()
        end = end if upto is None else min(end, upto)
        rows = dialects.of(connection).serials
        while self.last < end:
            last = min(self.last + _ROWS_AT_ONCE, end)
            text = connection.exec_driver_sql(rows, (self.last, last)).scalar_one()
            if text:
                self._content.update(f"{text}\n".encode())
            self.last = last


class Serials:
    """The serials seen so far. Not safe for several threads; the store holds its lock."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], int] = {}
        self._last_row = 0

    def of(self, space: Space, name: str) -> int:
        """The serial of a name that has one; KeyError if not (``refresh`` or ``learn`` first)."""
        return self._known[space, name]

    def refresh(self, connection: Connection) -> None:
        """Learn what others gave."""
        rows = connection.execute(
            select(SERIALS.c.id, SERIALS.c.space, SERIALS.c.name, SERIALS.c.serial)
            .where(SERIALS.c.id > self._last_row)
            .order_by(SERIALS.c.id)
        )
        for row, space, name, serial in rows:
            self._known[space, name] = serial
            self._last_row = row

    def learn(self, connection: Connection, wanted: Iterable[tuple[Space, str]]) -> None:
        """Learn the serials of these names, as far as they have some."""
        unknown: dict[Space, list[str]] = defaultdict(list)
        for space, name in dict.fromkeys(wanted):
            if (space, name) not in self._known:
                unknown[space].append(name)
        for space, names in unknown.items():
            for first in range(0, len(names), _ASKED_AT_ONCE):
                some = SERIALS.c.name.in_(names[first : first + _ASKED_AT_ONCE])
                rows = select(SERIALS.c.name, SERIALS.c.serial).where(SERIALS.c.space == space, some)
                self._known |= {(space, row.name): row.serial for row in connection.execute(rows)}

    def give(self, connection: Connection, wanted: Iterable[tuple[Space, str]]) -> None:
        """Learn the serials of these names, giving one to each that has none, inside the caller's write
        transaction. After a rollback forget this object: it knows too much."""
        listed = list(dict.fromkeys(wanted))
        self.learn(connection, listed)
        last: dict[str, int] = {}
        added = []
        for space, name in listed:
            if (space, name) in self._known:
                continue
            if space not in last:
                highest = select(func.max(SERIALS.c.serial)).where(SERIALS.c.space == space)
                last[space] = connection.execute(highest).scalar_one() or 0
            last[space] = serial = last[space] + 1
            if serial > SERIAL_MAX:
                raise OverflowError(f"the serials of {space} are used up")
            added.append({"space": space, "name": name, "serial": serial})
            self._known[space, name] = serial
        if added:
            connection.execute(SERIALS.insert(), added)
