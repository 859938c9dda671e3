"""Serial numbers: small integers that tokens, journal and counters speak of instead of names.

Given once per (space, name), counting from 1 in each space, never reused: rows are only added. So what
was read once stays true, and a process needs to fetch only the rows behind the last one it has seen.
"""

from collections.abc import Iterable
from typing import Final, Literal

from sqlalchemy import Connection, func, select

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


class Serials:
    """The serials seen so far. Not safe for several threads; the store holds its lock."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], int] = {}
        self._last_row = 0

    def of(self, space: Space, name: str) -> int:
        """The serial of a name that has one; KeyError if not (``refresh`` first)."""
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

    def give(self, connection: Connection, wanted: Iterable[tuple[Space, str]]) -> None:
        """Give a serial to every name that has none, inside the caller's write transaction, after a
        ``refresh`` in it; then refresh again. After a rollback forget this object: it knows too much."""
        missing = [key for key in dict.fromkeys(wanted) if key not in self._known]
        if not missing:
            return
        rows = connection.execute(
            select(SERIALS.c.space, func.max(SERIALS.c.serial)).group_by(SERIALS.c.space)
        )
        last: dict[str, int] = {row[0]: row[1] for row in rows}
        added = []
        for space, name in missing:
            last[space] = serial = last.get(space, 0) + 1
            if serial > SERIAL_MAX:
                raise OverflowError(f"the serials of {space} are used up")
            added.append({"space": space, "name": name, "serial": serial})
        connection.execute(SERIALS.insert(), added)
