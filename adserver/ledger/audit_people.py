"""Who saw what, audited: each row of ``people`` against the journal's personal parts.

Of impressions decided since the ledger's mark every one must be there, but for those found invalid; of older
ones any may be gone. A person erased in the journal must not stand in the ledger. 24 bytes each.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection

from adserver.domain.decision import EventKind
from adserver.domain.records import Personal, Record, Recorded, Reversed, Status
from adserver.ledger.audit_books import Tell, name_of
from adserver.ledger.audit_rollups import quarters_of
from adserver.ledger.audit_rows import Array, Rows, ordered, places, read_rows, repeats
from adserver.ledger.dialects import dialect_of

_ROWS: Final = 200_000
_PERSON: Final = ("person",)
_QUARTER_MS: Final = 900_000


class PeopleAudit:
    def __init__(self) -> None:
        self._seen = Rows(_PERSON)
        self._reversed = Rows(())

    def take(self, record: Record, personal: Personal | None) -> None:
        """The next record that is posted."""
        if isinstance(record, Recorded):
            accepted = record.status == Status.ACCEPTED and not record.test
            if accepted and record.kind == EventKind.IMPRESSION and personal is not None and personal.subject:
                self._seen.add(
                    record.event_id, int.from_bytes(personal.subject[:8], byteorder="big", signed=True)
                )
        elif isinstance(record, Reversed) and record.kind == EventKind.IMPRESSION:
            self._reversed.add(record.event_id)

    def compare(self, connection: Connection, since_ms: int, tell: Tell) -> int:
        """Tell every difference; how many rows the ledger has."""
        expected = self._expected()
        there, posted = np.zeros(len(expected), np.bool_), 0
        found = "SELECT event_id, person FROM people ORDER BY event_id"
        stream = iter(dialect_of(connection).stream(connection, found))
        while rows := list(islice(stream, _ROWS)):
            posted += len(rows)
            self._compare(rows, expected, there, tell)
        due = quarters_of(expected) * _QUARTER_MS >= since_ms
        for row in expected[due & ~there]:
            tell(f"{_name(row['id'])}: nobody in the ledger saw it, in the journal somebody did")
        return posted

    def _expected(self) -> Array:
        rows = ordered(self._seen.array())
        rows = rows[~repeats(rows)]
        _, gone = places(ordered(self._reversed.array()), rows)
        return rows[~gone]

    def _compare(self, rows: Sequence[Any], expected: Array, there: Array, tell: Tell) -> None:
        strange = [row for row in rows if type(row[0]) is not bytes or type(row[1]) is not int]
        for row in strange:
            tell(f"people {row}: what no posting writes")
        posted = read_rows(_PERSON, [row for row in rows if row not in strange] if strange else rows)
        at, known = places(expected, posted)
        same = known.copy()
        if len(expected):
            same &= expected["person"][at] == posted["person"]
            there[at[known]] = True
        for row in posted[~same]:
            tell(f"{_name(row['id'])}: somebody in the ledger saw it whom the journal does not know")


def _name(ident: bytes) -> str:
    return name_of(bytes(ident), EventKind.IMPRESSION)
