"""Statements from the books, and their closing.

An open statement is read from the sums in ``earned`` whenever it is asked for. A closing is a record of the
journal: its statement is what all records before it come to. Whoever closes says what total that is; where
something moved meanwhile and the total is another, nothing is closed, and it is asked again (compare and
close). So posting needs no other place than the one it is at, and what a closing says is proved by the
journal before it.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, bindparam, inspect, text

from adserver.domain.credits import Credit
from adserver.domain.records import Closed
from adserver.domain.statements import (
    UNIT_OF,
    UNITS,
    Line,
    Proof,
    Said,
    Sold,
    Stated,
    Statement,
    Subject,
    in_order,
    lines,
    totals,
)
from adserver.ledger import crediting

_OF_ADVERTISER: Final = """
SELECT e.line_item, 0, e.month, e.kind, sum(e.units), sum(e.nanos), sum(e.refunded_units),
       sum(e.refunded_nanos)
FROM earned e JOIN line_items l ON l.serial = e.line_item
WHERE l.advertiser = :serial AND e.month <= :month
GROUP BY e.line_item, e.month, e.kind
"""
_OF_PUBLISHER: Final = """
SELECT e.line_item, e.placement, e.month, e.kind, e.units, e.share_nanos, e.refunded_units,
       e.refunded_share_nanos
FROM earned e JOIN placements p ON p.serial = e.placement
WHERE p.publisher = :serial AND e.month <= :month
"""
_STATED: Final = """
SELECT line_item, placement, sum(gross_nanos - refunded_nanos + adjusted_nanos), sum(micros)
FROM statement_lines WHERE party = :party GROUP BY line_item, placement
"""
_LINES: Final = f"SELECT {', '.join(Line.__struct_fields__)} FROM statement_lines"
_ADD_LINE: Final = text(
    f"INSERT INTO statement_lines (party, month, {', '.join(Line.__struct_fields__)}) "
    f"VALUES (:party, :month, {', '.join(':' + name for name in Line.__struct_fields__)})"
)
_ADD: Final = text(
    "INSERT INTO statements (party, month, at_ms, stands, segment, byte, chain) "
    "VALUES (:party, :month, :at_ms, :stands, :segment, :byte, :chain)"
)
_AT_ONCE: Final = 500
"""Serials asked for in one statement: databases limit how many."""

Standing = dict[tuple[str, int, int], bool]
"""(party, month, when) of a closing -> whether it stands."""


def close(connection: Connection, closed: Closed) -> None:
    """Post a closing, behind everything that was recorded before it."""
    key = {"party": closed.party, "month": closed.month}
    known = "SELECT 1 FROM statements WHERE party = :party AND month = :month AND at_ms = :at_ms"
    if connection.execute(text(known), {**key, "at_ms": closed.at_ms}).first() is not None:
        return
    found = _Books(connection, closed.party, closed.month)
    due, credits = found.lines(), found.credits()
    last = last_closed(connection, closed.party)
    stands = (last is None or closed.month > last) and totals(due, credits) == closed.totals
    place = {"segment": closed.segment, "byte": closed.offset, "chain": closed.chain}
    connection.execute(_ADD, {**key, **place, "at_ms": closed.at_ms, "stands": int(stands)})
    if stands:
        for line in due:
            values = {name: getattr(line, name) for name in Line.__struct_fields__}
            connection.execute(_ADD_LINE, {**key, **values})
        crediting.take_off(connection, found.serial, closed.month, credits)


def read(connection: Connection, party: str, month: int) -> Statement:
    """A month's statement, closed or as it stands now."""
    last = last_closed(connection, party)
    if last is not None and month <= last:
        return _closed(connection, party, month)
    books = _Books(connection, party, month)
    first_open = books.first_open(last)
    due = books.lines(ahead=first_open is not None)
    credits = books.credits() if first_open is None else []
    return Statement(party, month, due, credits, *_names(connection, due), first_open=first_open)


def last_closed(connection: Connection, party: str) -> int | None:
    """The latest month that is closed."""
    found = text("SELECT max(month) FROM statements WHERE party = :party AND stands = 1")
    month: int | None = connection.execute(found, {"party": party}).scalar()
    return month


def standing(connection: Connection) -> Standing:
    """Of all that is posted; nothing of a ledger of before there were statements."""
    if not inspect(connection).has_table("statements"):
        return {}
    rows = connection.execute(text("SELECT party, month, at_ms, stands FROM statements"))
    return {(party, month, at_ms): bool(stands) for party, month, at_ms, stands in rows}


