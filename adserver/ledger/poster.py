"""Carries records from the journal into the ledger."""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from adserver.domain.books import Position
from adserver.domain.records import Record
from adserver.ledger.reader import Reader
from adserver.ledger.rollups import seen_by
from adserver.ledger.writer import LedgerWriter

BATCH_RECORDS: Final = 30_000
"""At most: the more, the fewer rows that many events share are written anew."""


class _Batch(Struct, frozen=True):
    """``read``: of how many records these are the ones that are posted; ``people``: who saw which."""

    records: list[Record]
    people: dict[bytes, int]
    behind: Position
    read: int


class Poster:
    """One consumer. Beside a running writer of the journal give ``until`` (its ``synced_position``): what a
    power cut could still take from the journal must not be in the books."""

    def __init__(
        self, reader: Reader, ledger: LedgerWriter, until: Callable[[], Position] | None = None
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._until = until
        self._batch: _Batch | None = None

    def step(self, max_records: int = BATCH_RECORDS) -> int:
        """Post the next records, at most so many, in one transaction; how many there were. Raises what the
        database does; the batch is kept then, for a reader that goes back begins its segment anew."""
        self._batch = self._batch or self._next(max_records)
        if self._batch is None:
            return 0
        self._ledger.post(self._batch.records, self._batch.behind, self._batch.people)
        read, self._batch = self._batch.read, None
        return read

    def _next(self, max_records: int) -> _Batch | None:
        start = self._ledger.position
        until = None if self._until is None else self._until()
        if until is not None and until <= start:
            return None
        found = self._reader.booked(start, until, max_records)
        # Behind the last record may stand marks, which are posted by being passed.
        if self._reader.behind <= start:
            return None
        booked = [both for both in found if both is not None]
        people = dict(seen_by(booked))
        return _Batch([record for record, _ in booked], people, self._reader.behind, len(found))

    def drain(self) -> int:
        """Post everything there is; how many records there were."""
        total = 0
        while posted := self.step():
            total += posted
        return total
