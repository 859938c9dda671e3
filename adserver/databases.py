"""Where the catalog and the ledger are: each a file of SQLite, or a schema of one PostgreSQL database.

What is here they share: which database is fit to hold what was accepted, and how connections to it are
made. Those are few and bounded in time, and nothing is tried again here: who finds the server away is told
so, and waits or does without.
"""

import sqlite3
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoneFree

from adserver.domain import limits
from adserver.domain.changes import Unwritten

OLDEST: Final = 14
"""The first version of PostgreSQL that is used."""

TOLD: Final = "ADSERVER_DATABASE"
"""In the environment of a process of ours: the URL, which may hold a password; empty: there is none."""

AWAY: Final = (OperationalError, InterfaceError, NoneFree)
"""What is raised where a database, or a connection to it, cannot be had."""


_PAUSE_S: Final = 0.005


class Unusable(Exception):
    """A catalog or ledger cannot be used; the message says why, and never tells a password."""


class Away(Unusable):
    """Its server cannot be reached, or lets nobody in, for now: trying again helps."""


class Database(Struct, frozen=True):
    """The tables of one room: ``schema`` of the database at ``url`` (postgresql://user@host/name)."""

    url: str
    schema: str

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        shown = url_of(self.url).set(drivername="postgresql", query={})
        return f"{shown.render_as_string()} ({self.schema})"


Place = Path | Database


def url_of(text: str) -> URL:
    """Raises Unusable, without a word of ``text``: it may hold a password."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise Unusable("the database's URL is none; it is such as postgresql://user@host/name") from None
    if url.drivername not in ("postgresql", "postgres") or not url.database:
        raise Unusable("the database's URL is not such as postgresql://user@host/name")
    return url.set(drivername="postgresql+psycopg")


def connect(
    database: Database, read_only: bool = False, patience_s: int = limits.DATABASE_PATIENCE_S
) -> Engine:
    """The engine of a database that is fit. Transactions are begun by statements; names are looked for in the
    schema alone. ``patience_s``: in which any statement is answered. Raises Unusable."""
    engine = _engine(database, read_only, patience_s)
    try:
        with engine.connect() as connection:
            _examine(connection)
    except (DBAPIError, Unusable) as error:
        engine.dispose()
        raise unusable(database, error) from None
    return engine


def write_ahead(connection: sqlite3.Connection, patience_s: float) -> None:
    """A file of SQLite gets a log of its own (WAL), so that whoever reads and one who writes never wait for
    each other. Nobody waits for whoever else is making the same file, or SQLite would have two wait for each
    other: it refuses at once, and is asked again. Raises sqlite3.OperationalError after so many seconds."""
    deadline = monotonic() + patience_s
    connection.execute(f"PRAGMA busy_timeout = {int(patience_s * 1000)}")
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
        sleep(_PAUSE_S)


def unusable(database: Database, error: Exception) -> Unusable:
    kind = Away if isinstance(error, (*AWAY, Away, Unwritten)) else Unusable
    return kind(f"{database} cannot be used: {reason(error)}")


def reason(error: Exception) -> str:
    """For the operator, in one line: no statement, no row."""
    return " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())


def _engine(database: Database, read_only: bool, patience_s: int) -> Engine:
    try:
        engine = create_engine(
            url_of(database.url),
            isolation_level="AUTOCOMMIT",
            pool_size=limits.DATABASE_CONNECTIONS,
            max_overflow=0,
            pool_timeout=limits.DATABASE_CONNECT_S,
            # A server that was away has left connections behind which nobody may be handed.
            pool_pre_ping=True,
            connect_args=_terms(database.schema, read_only, patience_s),
        )
        from adserver.patience import Patient
    except ModuleNotFoundError as error:
        raise Unusable(f"{database} needs {error.name}: install adserver[servers]") from error

    def dial(_dialect: Any, _record: Any, arguments: Any, terms: dict[str, Any]) -> Any:
        return Patient.connected(patience_s + limits.DATABASE_GRACE_S, *arguments, **terms)

    event.listen(engine, "do_connect", dial)
    return engine


def _terms(schema: str, read_only: bool, patience_s: int) -> dict[str, Any]:
    """Of every connection. What the server is asked takes at most so long; and of a machine that is gone
    without a word the client hears nothing but from its own probes."""
    said = {
        "search_path": schema,
        "statement_timeout": patience_s * 1000,
        "lock_timeout": patience_s * 1000,
        "default_transaction_read_only": "on" if read_only else "off",
    }
    return {
        "connect_timeout": limits.DATABASE_CONNECT_S,
        "tcp_user_timeout": limits.DATABASE_PATIENCE_S * 1000,
        "keepalives_idle": limits.DATABASE_PATIENCE_S // 2,
        "keepalives_interval": 1,
        "keepalives_count": limits.DATABASE_PATIENCE_S // 2,
        "application_name": f"adserver {schema}",
        "options": " ".join(f"-c {name}={value}" for name, value in said.items()),
    }


def _examine(connection: Connection) -> None:
    """Raises Unusable for a server that would not keep what it accepted, or that is too old."""
    version = int(_setting(connection, "server_version_num")) // 10_000
    if version < OLDEST:
        raise Unusable(f"it is PostgreSQL {version}; {OLDEST} is the oldest that is used")
    for name in ("fsync", "synchronous_commit"):
        if _setting(connection, name) == "off":
            raise Unusable(f"its {name} is off: what was accepted would be lost with the power")
    if _setting(connection, "server_encoding") != "UTF8":
        raise Unusable("its encoding is not UTF8")


def _setting(connection: Connection, name: str) -> str:
    return str(connection.exec_driver_sql("SELECT current_setting(%s)", (name,)).scalar_one())
