"""What the use cases need from the outer rooms. ``app`` ties these to memory, SQLite and the journal;
later to Redis and PostgreSQL. Implementations import ``domain`` alone.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from adserver.domain.books import LineItemTotals, Position
from adserver.domain.campaign import Creative, LineItem
from adserver.domain.catalogue import Catalogue
from adserver.domain.records import Personal, Record


class Journal(Protocol):
    """Durable records, in order (DESIGN, "Journal")."""

    @property
    def open(self) -> bool:
        """Whether another record has room; False stops paid ads."""
        ...

    def append(self, record: Record, personal: Personal | None = None) -> None:
        """Hand a record to the kernel before returning: it survives the end of this process, not yet a
        power cut. Raises JournalClosed."""
        ...

    async def durable(self) -> None:
        """Return once everything appended before the call is on disk (group commit)."""
        ...


class JournalReader(Protocol):
    def read(self, start: Position) -> Iterator[tuple[Position, Record, Personal | None]]:
        """The records from ``start`` on; each with the position *behind* it. ``personal`` is None where
        there was none or it was erased. Marks are checked, not returned."""
        ...


class Ledger(Protocol):
    """Posted events (SQL)."""

    @property
    def position(self) -> Position:
        """How far into the journal everything is posted."""
        ...

    def status(self, event_id: bytes, kind: int) -> int | None:
        """The recorded status of (event id, kind), None if there is none posted."""
        ...

    def totals(self) -> Iterable[LineItemTotals]: ...

    def billed_by_day(self, since_day: int) -> Iterable[tuple[int, int, int]]:
        """(line item, day, billed nanos) of the days from ``since_day`` on; days are the campaign's."""
        ...


class Catalog(Protocol):
    """What people own, and how the server learns of it."""

    def revision(self) -> int:
        """The newest revision; changes with every accepted change, whoever made it."""
        ...

    def load(self) -> Catalogue: ...

    def creative(self, serial: int) -> tuple[Creative, LineItem, str] | None:
        """A creative version of any time, the line item as it was then, and nothing more than needed to
        redirect a click: (creative, line item, campaign's full id)."""
        ...
