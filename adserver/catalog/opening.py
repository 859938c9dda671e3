"""How the catalog is opened, and its transactions.

Any number of processes may open it. What was accepted survives a power cut: SQLite syncs every commit
(synchronous FULL), and so does a PostgreSQL server that is found fit (``databases``).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from adserver import migrating
from adserver.catalog import dialects
from adserver.catalog.migrations import BASELINE, HEAD, MIGRATIONS
from adserver.catalog.tables import CATALOGUE, FORMER, METADATA, NOTED, newest
from adserver.databases import AWAY, Database, Place, Unusable, connect, reason, unusable, write_ahead
from adserver.domain import limits
from adserver.domain.changes import Unread, Unwritten

VERSION: Final = 2
"""Kept in the file (user_version). A file of version 1, which kept no former versions, is brought forward in
place; one of any other version is refused, not guessed at. Later ones are noted apart (``migrations``)."""

FILE: Final = "catalog.sqlite"
"""The catalog's name in the data folder."""
SCHEMA: Final = "catalog"
"""In a database."""

_PATIENCE_S: Final = 30


def place_of(data: Path, url: str | None) -> Place:
    """Of the catalog of the data folder ``data``, where a database may be given by its ``url``. Raises
    Unusable for a folder that has one of its own: what it sold is known by numbers of that one."""
    if not url:
        return data / FILE
    if (data / FILE).exists():
        raise Unusable(f"{data} has a catalogue of its own ({FILE}): a database is served from a new folder")
    return Database(url, SCHEMA)


def open_place(place: Place, patience_s: int = limits.DATABASE_PATIENCE_S) -> Engine:
    """The engine of the catalog there, made if absent. ``patience_s``: with a database. Raises Unusable."""
    return _open_database(place, patience_s) if isinstance(place, Database) else _open_file(place)


def _open_file(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT")
    event.listen(engine, "connect", _prepare)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Pseudonyms and hashes of keys: nobody else's business. SQLite's other files follow this one's mode.
        path.touch(0o600)
        _create(engine)
    except OSError as error:
        raise Unusable(f"{path} cannot be used: {error.strerror}") from error
    except DBAPIError as error:
        raise Unusable(f"{path} cannot be used: {error.orig}") from error
    except (Unwritten, Unusable) as error:
        raise Unusable(f"{path} cannot be used: {error}") from error
    return engine


def _create(engine: Engine) -> None:
    with writing(engine) as connection:
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if version == 0:
            _begin(connection)
        elif version == 1:
            _bring_forward(connection)
        elif version != VERSION:
            raise _of_another_version(version)
        if version != VERSION:
            connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
        elif migrating.noted(connection) is None:
            migrating.note(connection, BASELINE)
        migrating.bring_up(connection, MIGRATIONS)


def _begin(connection: Connection) -> None:
    METADATA.create_all(connection)
    connection.execute(CATALOGUE.insert().values(revision=0, kept_from=0))
    migrating.note(connection, HEAD)


def _bring_forward(connection: Connection) -> None:
    """From version 1: what the catalogue was before now is not known."""
    METADATA.create_all(connection, [FORMER, NOTED])
    connection.exec_driver_sql("ALTER TABLE catalogue ADD COLUMN kept_from INTEGER NOT NULL DEFAULT 0")
    connection.execute(CATALOGUE.update().values(kept_from=CATALOGUE.c.revision))
    migrating.note(connection, BASELINE)


def _open_database(database: Database, patience_s: int) -> Engine:
    engine = connect(database, patience_s=patience_s)
    try:
        with writing(engine) as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {database.schema}")
            if migrating.noted(connection) is None:
                _begin(connection)
            migrating.bring_up(connection, MIGRATIONS)
    except (DBAPIError, Unwritten, Unusable) as error:
        engine.dispose()
        raise unusable(database, error) from None
    return engine


def open_to_read(place: Place) -> Engine:
    """The engine of the catalog there, which it never changes, whoever else does. Raises Unusable."""
    engine = (
        connect(place, True, limits.DATABASE_PATIENCE_LONG_S)
        if isinstance(place, Database)
        else _file_to_read(place)
    )
    try:
        with reading(engine) as connection:
            if isinstance(place, Path):
                _check_version(connection)
            newest(connection)
            migrating.check(connection, MIGRATIONS)
    except (DBAPIError, Unread, Unusable) as error:
        engine.dispose()
        raise Unusable(f"{place} cannot be read: {reason(error)}") from error
    return engine


def _file_to_read(path: Path) -> Engine:
    def connected() -> sqlite3.Connection:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", _PATIENCE_S, uri=True)

    return create_engine("sqlite://", creator=connected, poolclass=NullPool, isolation_level="AUTOCOMMIT")


def _check_version(connection: Connection) -> None:
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version != VERSION:
        raise _of_another_version(version)


def _of_another_version(version: int) -> Unusable:
    return Unusable(f"it has version {version}; this program reads version {VERSION}")


def _prepare(connection: Any, _record: object) -> None:
    write_ahead(connection, _PATIENCE_S)
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write; nobody else writes between its first read and its end. Raises
    Unwritten."""
    try:
        with _transaction(engine, write=True) as connection:
            yield connection
    except AWAY as error:
        raise Unwritten(f"the catalogue cannot be written now: {_reason(error)}") from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one state of the catalog. Raises Unread."""
    try:
        with _transaction(engine, write=False) as connection:
            yield connection
    except AWAY as error:
        raise Unread(f"the catalogue cannot be read now: {reason(error)}") from error


@contextmanager
def _transaction(engine: Engine, write: bool) -> Iterator[Connection]:
    with engine.connect() as connection:
        dialect = dialects.of(connection)
        try:
            for statement in dialect.write if write else dialect.read:
                connection.exec_driver_sql(statement)
            yield connection
        except BaseException:
            # Where the disk is full, SQLite has done so itself; where the server is gone, it will.
            with suppress(DBAPIError):
                connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")


def _reason(error: Exception) -> str:
    """SQLite says the same of a full disk and a full database."""
    said = reason(error)
    return "no room on disk" if "full" in said else said
