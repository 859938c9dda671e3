"""What SQLite and PostgreSQL do each in its own way, of what the catalog asks of them.

Changes are made one after another: each takes the only lock there is before it reads (SQLite's own; an
advisory one in PostgreSQL, which the transaction's end gives back, however that comes), so what was checked
is still true when it is written, and revisions and serials are without a gap. Readers never wait, and see one
state of everything.
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Column, ColumnElement, Connection, Table, func
from sqlalchemy.dialects import postgresql, sqlite

_LOCK: Final = 0x636174616C6F67
"""Of PostgreSQL's advisory locks: "catalog"."""

Insert = sqlite.Insert | postgresql.Insert


class Dialect(Struct, frozen=True):
    """``write`` and ``read``: the statements that begin a transaction which may write, and one that sees one
    state; ``insert``: one that can say what to do on a conflict; ``position``: of a part in bytes, 0 where
    it is not in them; ``members``: adds (audience, pseudonym); ``serials``: the rows between two ids, each a
    line ``id space serial name``."""

    write: tuple[str, ...]
    read: tuple[str, ...]
    insert: Callable[[Table], Insert]
    position: Callable[[Column[bytes], bytes], ColumnElement[int]]
    members: str
    serials: str


SQLITE: Final = Dialect(
    write=("BEGIN IMMEDIATE",),
    read=("BEGIN",),
    insert=sqlite.insert,
    position=lambda column, part: func.instr(column, part),
    members="INSERT INTO members (audience, pseudonym) VALUES (?, ?)",
    serials="""
        SELECT group_concat(id || ' ' || space || ' ' || serial || ' ' || name, char(10))
        FROM (SELECT * FROM serials WHERE id > ? AND id <= ? ORDER BY id)
        """,
)

POSTGRESQL: Final = Dialect(
    # What stands after the lock sees what was committed before it: each statement has a snapshot of its own.
    write=("BEGIN ISOLATION LEVEL READ COMMITTED", f"SELECT pg_advisory_xact_lock({_LOCK})"),
    read=("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",),
    insert=postgresql.insert,
    position=lambda column, part: func.pg_catalog.position(column, part),
    members="INSERT INTO members (audience, pseudonym) VALUES (%s, %s)",
    serials="""
        SELECT string_agg(id || ' ' || space || ' ' || serial || ' ' || name, chr(10) ORDER BY id)
        FROM serials WHERE id > %s AND id <= %s
        """,
)

_NAMED: Final[dict[str, Dialect]] = {"sqlite": SQLITE, "postgresql": POSTGRESQL}


def of(connection: Connection) -> Dialect:
    return _NAMED[connection.dialect.name]


def insert(connection: Connection, table: Table) -> Any:
    """An insert into ``table`` that can say what to do on a conflict."""
    return of(connection).insert(table)
