"""Leases, audited: what the ledger says that each process has spent is what its own journal billed, and never
more than it held. Where one process serves alone there are none, and nothing is kept for them.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import Connection, select

from adserver.domain.counted import events_of
from adserver.domain.records import LineItemTerms, Record
from adserver.ledger import schema
from adserver.ledger.accounts import Key, levels
from adserver.ledger.lease_tables import LEASES

_ALL_DAYS: Final = -1
Leased = Mapping[tuple[int, Key], tuple[int | None, int]]
"""(holder, account) -> (granted, spent)."""


def read_leases(connection: Connection) -> Leased:
    if not schema.has(connection, LEASES):
        return {}
    rows = connection.execute(select(LEASES)).all()
    return {(row.holder, (row.account, row.day)): (row.granted_nanos, row.spent_nanos) for row in rows}


class LeaseAudit:
    """Fed with the posted records of every journal, of which ``holders`` have leases."""

    def __init__(self, leased: Leased, tell: Callable[[str], None]) -> None:
        self._leased = leased
        self.holders = {holder for holder, _ in leased}
        self._tell = tell
        self._terms: dict[tuple[int, int], tuple[str, str, str]] = {}
        self._spent: defaultdict[tuple[int, Key], int] = defaultdict(int)

    def take(self, journal: int, record: Record) -> None:
        if journal not in self.holders:
            return
        if isinstance(record, LineItemTerms):
            self._terms[journal, record.serial] = levels(record)
        for event in events_of(record):
            for name in self._terms.get((journal, event.line_item), ()) if event.billed_nanos else ():
                self._spent[journal, (name, _ALL_DAYS)] += event.billed_nanos
                self._spent[journal, (name, event.day)] += event.billed_nanos

    def reserved(self) -> dict[Key, int]:
        """What the ledger granted, less what the journals say was spent of it."""
        found = defaultdict[Key, int](int)
        for (holder, key), (granted, _) in self._leased.items():
            if granted is not None:
                found[key] += granted - self._spent[holder, key]
        return found

    def compare(self) -> None:
        """Leases of days that are over are dropped; those that are there are right."""
        for (holder, key), (granted, spent) in sorted(self._leased.items()):
            told, billed = f"lease of {holder} on {key[0]} day {key[1]}", self._spent[holder, key]
            if spent != billed:
                self._tell(f"{told}: spent {spent} nanos, its journal billed {billed}")
            if granted is not None and spent > granted:
                self._tell(f"{told}: spent {spent} nanos of {granted}")