def _closed(connection: Connection, party: str, month: int) -> Statement:
    """A month without a closing, before one that is closed, was one in which nothing was sold."""
    key = {"party": party, "month": month}
    behind = " WHERE party = :party AND month = :month ORDER BY line_item, placement"
    stated = [Line(*row) for row in connection.execute(text(_LINES + behind), key)]
    found = "SELECT at_ms, segment, byte, chain FROM statements WHERE party = :party AND month = :month"
    row = connection.execute(text(f"{found} AND stands = 1"), key).first()
    side, _, serial = party.partition(":")
    credits = crediting.taken_off(connection, int(serial), month) if side == "advertiser" else []
    names = _names(connection, stated)
    if row is None:
        return Statement(party, month, stated, credits, *names, closed=True)
    proof = Proof(row[1], row[2], bytes(row[3]))
    return Statement(party, month, stated, credits, *names, True, row[0], proof)


class _Books:
    """What was sold to or by a party, up to the end of a month."""

    def __init__(self, connection: Connection, party: str, month: int) -> None:
        self._connection = connection
        self._party = party
        self._sold: dict[Subject, Sold] = {}
        self._before: defaultdict[Subject, int] = defaultdict(int)
        self._months: set[int] = set()
        side, _, serial = party.partition(":")
        self.serial = int(serial)
        found = text(_OF_ADVERTISER if side == "advertiser" else _OF_PUBLISHER)
        for row in connection.execute(found, {"serial": self.serial, "month": month}):
            self._take(tuple(row), month)
        self._told = side == "advertiser"

    def _take(self, row: Any, month: int) -> None:
        line_item, placement, of, kind, units, nanos, refunded, refunded_nanos = row
        subject = line_item, placement
        if of < month:
            self._before[subject] += nanos - refunded_nanos
            self._months.add(of)
            return
        sold = self._sold.setdefault(subject, Sold([0] * len(UNITS)))
        if kind in UNIT_OF:
            sold.units[UNIT_OF[kind]] += units
        sold.refunded += refunded
        sold.gross_nanos += nanos
        sold.refunded_nanos += refunded_nanos

    def first_open(self, last: int | None) -> int | None:
        """The first month before this one that was sold in and is not closed."""
        return min((month for month in self._months if last is None or month > last), default=None)

    def lines(self, ahead: bool = False) -> list[Line]:
        """``ahead``: as they will be once the months before are closed, should nothing move any more."""
        stated = in_order(self._before) if ahead else self._stated()
        return lines(self._sold, self._before, stated, self._said())

    def credits(self) -> list[Credit]:
        """What comes off an advertiser's next statement."""
        return crediting.due(self._connection, self.serial) if self._told else []

    def _stated(self) -> dict[Subject, Stated]:
        found = self._connection.execute(text(_STATED), {"party": self._party})
        return {(row[0], row[1]): Stated(row[2], row[3]) for row in found}

    def _said(self) -> dict[int, Said]:
        wanted = {subject[0] for subject in (*self._sold, *self._before)}
        rows = _of(self._connection, "line_items", "currency, model, amount_micros", wanted)
        if self._told:
            return {row[0]: Said(row[1], row[2], row[3]) for row in rows}
        return {row[0]: Said(row[1]) for row in rows}


def _names(connection: Connection, stated: list[Line]) -> tuple[dict[int, str], dict[int, str]]:
    """Full ids of line items and placements, by serial."""
    items = {line.line_item for line in stated}
    places = {line.placement for line in stated if line.placement}
    return _full_ids(connection, "line_items", items), _full_ids(connection, "placements", places)


def _full_ids(connection: Connection, table: str, wanted: set[int]) -> dict[int, str]:
    return {row[0]: row[1] for row in _of(connection, table, "full_id", wanted)}


def _of(connection: Connection, table: str, columns: str, serials: set[int]) -> Iterator[Any]:
    """The rows of these serials alone: a ledger knows everything that ever sold."""
    found = text(f"SELECT serial, {columns} FROM {table} WHERE serial IN :serials")
    found = found.bindparams(bindparam("serials", expanding=True))
    wanted = sorted(serials)
    for at in range(0, len(wanted), _AT_ONCE):
        yield from connection.execute(found, {"serials": wanted[at : at + _AT_ONCE]})
