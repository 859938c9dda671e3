"""Carries records from the journal into the ledger."""

from collections.abc import Callable
from itertools import islice
from threading import Lock
from typing import Final

from adserver.domain.books import Position
from adserver.ledger.ledger import Ledger
from adserver.ledger.reader import Reader

BATCH_RECORDS: Final = 10_000


class Poster:
    """One consumer. Beside a running writer give ``until`` (its ``synced_position``): what a power cut
    could still take from the journal must not be in the books. Called in worker threads; a turn that a
    stopping server gave up waiting for goes on in its thread, so turns exclude each other here."""

    def __init__(self, reader: Reader, ledger: Ledger, until: Callable[[], Position] | None = None) -> None:
        self._reader = reader
        self._ledger = ledger
        self._until = until
        self._one_at_a_time = Lock()

    def step(self, max_records: int = BATCH_RECORDS) -> int:
        """Post the next records, at most so many, in one transaction; how many there were."""
        with self._one_at_a_time:
            start = self._ledger.position
            until = None if self._until is None else self._until()
            if until is not None and until <= start:
                return 0
            found = list(islice(self._reader.read(start, until), max_records))
            if found:
                self._ledger.post((record for _, record, _ in found), found[-1][0])
            return len(found)

    def drain(self) -> int:
        """Post everything there is; how many records there were."""
        total = 0
        while posted := self.step():
            total += posted
        return total
