"""Requests, audited: tallies never claim an ad that no journalled decision answered, and the ledger's numbers
are their sums.

Requests that were answered nothing are told by tallies alone, as most of their decisions are not journalled.
"""

from collections import Counter, defaultdict
from typing import Final

import numpy as np
from sqlalchemy import Connection

from adserver.domain.records import Decided, Record, Tallied
from adserver.ledger.audit_books import Tell, whence_of
from adserver.ledger.audit_rollups import match_cells
from adserver.ledger.audit_rows import Array, Groups, Rows
from adserver.ledger.dialects import dialect_of

_CELL: Final = ("quarter", "placement", "whence", "requests", "asked", "answered")
_KEYS: Final = 3
_QUARTER_MS: Final = 900_000
_LIVE: Final = 0


class RequestAudit:
    """``take`` every record of so many ``journals``, in the order of each; those that are not posted yet are
    checked and not added up."""

    def __init__(self, tell: Tell, journals: int) -> None:
        self._tell = tell
        self._tallied = Rows(_CELL)
        # How often there was a tally of each number: the one before it comes first in its journal.
        self._numbers = Counter({0: journals})
        self._answered: defaultdict[tuple[int, int, int], int] = defaultdict(int)

    def take(self, record: Record, posted: bool) -> None:
        if isinstance(record, Decided):
            self._decided(record)
        elif isinstance(record, Tallied):
            self._told(record, posted)

    def _decided(self, record: Decided) -> None:
        decision = record.decision
        if decision.mode != _LIVE:
            return
        quarter, whence = decision.now_ms // _QUARTER_MS, whence_of(decision.country, decision.device)
        for slot in decision.slots:
            if slot.ads and slot.repeated is None:
                self._answered[quarter, slot.placement, whence] += len(slot.ads)

    def _told(self, record: Tallied, posted: bool) -> None:
        self._numbers[record.number] += 1
        if self._numbers[record.number] > self._numbers[record.number - 1]:
            self._tell(f"tally {record.number}: does not follow another in the journal")
        for quarter, placement, country, device, requests, asked, answered in record.cells:
            key = quarter, placement, whence_of(country, device)
            decided = self._answered.pop(key, 0)
            if decided > answered:
                self._answered[key] = decided - answered
            if answered > decided or asked < answered:
                self._tell(
                    f"tally {record.number} of quarter {quarter}, placement {placement}: {answered} ads "
                    f"answered of {asked}, decided were {decided}"
                )
            if posted:
                self._tallied.add(b"", *key, requests, asked, answered)

    def compare(self, connection: Connection, tell: Tell) -> int:
        """Tell every difference; how many cells the ledger has."""
        columns = f"quarter, placement, {dialect_of(connection).WHENCE}, requests, asked, answered"
        posted = connection.exec_driver_sql(f"SELECT {columns} FROM requests").all()
        match_cells("requests of quarter, placement", posted, self._added_up(), _KEYS, tell)
        return len(posted)

    def _added_up(self) -> Array:
        rows = self._tallied.array()
        groups = Groups(*(rows[name] for name in _CELL[:_KEYS]))
        sums = [groups.sums(rows[name]) for name in _CELL[_KEYS:]]
        return np.array([*zip(*groups.keys, strict=True), *sums] if groups.keys else [], np.int64).T
