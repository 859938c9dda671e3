"""Statements: read as the books stand, closed as one record of the journal.

Closing compares and closes (``ledger.stating``): the record says what the month comes to by the books as they
are posted; where something moved in between, posting closes nothing, and the caller is told to ask again. A
month can be closed once it is over everywhere on earth and none of its events can be accepted any more; what
comes later still (a refund, a conversion) is adjusted on the next statement.
"""

import asyncio
from datetime import UTC, datetime
from typing import Final, Literal, NoReturn, Protocol

from adserver.clock import Clock
from adserver.domain import limits
from adserver.domain.books import JournalClosed, Position
from adserver.domain.records import Closed
from adserver.domain.statements import WESTERNMOST_MS, Statement, month_end_ms, month_text, totals
from adserver.services.manage import Who, absent, visible
from adserver.services.ports import Journal
from adserver.services.refusals import Refused
from adserver.services.world import World

Side = Literal["advertiser", "publisher"]

_SETTLED_MS: Final = (
    WESTERNMOST_MS + limits.RENDER_WITHIN_MS_MAX + limits.CLICK_EXTRA_MS + limits.GRACE_MS
)  # fmt: skip
"""So long behind a month's end in UTC its last token is dead."""


class Books(Protocol):
    """What is posted. Blocking: called from a thread."""

    @property
    def position(self) -> Position: ...
    def statement(self, party: str, month: int) -> Statement: ...
    def serial_of(self, side: str, owner: str) -> int | None: ...


class Proven(Protocol):
    """A place that is known to be on disk, and the hash chain there."""

    @property
    def number(self) -> int:
        """Of the segment."""
        ...

    @property
    def offset(self) -> int: ...
    @property
    def chain(self) -> bytes: ...


class Chained(Journal, Protocol):
    @property
    def position(self) -> Position:
        """The end of what is written."""
        ...

    @property
    def proven(self) -> Proven: ...


class Statements:
    """The use case."""

    def __init__(self, journal: Chained, books: Books, world: World, clock: Clock) -> None:
        self._journal = journal
        self._books = books
        self._world = world
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def of(self, who: Who, side: Side, owner: str, month: int) -> Statement:
        """Raises Refused (404)."""
        visible(who, side, (owner,))
        party = await self._party(side, owner)
        return await asyncio.to_thread(self._books.statement, party, month)

    async def close(self, who: Who, side: Side, owner: str, month: int) -> Statement:
        """Close a month; of one that is closed, its statement. Raises Refused: 403, 404, 409 with the reason,
        503 where there is no room."""
        visible(who, side, (owner,))
        if who.role != "operator":
            raise Refused(403, "statements are closed by operators")
        party = await self._party(side, owner)
        settled_ms = month_end_ms(month) + _SETTLED_MS
        if self._clock() < settled_ms:
            until = datetime.fromtimestamp(settled_ms / 1000, UTC).isoformat(timespec="seconds")
            why = f"{month_text(month)} is not settled yet: its last events may come until {until}"
            _open(why, settled_ms=settled_ms)
        async with self._one_at_a_time:
            due = await asyncio.to_thread(self._books.statement, party, month)
            if due.closed:
                return due
            if due.first_open is not None:
                _open(f"{month_text(due.first_open)} is still open: it is closed first")
            return await self._close(due)

    async def _close(self, due: Statement) -> Statement:
        proof = self._journal.proven
        said = totals(due.lines, due.credits)
        cited = proof.number, proof.offset, proof.chain
        record = Closed(due.party, due.month, self._clock(), said, *cited)
        try:
            self._journal.append(record)
        except JournalClosed:
            raise Refused(503, "a closing cannot be kept: no room on disk") from None
        behind = self._journal.position
        await asyncio.shield(self._journal.synced())
        await self._posted(behind)
        found = await asyncio.to_thread(self._books.statement, due.party, due.month)
        if not found.closed:
            _open("money moved while it was closed: ask again")
        return found

    async def _posted(self, behind: Position) -> None:
        """Wait for whoever posts, which is told of what is on disk twice a second."""
        for _ in range(limits.CLOSING_WAITS):
            if self._books.position >= behind:
                return
            await asyncio.sleep(limits.CLOSING_WAIT_S)
        raise Refused(503, "the closing is kept, and not posted yet: ask for the statement later")

    async def _party(self, side: Side, owner: str) -> str:
        snapshot = self._world.snapshot
        found = snapshot.advertisers.get(owner) if side == "advertiser" else snapshot.publishers.get(owner)
        serial = None if found is None else found.serial
        if serial is None:
            serial = await asyncio.to_thread(self._books.serial_of, side, owner)
        if serial is None:
            absent()
        return f"{side}:{serial}"


def _open(why: str, **extra: int) -> NoReturn:
    raise Refused(409, why, extra=extra)
