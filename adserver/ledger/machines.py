"""Who serves from a ledger in a database: which numbers each machine has, and when it last showed that it
lives.

A number is in every id that its process mints, in the names of its journal and of its place in the books, and
says whose an event is. So it is given once, to a data folder for good, before anything is done under it: a
folder that starts again has the numbers it had, and nobody else ever gets them, not even when an operator
said that it never comes back. A folder that served before there was this table has those of its journals.

Two of one identity at once (a copied folder) would speak for each other: each holds a lock of its session,
which ends with its connection. Where the database cannot be asked what was heard last stands.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Function, Row, cast, extract, func, select
from sqlalchemy.exc import DBAPIError

from adserver.databases import Database, Place, Unusable, connect, reason
from adserver.domain import ids, limits
from adserver.domain.workers import Peer
from adserver.ledger import journals
from adserver.ledger.dialects import lock_for_writing, open_database, read_database
from adserver.ledger.lease_tables import HOLDERS
from adserver.ledger.ledger import positions_of
from adserver.ledger.machine_tables import WORKERS
from adserver.ledger.schema import has

NUMBERS: Final = 1 << ids.OWNER_BITS
OVER_MS: Final = limits.CAP_PER_MS_MAX + limits.RENDER_WITHIN_MS_MAX + limits.GRACE_MS
"""After so long without a sign of life all that a machine showed is out of every cap's window: its last ad
was shown within its time, and the longest window began then."""
_LOCK: Final = 0x6D616368
"""Of all advisory locks of the database, those that are ours."""
_WHEN_GONE: Final = tuple(
    f"SET tcp_keepalives_{name} = {value}" for name, value in (("idle", 5), ("interval", 1), ("count", 5))
)
"""Of a machine that is gone without a word the server hears by its own probes."""
_NOW: Final = cast(extract("epoch", func.clock_timestamp()) * 1000, BigInteger)
_ALL: Final = select(WORKERS, (_NOW - WORKERS.c.seen_ms).label("silent_ms")).order_by(WORKERS.c.number)


class Taken(Unusable):
    """Another process holds this machine's name."""


class GivenUp(Unusable):
    """Others were told that this machine never comes back."""

    def __init__(self) -> None:
        super().__init__("this data folder was given up: others were told that it never comes back")


class Machines:
    """As one ``machine`` has them. Blocking; used by one thread at a time. Raises Unusable, DBAPIError."""

    def __init__(self, database: Database, machine: str = "") -> None:
        open_database(database).dispose()
        # Who ends does not wait long for a database that hangs.
        self._engine = connect(database).execution_options(isolation_level="READ COMMITTED")
        self._machine = machine
        self._session: Connection | None = None

    def claim(self, served: Sequence[int], doors: Sequence[str], alone: bool) -> list[Peer]:
        """As many numbers as ``doors``, for this machine, whose folder has the journals ``served``; all there
        are by now. ``alone``: no other machine may serve. Raises Taken, Unusable."""
        with self._speaking() as connection:
            lock_for_writing(connection)
            rows = connection.execute(select(WORKERS)).all()
            mine = _numbers(self._machine, rows, _posted(connection), served, len(doors), alone)
            connection.execute(WORKERS.delete().where(WORKERS.c.machine == self._machine))
            for number, door in zip_longest(mine, doors):
                row = {"number": number, "machine": self._machine, "serves": int(door is not None)}
                row |= {"door": door or "", "gone": 0, "seen_ms": _NOW}
                connection.execute(WORKERS.insert().values(row))
            return _read(connection)

    def now_ms(self) -> int:
        """By the one clock that all of them see."""
        with self._engine.begin() as connection:
            return int(connection.execute(select(_NOW)).scalar_one())

    def beat(self) -> list[Peer]:
        """It lives; all there are by now. Raises Taken, GivenUp."""
        with self._speaking() as connection:
            mine = WORKERS.update().where(WORKERS.c.machine == self._machine, WORKERS.c.gone == 0)
            if not connection.execute(mine.values(seen_ms=_NOW)).rowcount:
                raise GivenUp
            return _read(connection)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
        self._engine.dispose()

    @contextmanager
    def _speaking(self) -> Iterator[Connection]:
        """A transaction of the session that has the lock; another session, where that was lost."""
        session = self._session = self._session or self._begun()
        try:
            with session.begin():
                yield session
        except DBAPIError:
            session.invalidate()
            session.close()
            self._session = None
            raise

    def _begun(self) -> Connection:
        session = self._engine.connect()
        try:
            with session.begin():
                for statement in _WHEN_GONE:
                    session.exec_driver_sql(statement)
                if session.execute(select(func.pg_try_advisory_lock(*_lock_of(self._machine)))).scalar_one():
                    return session
        except DBAPIError:
            session.close()
            raise
        session.close()
        raise Taken("another process serves as this data folder: is it a copy? (or one that has just ended)")

    # -- what operators ask ------------------------------------------------------------------------

    def told(self) -> list[tuple[Peer, int]]:
        """All there are, and since when nothing was heard of each (ms)."""
        with self._engine.begin() as connection:
            return [(_peer(row), row.silent_ms) for row in connection.execute(_ALL)]

    def give_up(self, machine: str) -> None:
        """It never comes back: what stands in its journals alone is lost. Raises Unusable where it serves, or
        there is none."""
        with self._engine.begin() as connection:
            lock_for_writing(connection)
            if not connection.execute(
                select(func.pg_try_advisory_xact_lock(*_lock_of(machine)))
            ).scalar_one():
                raise Unusable(f"machine {machine} serves")
            changed = WORKERS.update().where(WORKERS.c.machine == machine).values(gone=1)
            if not connection.execute(changed).rowcount:
                raise Unusable(f"there is no machine {machine}")


