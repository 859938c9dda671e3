"""The raw journals as audits read them: every record once, those of several journals in the order of time.

Each journal's own order stands; between journals the clock decides, which the processes of one ledger share.
What lies behind the ledger's position in a journal is *unposted*: part of the laws about people and feeds,
not yet of the books.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from heapq import merge
from pathlib import Path
from typing import NamedTuple

from adserver.domain.books import Position
from adserver.domain.records import Decided, Mark, Personal, Record
from adserver.ledger.reader import Reader
from adserver.ledger.segments import Damage


class Read(NamedTuple):
    """``posted``: whether the ledger says so; ``journal``: its number."""

    record: Record
    personal: Personal | None
    posted: bool
    journal: int


class Walk:
    """The journal with this number; ``position``: up to where it was posted. ``read`` and ``unposted`` count
    records; ``short``: it ends before that position, so that the books cannot be compared."""

    def __init__(self, number: int, journal: Path, position: Position, tell: Callable[[str], None]) -> None:
        self.read = self.unposted = 0
        self.short = False
        self._number = number
        self._name = f"journal {number}" if number else "journal"
        self._journal = journal
        self._position = position
        self._tell = tell

    def records(self) -> Iterator[Read]:
        """To the end of what is written, or to where it is damaged, which is told."""
        behind = Position()
        with closing(Reader(self._journal, strict=True)) as reader:
            try:
                for behind, record, personal in reader.read(Position()):
                    self.read += 1
                    posted = behind <= self._position
                    self.unposted += not posted
                    yield Read(record, personal, posted, self._number)
            except Damage as damage:
                self._tell(f"{self._name} damaged: {damage}")
                self.short = behind < self._position
                return
            if self._position > Position() and reader.behind < self._position:
                self._tell(
                    f"the {self._name} ends at {reader.behind}, the ledger was posted up to {self._position}"
                )
                self.short = True


def together(walks: list[Walk]) -> Iterator[Read]:
    """The records of all of them."""
    if len(walks) == 1:
        return walks[0].records()
    return (
        read for _, _, read in merge(*(_timed(number, walk) for number, walk in enumerate(walks)), key=_when)
    )


Timed = tuple[int, int, Read]


def _timed(number: int, walk: Walk) -> Iterator[Timed]:
    """With the instant of each, which never goes back within a journal, and the journal's number."""
    latest_ms = 0
    for read in walk.records():
        latest_ms = max(latest_ms, at_ms(read.record))
        yield latest_ms, number, read


def _when(timed: Timed) -> tuple[int, int]:
    return timed[:2]


def at_ms(record: Record) -> int:
    """When it was written."""
    if isinstance(record, Decided):
        return record.decision.now_ms
    return 0 if isinstance(record, Mark) else record.at_ms
