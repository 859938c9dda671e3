"""PostgreSQL's partitions of the tables that grow by event: one a table and day (UTC) of the decision.

An event's id begins with the time of its decision, so ranges of ids are ranges of days, and the key is as
unique as without them. A partition is made in the transaction that first posts something of its day, by
attaching a table that is whole: that waits for no reader. What is of no day of this century (an entry of a
credit, whose id is a hash) is in one of two outer partitions.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Table

_DAY_MS: Final = 86_400_000
_QUARTERS: Final = 96
"""Of an hour, in a day."""
_FIRST: Final = 18_262
_END: Final = 47_482
"""Days since the epoch: from 2020 on, before 2100."""
_BY_ID: Final = ("events", "filtered", "entries", "people")
_ALL: Final = (*_BY_ID, "rollups")


def make(connection: Connection, table: Table, rows: Iterable[Sequence[Any]]) -> None:
    """Those that these ``rows`` of a ``table`` need, by the column that comes first."""
    if table.name not in _ALL:
        return
    days = _days_of_ids(rows) if table.name in _BY_ID else {row[0] // _QUARTERS for row in rows}
    wanted = [_name(table.name, day) for day in days if _FIRST <= day < _END]
    missing = "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NULL"
    absent = set(connection.exec_driver_sql(missing, (wanted,)).scalars()) if wanted else set[str]()
    for day in sorted(days):
        if _name(table.name, day) in absent:
            _attach(
                connection,
                table.name,
                _name(table.name, day),
                _bound(table.name, day),
                _bound(table.name, day + 1),
            )


def make_outer(connection: Connection) -> None:
    """What comes before and behind all days."""
    for table in _ALL:
        for name, low, high in (
            (f"{table}_before", "MINVALUE", _bound(table, _FIRST)),
            (f"{table}_behind", _bound(table, _END), "MAXVALUE"),
        ):
            if connection.exec_driver_sql("SELECT to_regclass(%s)", (name,)).scalar() is None:
                _attach(connection, table, name, low, high)


def _attach(connection: Connection, table: str, name: str, low: str, high: str) -> None:
    connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    connection.exec_driver_sql(
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})"
    )


def _days_of_ids(rows: Iterable[Sequence[Any]]) -> set[int]:
    starts = {row[0][:6] for row in rows}
    return {int.from_bytes(start, "big") // _DAY_MS for start in starts}


def _name(table: str, day: int) -> str:
    return f"{table}_{datetime.fromtimestamp(day * 86_400, UTC):%Y%m%d}"


def _bound(table: str, day: int) -> str:
    if table in _BY_ID:
        return f"'\\x{(day * _DAY_MS).to_bytes(6, 'big').hex()}'"
    return str(day * _QUARTERS)