def shares(place: Place) -> bool:
    """Whether the budgets of a ledger are leased, or several data folders ever served from it. Only reads.
    Raises Unusable."""
    if isinstance(place, Path) and not place.exists():
        return False
    engine = read_database(place)
    try:
        with engine.connect() as connection:
            return _any(connection, HOLDERS.c.holder, 1) or _any(connection, WORKERS.c.machine, 2)
    except DBAPIError as error:
        raise Unusable(f"the ledger cannot be read: {reason(error)}") from error
    finally:
        engine.dispose()


def _any(connection: Connection, column: Column[Any], least: int) -> bool:
    """Whether there are so many. A file of an earlier version may have no such table."""
    found = select(column).distinct().limit(least)
    return has(connection, column.table) and len(connection.execute(found).all()) == least


def _lock_of(machine: str) -> tuple[int, Function[Any]]:
    return _LOCK, func.hashtext(machine)


def _posted(connection: Connection) -> set[int]:
    """The numbers of all journals of which anything is posted."""
    consumers = positions_of(connection)
    return {number for number in range(NUMBERS) if journals.consumer_of(number) in consumers}


def _numbers(
    machine: str, rows: Sequence[Row[Any]], posted: set[int], served: Sequence[int], count: int, alone: bool
) -> list[int]:
    """Of ``machine``, at least ``count``. Raises Unusable."""
    known = {row.number: row for row in rows}
    mine = [number for number, row in known.items() if row.machine == machine]
    if any(known[number].gone for number in mine):
        raise GivenUp
    if alone and any(row.machine != machine and not row.gone for row in rows):
        raise Unusable(
            "another data folder serves from this database (adserver machines): to serve from both, give "
            "each an address for the other's events (--errands); to go on with this one alone, give that up"
        )
    strange = [number for number in served if number in known and known[number].machine != machine]
    if strange:
        raise Unusable(f"the data folder has journals of another: {_named(strange)}")
    nobodys = sorted(posted - known.keys() - set(served))
    if nobodys:
        raise Unusable(f"the ledger was posted from journals that are not here: {_named(nobodys)}")
    mine = sorted({*mine, *served})
    free = max([*known, *mine], default=-1) + 1
    mine += range(free, free + count - len(mine))
    if mine[-1] >= NUMBERS:
        raise Unusable(f"all {NUMBERS} numbers of processes are taken")
    return mine


def _named(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _read(connection: Connection) -> list[Peer]:
    return [_peer(row) for row in connection.execute(_ALL)]


def _peer(row: Row[Any]) -> Peer:
    return Peer(row.number, row.machine, bool(row.serves), row.door, bool(row.gone), row.silent_ms > OVER_MS)
