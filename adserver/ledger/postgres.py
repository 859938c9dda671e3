"""The ledger in a schema of a PostgreSQL database (14 or later), where several machines share one.

Every connection has the schema as its search path, so statements name tables as they do in SQLite. Writers
take turns: each begins with one advisory lock of the schema, as SQLite's write lock is one, and waits for it
no longer. So what is read behind it (READ COMMITTED: each statement sees what was committed before it) is
what the books say, until the transaction ends. Readers see one moment (REPEATABLE READ) and wait for nobody.

Many rows go by ``COPY`` into a temporary table and from there, in one statement, into the books: measured on
rows of ``events``, 0.7 µs of the poster's processor a row and 5 of the server's, against 8 and 10 for one
``INSERT`` a row in a pipeline, and 9 and 7 for ``unnest`` of arrays.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, Literal

import psycopg
from psycopg.adapt import Loader
from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    event,
)
from sqlalchemy.exc import DBAPIError, OperationalError

from adserver import migrating
from adserver.databases import Database, Unusable, connect, unusable
from adserver.domain import limits
from adserver.ledger import partitions, rolled, schema, statement_tables
from adserver.ledger.insertion import Insertion
from adserver.ledger.metadata import METADATA
from adserver.ledger.migrations import HEAD, MIGRATIONS
from adserver.patience import Patient

WHENCE: Final = (
    "(CASE WHEN country = '' THEN 0 WHEN country ~ '^[A-Z][A-Z]$' "
    "THEN ascii(country) * 256 + ascii(substr(country, 2)) ELSE -1 END) * 256 + device"
)
Isolation = Literal["READ COMMITTED", "REPEATABLE READ"]
_LOCK: Final = 0x6C656467
"""Of all advisory locks of the database, those that are ours."""
_FEW: Final = 8
"""Rows that are inserted one by one: copying costs a turn to the server more."""
_STREAMED: Final = 10_000
"""Rows fetched at a time."""


def open_database(database: Database) -> Engine:
    """The schema, made where there is none, and brought up where an earlier version made it. Raises
    Unusable."""
    engine = _connect(database, "READ COMMITTED", limits.DATABASE_PATIENCE_LONG_S)
    try:
        with engine.begin() as connection:
            _lock(connection, database.schema)
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {database.schema}")
            if migrating.noted(connection) is None:
                _make(connection)
            migrating.bring_up(connection, MIGRATIONS)
    except (DBAPIError, Unusable) as error:
        engine.dispose()
        raise unusable(database, error) from None
    return engine


def _make(connection: Connection) -> None:
    for tables in (METADATA, statement_tables.METADATA, rolled.TABLES):
        tables.create_all(connection)
    prepare(connection)
    migrating.note(connection, HEAD)


def read_database(database: Database, patience_s: int = limits.DATABASE_PATIENCE_S) -> Engine:
    """The same for reading only, beside whoever writes it. Raises Unusable."""
    return _connect(database, "REPEATABLE READ", patience_s, read_only=True)


def prepare(connection: Connection) -> None:
    """What tables alone do not say: the books are only added to, and have a partition for any time."""
    connection.exec_driver_sql(_REFUSE)
    for table in schema.APPEND_ONLY:
        for name, changes, each in (("row", "UPDATE OR DELETE", "ROW"), ("all", "TRUNCATE", "STATEMENT")):
            connection.exec_driver_sql(
                f"CREATE OR REPLACE TRIGGER append_only_{name} BEFORE {changes} ON {table.name} "
                f"FOR EACH {each} EXECUTE FUNCTION refuse_change()"
            )
    partitions.make_outer(connection)


_REFUSE: Final = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$
"""


def make_durable(engine: Engine) -> None:
    """It is, of every server that is fit."""


