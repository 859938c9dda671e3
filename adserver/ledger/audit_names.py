"""What reports call things, audited: who owns a line item and a placement, in which currency, and which
creative a version is of, must be what the terms in the journal told last.
"""

from typing import Any, Final

from sqlalchemy import Connection

from adserver.domain.records import LineItemTerms, PlacementTerms, Record
from adserver.ledger.audit_books import Tell

_TABLES: Final = {
    "line_items": "serial, full_id, campaign, advertiser, currency",
    "placements": "serial, full_id, publisher, currency",
    "creatives": "version, identity",
}


class NameAudit:
    """``take`` every record that is posted."""

    def __init__(self) -> None:
        self._told: dict[str, dict[Any, set[tuple[Any, ...]]]] = {table: {} for table in _TABLES}
        self._since: dict[int, tuple[int, int]] = {}

    def take(self, record: Record) -> None:
        if isinstance(record, LineItemTerms):
            self._line_item(record)
        elif isinstance(record, PlacementTerms):
            # Several journals are posted in any order, and an earlier version did not keep the currency.
            told = self._told["placements"].setdefault(record.serial, set())
            told |= {(record.full_id, record.publisher, currency) for currency in (record.currency, "")}

    def _line_item(self, terms: LineItemTerms) -> None:
        """The newest terms speak, in whatever order several journals tell them."""
        since = terms.revision, terms.at_ms
        if terms.serial in self._since and since <= self._since[terms.serial]:
            return
        self._since[terms.serial] = since
        told = terms.full_id, terms.campaign, terms.advertiser, terms.currency
        self._told["line_items"][terms.serial] = {told}
        for version, identity in terms.creatives:
            self._told["creatives"].setdefault(version, {(identity,)})

    def compare(self, connection: Connection, tell: Tell) -> None:
        """A ledger of an earlier version may know less, and nothing else."""
        for table, columns in _TABLES.items():
            for key, *row in connection.exec_driver_sql(f"SELECT {columns} FROM {table}"):
                told = self._told[table].get(key)
                if told is None or tuple(row) not in told:
                    tell(f"{table} {key}: the ledger says {tuple(row)}, the journal {told or 'nothing'}")
