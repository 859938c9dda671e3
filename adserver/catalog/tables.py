"""The catalog's tables (SQLite, by SQLAlchemy Core) and how the file is opened.

Several processes may open it: write-ahead log, so readers never wait; every change in one transaction
that takes the write lock at its start (BEGIN IMMEDIATE), so what was checked is still true when it is
written; synchronous FULL, so what was accepted survives a power cut.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
    select,
)
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from adserver.domain.changes import Unwritten

VERSION: Final = 2
"""Kept in the file (user_version). A file of version 1, which kept no former versions, is brought forward in
place; one of any other version is refused, not guessed at."""

FILE: Final = "catalog.sqlite"
"""The catalog's name in the data folder."""

BUSY_TIMEOUT_MS: Final = 30_000

METADATA: Final = MetaData()

CATALOGUE: Final = Table(
    "catalogue",
    METADATA,
    Column("revision", Integer, nullable=False),
    Column("kept_from", Integer, nullable=False),
)
"""One row: the newest revision, and the oldest that can be told again (``history``)."""

OBJECTS: Final = Table(
    "objects",
    METADATA,
    Column("kind", String, primary_key=True),
    Column("full_id", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("etag", String, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    Index("objects_by_revision", "revision"),
    sqlite_with_rowid=False,
)

FORMER: Final = Table(
    "former",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("kind", String, nullable=False),
    Column("full_id", String, nullable=False),
    Column("until", Integer, nullable=False),
    Column("etag", String, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("head", Integer, nullable=False),
    Column("tail", Integer, nullable=False),
    Column("middle", LargeBinary, nullable=False),
)
"""Superseded versions of objects, in the order in which they were (``former``)."""

NOTED: Final = Table(
    "noted",
    METADATA,
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("at_ms", Integer, nullable=False),
)
"""Which revision was the newest when: some hundred rows."""

SERIALS: Final = Table(
    "serials",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("space", String, nullable=False),
    Column("name", String, nullable=False),
    Column("serial", Integer, nullable=False),
    UniqueConstraint("space", "name"),
    UniqueConstraint("space", "serial"),
    sqlite_autoincrement=True,
)
"""Rows are added and never changed or removed: a serial means one thing for ever."""

LINE_ITEMS: Final = Table(
    "line_items",
    METADATA,
    Column("serial", Integer, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
"""The last version of every line item there ever was (MessagePack, without creatives)."""

CREATIVES: Final = Table(
    "creatives",
    METADATA,
    Column("serial", Integer, primary_key=True),
    Column("line_item", Integer, nullable=False),
    Column("campaign", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""Every version of every creative (MessagePack)."""

MEMBERS: Final = Table(
    "members",
    METADATA,
    Column("audience", Integer, primary_key=True, autoincrement=False),
    Column("pseudonym", LargeBinary, primary_key=True),
    sqlite_with_rowid=False,
)

APPLIED: Final = Table(
    "applied",
    METADATA,
    Column("kind", String, primary_key=True),
    Column("full_id", String, primary_key=True),
    Column("digest", String, nullable=False),
    sqlite_with_rowid=False,
)
"""What the file of an object was when it was last applied."""

BILLED: Final = Table("billed", METADATA, Column("campaign", Integer, primary_key=True, autoincrement=False))

KEYS: Final = Table(
    "keys",
    METADATA,
    Column("id", String, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("role", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("read_prices", Boolean, nullable=False),
    Column("created_ms", Integer, nullable=False),
    Column("revoked", Boolean, nullable=False),
)


class Unusable(Exception):
    """The catalog's file cannot be used; the message says why."""


def open_file(path: Path) -> Engine:
    """The engine of the catalog at ``path``, made if absent. Raises Unusable."""
    engine = create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT")
    event.listen(engine, "connect", _prepare)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Pseudonyms and hashes of keys: nobody else's business. SQLite's other files follow this one's mode.
        path.touch(0o600)
        _create(engine, path)
    except OSError as error:
        raise Unusable(f"{path} cannot be used: {error.strerror}") from error
    except DBAPIError as error:
        raise Unusable(f"{path} cannot be used: {error.orig}") from error
    except Unwritten as error:
        raise Unusable(f"{path} cannot be used: {error}") from error
    return engine


def _create(engine: Engine, path: Path) -> None:
    with writing(engine) as connection:
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if version == VERSION:
            return
        if version == 0:
            METADATA.create_all(connection)
            connection.execute(CATALOGUE.insert().values(revision=0, kept_from=0))
        elif version == 1:
            _bring_forward(connection)
        else:
            raise _of_another_version(path, version)
        connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")


def _bring_forward(connection: Connection) -> None:
    """From version 1: what the catalogue was before now is not known."""
    METADATA.create_all(connection, [FORMER, NOTED])
    connection.exec_driver_sql("ALTER TABLE catalogue ADD COLUMN kept_from INTEGER NOT NULL DEFAULT 0")
    connection.execute(CATALOGUE.update().values(kept_from=CATALOGUE.c.revision))


def open_to_read(path: Path) -> Engine:
    """The engine of the catalog at ``path``, which it never changes, whoever else does. Raises Unusable."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", BUSY_TIMEOUT_MS / 1000, uri=True)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        with reading(engine) as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version != VERSION:
                raise _of_another_version(path, version)
            newest(connection)
    except DBAPIError as error:
        raise Unusable(f"{path} cannot be read: {error.orig}") from error
    return engine


def _of_another_version(path: Path, version: int) -> Unusable:
    return Unusable(f"{path} has version {version}; this program reads version {VERSION}")


def _prepare(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write; nobody else writes between its first read and its end. Raises
    Unwritten."""
    try:
        with _transaction(engine, "BEGIN IMMEDIATE") as connection:
            yield connection
    except OperationalError as error:
        raise Unwritten(f"the catalogue cannot be written now: {_reason(error)}") from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one state of the file."""
    with _transaction(engine, "BEGIN") as connection:
        yield connection


def newest(connection: Connection) -> int:
    """The newest revision."""
    return int(connection.execute(select(CATALOGUE.c.revision)).scalar_one())


@contextmanager
def _transaction(engine: Engine, begin: str) -> Iterator[Connection]:
    with engine.connect() as connection:
        connection.exec_driver_sql(begin)
        try:
            yield connection
        except BaseException:
            # Where the disk is full, SQLite has done so itself.
            with suppress(OperationalError):
                connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")


def _reason(error: OperationalError) -> str:
    """SQLite says the same of a full disk and a full database."""
    return "no room on disk" if "full" in str(error.orig) else str(error.orig)
