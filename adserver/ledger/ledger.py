"""The books as everybody may read them: events posted from the journal, each exactly once (``writer``).

Read over a connection that cannot write, beside the one process that posts.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, func, select, text, tuple_

from adserver import migrating
from adserver.databases import Place
from adserver.domain import limits
from adserver.domain.accounts import Account, Movement
from adserver.domain.books import LineItemTotals, Position, Shown, totals_of
from adserver.domain.credits import Credit
from adserver.domain.records import Reversed, Status, Unbilled
from adserver.domain.statements import Statement
from adserver.ledger import crediting, movements, schema, stating, trial_balance
from adserver.ledger.conversions import ads_of, owed_to, posted
from adserver.ledger.dialects import dialect_of, hold_still, read_database, reading
from adserver.ledger.lease_tables import HOLDERS, LEASES
from adserver.ledger.migrations import MIGRATIONS
from adserver.ledger.posting import REVERSIBLE
from adserver.ledger.reports import ReportReader
from adserver.ledger.schema import (
    BUDGETS,
    COUNTED,
    EVENTS,
    FILTERED,
    LIFETIME,
    OFFSETS,
    REVERSALS,
    SHOWN,
    TOTALS,
)

CONSUMER: Final = "posting"
_Thing = TypeVar("_Thing")
IN_LIST: Final = 500
"""Values in one statement's list."""


