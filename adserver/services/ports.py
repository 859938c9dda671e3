"""What the use cases need from the outer rooms. ``app`` ties these to memory, SQLite and the journal;
later to Redis and PostgreSQL. Implementations import ``domain`` alone.
"""

import asyncio
from typing import Protocol

from adserver.domain.records import Personal, Record
from adserver.domain.told import Accepted

Durable = asyncio.Future[None] | None
"""Done when what was appended is on disk; None where nothing is to be waited for."""


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

    def synced(self) -> asyncio.Future[None]:
        """Done once everything appended before the call is on disk (group commit); others wait for the same
        one, so whoever may be cancelled shields it. Raises JournalClosed."""
        ...


class Rows(Journal, Protocol):
    """Of impressions."""

    def append_row(self, row: list[Accepted], at_ms: int) -> None:
        """Like ``append``: all of them, or none."""
        ...


class Ledger(Protocol):
    """Posted events (SQL), as far as recording another one asks."""

    def status(self, event_id: bytes, kind: int) -> int | None:
        """The recorded status of (event id, kind), None if there is none posted."""
        ...
