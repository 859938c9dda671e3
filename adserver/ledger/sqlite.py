"""The ledger in an SQLite file, which is what there is unless a server is given.

WAL with synchronous=NORMAL: a power cut may take the last transactions, offset and all, never half of
one; the journal is the truth, and posting goes on from the offset.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.exc import OperationalError

from adserver import migrating
from adserver.databases import Unusable, write_ahead
from adserver.ledger import rolled, statement_tables
from adserver.ledger.columns import add_columns
from adserver.ledger.insertion import Insertion
from adserver.ledger.metadata import METADATA
from adserver.ledger.migrations import BASELINE, HEAD, MIGRATIONS
from adserver.ledger.schema import APPEND_ONLY, EVENTS, LATER_COLUMNS
from adserver.ledger.shown import count_shown, lacks_shown

WHENCE: Final = (
    "(CASE WHEN country = '' THEN 0 WHEN country GLOB '[A-Z][A-Z]' "
    "THEN unicode(country) * 256 + unicode(substr(country, 2)) ELSE -1 END) * 256 + device"
)
_PATIENCE_S: Final = 5
"""For whoever else writes."""
_STEPS: Final = 100_000
"""Of SQLite's machine, between two looks at the clock."""


def open_database(path: Path) -> Engine:
    """The database in this file, made where there is none, and brought up where an earlier version made it.
    Raises Unusable for what a newer one did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _prepare)
    try:
        with engine.begin() as connection:
            lock_for_writing(connection)
            if migrating.noted(connection) is None:
                _make(connection)
            migrating.bring_up(connection, MIGRATIONS)
    except Unusable as error:
        engine.dispose()
        raise Unusable(f"{path} cannot be used: {error}") from None
    return engine


def _make(connection: Connection) -> None:
    """What is not there of what nobody has noted: all of it, or what came between a ledger of before and the
    first that was noted."""
    fresh = not inspect(connection).has_table(EVENTS.name)
    older = lacks_shown(connection)
    add_columns(connection, LATER_COLUMNS)
    METADATA.create_all(connection)
    if older:
        count_shown(connection)
    statement_tables.prepare(connection)
    if fresh:
        rolled.TABLES.create_all(connection)
    for table in APPEND_ONLY:
        for change in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(_refusing(table.name, change))
    migrating.note(connection, HEAD if fresh else BASELINE)


def read_database(path: Path) -> Engine:
    """The same for reading only, beside whoever writes it."""
    engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
    event.listen(engine, "connect", _patient)
    return engine


def make_durable(engine: Engine) -> None:
    """What is committed is on disk."""
    engine.dispose()
    event.listen(engine, "connect", _durably)


def lock_for_writing(connection: Connection) -> None:
    """SQLite's driver would begin a transaction at the first change only."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def hold_still(connection: Connection) -> None:
    """A transaction that is begun sees one moment from its first statement on."""
    connection.exec_driver_sql("BEGIN")


@contextmanager
def bounded(connection: Connection, seconds: float) -> Iterator[None]:
    driver = connection.connection.driver_connection
    assert driver is not None
    deadline = monotonic() + seconds
    driver.set_progress_handler(lambda: int(monotonic() > deadline), _STEPS)
    try:
        yield
    except OperationalError as error:
        if monotonic() > deadline:
            raise TimeoutError from error
        raise
    finally:
        driver.set_progress_handler(None, 0)


def insert(connection: Connection, insertion: Insertion, rows: Iterable[Sequence[Any]]) -> int:
    values = list(rows)
    return connection.exec_driver_sql(_spelled(insertion), values).rowcount if values else 0


@lru_cache(64)
def _spelled(insertion: Insertion) -> str:
    places = ", ".join("?" * len(insertion.columns))
    return f"{insertion.head} VALUES ({places}{insertion.zeros}){insertion.tail}"


def stream(connection: Connection, statement: str) -> Any:
    """The driver's own cursor: ten million rows are read through it."""
    cursor = connection.connection.cursor()
    cursor.execute(statement)
    return cursor


def strange(columns: Sequence[str]) -> str:
    """SQLite keeps whatever is put into a column."""
    numbers = "".join(f" OR typeof({column}) <> 'integer'" for column in columns)
    return f"length(event_id) <> 16 OR typeof(event_id) <> 'blob'{numbers}"


def _refusing(table: str, change: str) -> str:
    return (
        f"CREATE TRIGGER IF NOT EXISTS {table}_no_{change.lower()} BEFORE {change} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )


def _prepare(connection: Any, _: object) -> None:
    write_ahead(connection, _PATIENCE_S)
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _patient(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_PATIENCE_S * 1000}")
    cursor.close()


def _durably(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()