class Ledger:
    """Posted events, in the ledger at ``place``. ``position``: how far into the journal everything is
    known to be posted; whoever hears of more says so (``moved``). ``consumer``: which journal that is, where
    there are several (``journals``). What asks raises Unread where the database is away."""

    def __init__(self, place: Place, consumer: str = CONSUMER) -> None:
        self._engine = read_database(place)
        self._consumer = consumer
        self.reports = ReportReader(self._engine)
        try:
            with reading(self._engine) as connection:
                migrating.check(connection, MIGRATIONS)
                self._position = self._position_in(connection)
        except BaseException:
            self._engine.dispose()
            raise

    def _position_in(self, connection: Connection) -> Position:
        return positions_of(connection).get(self._consumer, Position())

    @property
    def position(self) -> Position:
        """How far into the journal everything is posted."""
        return self._position

    def moved(self, position: Position) -> None:
        """Somebody posted up to there."""
        self._position = max(self._position, position)

    def status(self, event_id: bytes, kind: int) -> int | None:
        """The recorded status of (event id, kind), None if none is posted. ``FILTERED`` is told only
        where nothing else was recorded: the id is not used up then."""
        with reading(self._engine) as connection:
            for table in (EVENTS, FILTERED):
                found = select(table.c.status).where(table.c.event_id == event_id, table.c.kind == kind)
                status = connection.execute(found).scalar()
                if status is not None:
                    return int(status)
        return None

    def reversible(self, event_ids: Sequence[bytes]) -> list[Reversed]:
        """What would take back the accepted events with these ids, every kind of them, that are posted and
        not reversed yet; ``at_ms`` and ``reason`` are the caller's to give."""
        found: list[Reversed] = []
        columns = (
            "event_id",
            "kind",
            "at_ms",
            "line_item",
            "creative",
            "placement",
            "day",
            "billed_nanos",
            "country",
            "device",
            "unbilled",
        )
        with reading(self._engine) as connection:
            gone = set[tuple[bytes, int]]()
            for part in chunks(event_ids):
                events = select(*(EVENTS.c[name] for name in columns)).where(
                    EVENTS.c.event_id.in_(part), EVENTS.c.status == Status.ACCEPTED, EVENTS.c.test == 0
                )
                keys = select(REVERSALS.c.event_id, REVERSALS.c.kind)
                gone.update(
                    (row[0], row[1]) for row in connection.execute(keys.where(REVERSALS.c.event_id.in_(part)))
                )
                rows = connection.execute(events).all()
                found += [_reversal(row) for row in rows if (row[0], row[1]) not in gone]
        return [event for event in found if event.kind in REVERSIBLE]

    def conversions(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of them that are posted."""
        with reading(self._engine) as connection:
            return {key for part in chunks(keys) for key in posted(connection, part)}

    def conversions_of(self, event_ids: Sequence[bytes]) -> list[bytes]:
        """The event ids of those that are owed to these ads."""
        with reading(self._engine) as connection:
            return [one for part in chunks(event_ids) for one in owed_to(connection, part)]

    def ads_of(self, event_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """Of those that are conversions, the ad that each is owed to."""
        with reading(self._engine) as connection:
            return {ident: ad for part in chunks(event_ids) for ident, ad in ads_of(connection, part)}

    def totals(self) -> Iterator[LineItemTotals]:
        """Every line item's numbers over all days."""
        columns = [TOTALS.c.line_item, *(TOTALS.c[name] for name in COUNTED)]
        with reading(self._engine) as connection:
            rows = connection.execute(select(*columns).where(TOTALS.c.day == LIFETIME)).all()
        return (totals_of(row[0], row[1:]) for row in rows)

    def sold_after(self, serial: int, number: int) -> list[int]:
        """The next line items with a greater serial of which anything is posted, at most so many."""
        found = select(TOTALS.c.line_item).where(TOTALS.c.day == LIFETIME, TOTALS.c.line_item > serial)
        with reading(self._engine) as connection:
            return list(connection.execute(found.order_by(TOTALS.c.line_item).limit(number)).scalars())

    def totals_of(self, line_items: Sequence[int]) -> list[LineItemTotals]:
        """Of these."""
        columns = [TOTALS.c.line_item, *(TOTALS.c[name] for name in COUNTED)]
        found = select(*columns).where(TOTALS.c.day == LIFETIME)
        with reading(self._engine) as connection:
            parts = [found.where(TOTALS.c.line_item.in_(part)) for part in chunks(line_items)]
            return [totals_of(row[0], row[1:]) for part in parts for row in connection.execute(part)]

    def billed_elsewhere(
        self, holder: int, accounts: Sequence[tuple[str, int]]
    ) -> dict[tuple[str, int], int]:
        """Of these accounts (name, day), what was billed and is not posted of this holder's leases."""
        mine = (LEASES.c.account == BUDGETS.c.account) & (LEASES.c.day == BUDGETS.c.day)
        both = BUDGETS.outerjoin(LEASES, mine & (LEASES.c.holder == holder))
        key, spent = (BUDGETS.c.account, BUDGETS.c.day), func.coalesce(LEASES.c.spent_nanos, 0)
        found = select(*key, BUDGETS.c.billed_nanos - spent).select_from(both)
        with reading(self._engine) as connection:
            parts = [found.where(tuple_(*key).in_(part)) for part in chunks(accounts)]
            return {(row[0], row[1]): int(row[2]) for part in parts for row in connection.execute(part)}

    def shown(self) -> tuple[Position, list[Shown]]:
        """What was delivered per line item, placement and creative, and up to where in the journal: both of
        one moment."""
        with reading(self._engine) as connection:
            hold_still(connection)
            rows = connection.execute(select(SHOWN)).all()
            return self._position_in(connection), [Shown(*row) for row in rows]

    def billed_accounts(self, since_day: int) -> Iterator[tuple[str, int, int]]:
        """(account, day, billed nanos) of every budget account ever billed: lifetimes (day ``LIFETIME``) and
        the days from ``since_day`` on."""
        found = select(BUDGETS.c.account, BUDGETS.c.day, BUDGETS.c.billed_nanos).where(
            (BUDGETS.c.day == LIFETIME) | (BUDGETS.c.day >= since_day)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(found).all()
        return ((row[0], row[1], row[2]) for row in rows)

    def billed_days(
        self, accounts: Sequence[str], since_day: int, until_day: int
    ) -> list[tuple[str, int, int]]:
        """The same of these accounts for the days from ``since_day`` on and before ``until_day``."""
        columns = select(BUDGETS.c.account, BUDGETS.c.day, BUDGETS.c.billed_nanos)
        days = (BUDGETS.c.day >= max(since_day, 0)) & (BUDGETS.c.day < until_day)
        with reading(self._engine) as connection:
            return [
                (row[0], row[1], row[2])
                for part in chunks(accounts)
                for row in connection.execute(columns.where(BUDGETS.c.account.in_(part), days))
            ]

    def has_earned(self, publisher: int) -> bool:
        """Whether anything was ever credited to the publisher with this serial."""
        account = schema.BALANCES.c.account
        found = select(account).where(account.like(f"publisher:{publisher}:%")).limit(1)
        with reading(self._engine) as connection:
            return connection.execute(found).first() is not None

    def billed_campaigns(self) -> set[int]:
        """Serials of the campaigns with something billed: currency and time zone are fixed."""
        found = select(BUDGETS.c.account).where(
            BUDGETS.c.account.like("campaign:%"), BUDGETS.c.day == LIFETIME, BUDGETS.c.billed_nanos > 0
        )
        with reading(self._engine) as connection:
            accounts = connection.execute(found).scalars().all()
        return {int(account.partition(":")[2]) for account in accounts}

    def statement(self, party: str, month: int) -> Statement:
        """``advertiser:<serial>`` or ``publisher:<serial>``; as in ``domain.statements``."""
        with reading(self._engine) as connection:
            hold_still(connection)
            return stating.read(connection, party, month)

    def serial_of(self, side: str, owner: str) -> int | None:
        """Of an ``advertiser`` or ``publisher`` by id, if anything of theirs was ever told."""
        table, column = ("line_items", "advertiser") if side == "advertiser" else ("placements", "publisher")
        found = text(f"SELECT {column} FROM {table} WHERE full_id >= :first AND full_id < :behind LIMIT 1")
        with reading(self._engine) as connection:
            serial: int | None = connection.execute(
                found, {"first": f"{owner}/", "behind": f"{owner}0"}
            ).scalar()
        return serial

    def credit(self, advertiser: int, credit: str) -> Credit | None:
        """What was booked for an advertiser under this id."""
        with reading(self._engine) as connection:
            return crediting.find(connection, advertiser, credit)

    def paid_in(self) -> Iterator[tuple[int, str, int]]:
        """(advertiser, currency, micros) of everything booked for it."""
        with reading(self._engine) as connection:
            return crediting.paid_in(connection)

    def currencies(self, advertiser: int) -> set[str]:
        """In which anything of an advertiser was ever sold."""
        found = text("SELECT DISTINCT currency FROM line_items WHERE advertiser = :serial")
        with reading(self._engine) as connection:
            return set(connection.execute(found, {"serial": advertiser}).scalars())

    def accounts(self, now_ms: int) -> list[Account]:
        """The trial balance. Raises TimeoutError after ``limits.REPORT_S``."""
        with self._at_once() as connection:
            return trial_balance.read_accounts(connection, trial_balance.earliest_day(now_ms))

    def movements(self, name: str, most: int) -> list[Movement]:
        """The last of an account. Raises TimeoutError likewise, and Unnamed."""
        with self._at_once() as connection:
            return movements.read_movements(connection, name, most)

    @contextmanager
    def _at_once(self) -> Iterator[Connection]:
        dialect = dialect_of(self._engine)
        with reading(self._engine) as connection, dialect.bounded(connection, limits.REPORT_S):
            dialect.hold_still(connection)
            yield connection

    def holders(self) -> set[int]:
        """The processes that share budgets, or did so last."""
        with reading(self._engine) as connection:
            return set(connection.execute(select(HOLDERS.c.holder)).scalars())

    def close(self) -> None:
        self._engine.dispose()


def _reversal(row: Sequence[Any]) -> Reversed:
    event_id, kind, at_ms, line_item, creative, placement, day, billed_nanos, country, device, why = row
    flat = why == Unbilled.FLAT
    return Reversed(
        event_id, kind, at_ms, line_item, creative, placement, day, billed_nanos, "", country, device, flat
    )


def chunks(things: Sequence[_Thing]) -> Iterator[Sequence[_Thing]]:
    """As many at a time as stand in one statement's list."""
    for start in range(0, len(things), IN_LIST):
        yield things[start : start + IN_LIST]


def positions_of(connection: Connection) -> dict[str, Position]:
    """How far each journal is posted, by consumer."""
    rows = connection.execute(select(OFFSETS.c.consumer, OFFSETS.c.segment, OFFSETS.c.byte))
    return {consumer: Position(segment, offset) for consumer, segment, offset in rows}