def lock_for_writing(connection: Connection) -> None:
    """Until the transaction ends. Not under REPEATABLE READ: its moment would be before the lock is had."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK}, hashtext(current_schema()))")


def _lock(connection: Connection, name: str) -> None:
    """The same for a schema that may not be there."""
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK, name))


def hold_still(connection: Connection) -> None:
    """A connection that reads does."""


@contextmanager
def bounded(connection: Connection, seconds: float) -> Iterator[None]:
    """Each statement, which is as good: a report is few of them."""
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {round(seconds * 1000)}")
    driver = _driver(connection)
    patience_s, driver.patience_s = driver.patience_s, seconds + limits.DATABASE_GRACE_S
    try:
        yield
    except OperationalError as error:
        if isinstance(error.orig, psycopg.errors.QueryCanceled):
            raise TimeoutError from error
        raise
    finally:
        driver.patience_s = patience_s


# -- rows ----------------------------------------------------------------------------------------------


def insert(connection: Connection, insertion: Insertion, rows: Iterable[Sequence[Any]]) -> int:
    """Into partitions that are there, or made before."""
    values = list(rows)
    if not values:
        return 0
    partitions.make(connection, insertion.table, values)
    if len(values) <= _FEW:
        return connection.exec_driver_sql(_one(insertion), values).rowcount
    return _copied(connection, insertion, values)


def _copied(connection: Connection, insertion: Insertion, rows: Sequence[Sequence[Any]]) -> int:
    pending, columns = f"pending_{insertion.table.name}", ", ".join(insertion.columns)
    with _wrapped(insertion.head), _driver(connection).cursor() as cursor:
        cursor.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {pending} ON COMMIT DELETE ROWS "
            f"AS SELECT * FROM {insertion.table.name} WITH NO DATA"
        )
        cursor.execute(f"DELETE FROM {pending}")
        with cursor.copy(f"COPY {pending} ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(_types(insertion))
            for row in rows:
                copy.write_row(row)
        cursor.execute(f"{insertion.head} SELECT {columns}{insertion.zeros} FROM {pending}{insertion.tail}")
        return int(cursor.rowcount)


@contextmanager
def _wrapped(statement: str) -> Iterator[None]:
    """What the driver raises where it is asked directly is raised as SQLAlchemy raises it."""
    try:
        yield
    except psycopg.Error as error:
        raise DBAPIError.instance(statement, None, error, psycopg.Error) from error


@lru_cache(64)
def _one(insertion: Insertion) -> str:
    places = ", ".join(["%s"] * len(insertion.columns))
    return f"{insertion.head} VALUES ({places}{insertion.zeros}){insertion.tail}"


@lru_cache(64)
def _types(insertion: Insertion) -> list[str]:
    return [_type(insertion.table, column) for column in insertion.columns]


def _type(table: Table, column: str) -> str:
    kind = table.c[column].type
    if isinstance(kind, SmallInteger):
        return "int2"
    if isinstance(kind, BigInteger | Integer):
        return "int8"
    return "bytea" if isinstance(kind, LargeBinary) else "text"


def stream(connection: Connection, statement: str) -> Iterator[Any]:
    """Over a cursor of the server's, which audits may keep busy for long."""
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    driver = _driver(connection)
    patience_s, driver.patience_s = driver.patience_s, None
    try:
        with _wrapped(statement), driver.cursor("streamed") as cursor:
            cursor.itersize = _STREAMED
            cursor.execute(statement.encode(), binary=True)
            yield from cursor
    finally:
        driver.patience_s = patience_s


def _driver(connection: Connection) -> Patient:
    driver = connection.connection.driver_connection
    assert isinstance(driver, Patient)
    return driver


def strange(columns: Sequence[str]) -> str:
    """The rest its types say."""
    return "length(event_id) <> 16"


# -- connections ---------------------------------------------------------------------------------------


def _connect(database: Database, isolation: Isolation, patience_s: int, read_only: bool = False) -> Engine:
    engine = connect(database, read_only, patience_s)
    engine.dispose()
    event.listen(engine, "connect", _prepare)
    return engine.execution_options(isolation_level=isolation)


def _prepare(connection: Any, _: object) -> None:
    connection.adapters.register_loader("numeric", _Whole)


class _Whole(Loader):
    """What PostgreSQL's sums of 64 bits are: whole numbers, of which nothing is a fraction."""

    def load(self, data: Any) -> int:
        return int(bytes(data))
