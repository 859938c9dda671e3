"""What the databases of a ledger differ in: a file each (``sqlite``, ``postgres``), one of them in use."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from sqlalchemy import Connection, Engine

from adserver.databases import AWAY, Place, Unusable, reason
from adserver.domain import limits
from adserver.domain.changes import Unread
from adserver.ledger import sqlite
from adserver.ledger.insertion import Insertion


class Dialect(Protocol):
    """``WHENCE``: ``audit_books.whence_of`` in SQL; negative for what is no country."""

    WHENCE: str

    def make_durable(self, engine: Engine) -> None:
        """Whatever a connection of it commits from now on outlives a power cut."""

    def lock_for_writing(self, connection: Connection) -> None:
        """Begin the transaction as the one that writes; what is read from now on is not stale."""

    def hold_still(self, connection: Connection) -> None:
        """Begin a transaction that only reads, and all of one moment."""

    def bounded(self, connection: Connection, seconds: float) -> AbstractContextManager[None]:
        """What is read in it takes no longer, or raises TimeoutError."""

    def insert(self, connection: Connection, insertion: Insertion, rows: Iterable[Sequence[Any]]) -> int:
        """All rows at once, as tuples in the order of its columns; how many were added or changed."""

    def stream(self, connection: Connection, statement: str) -> Iterable[Any]:
        """Rows, as tuples, too many to be held; one such statement at a time."""

    def strange(self, columns: Sequence[str]) -> str:
        """A condition: a row's ``event_id`` and these ``columns`` hold what they must not."""


def open_database(place: Place) -> Engine:
    """For writing; made where there is none. Raises Unusable."""
    if isinstance(place, Path):
        return sqlite.open_database(place)
    engine: Engine = _postgres().open_database(place)
    return engine


def read_database(place: Place, patience_s: int = limits.DATABASE_PATIENCE_S) -> Engine:
    """The same for reading only, beside whoever writes it. ``patience_s``: of a database. Raises Unusable."""
    if isinstance(place, Path):
        return sqlite.read_database(place)
    engine: Engine = _postgres().read_database(place, patience_s)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection. Raises Unread."""
    try:
        with engine.connect() as connection:
            yield connection
    except AWAY as error:
        raise Unread(f"the books cannot be read now: {reason(error)}") from error


def dialect_of(bound: Connection | Engine) -> Dialect:
    return cast(Dialect, _postgres()) if bound.dialect.name == "postgresql" else sqlite


def lock_for_writing(connection: Connection) -> None:
    """As in ``Dialect``."""
    dialect_of(connection).lock_for_writing(connection)


def hold_still(connection: Connection) -> None:
    """As in ``Dialect``."""
    dialect_of(connection).hold_still(connection)


def _postgres() -> ModuleType:
    """Its driver is not loaded where it is not used. Raises Unusable."""
    try:
        from adserver.ledger import postgres
    except ModuleNotFoundError as error:
        raise Unusable(f"a ledger in a database needs {error.name}: install adserver[servers]") from error
    return postgres
