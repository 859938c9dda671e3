"""What a ledger of an earlier version is given when it is opened: rollups of the events it holds.

Those tell neither country nor device, and who saw them the journal alone knows: ``people`` begins with the
decisions after them. All in one transaction, so it is done wholly or again. Cost: some 10 µs an event, once.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, Select, case, func, select

from adserver.domain import ids
from adserver.domain.counted import COUNTED
from adserver.domain.records import Status
from adserver.ledger import inserts
from adserver.ledger.dialects import lock_for_writing
from adserver.ledger.rolled import PEOPLE_SINCE, ROLLED, TABLES, is_rolled
from adserver.ledger.rollups import QUARTER_MS, Rollups
from adserver.ledger.schema import ENTRIES, EVENTS, FILTERED, REVERSALS

_CELLS: Final = 100_000
"""Written at a time: what is held in memory meanwhile."""
_PLACE: Final = ("event_id", "line_item", "creative", "placement", "country", "device")


def bring_up(engine: Engine) -> None:
    """Make the tables that reports are made from, where they are not there yet."""
    with engine.begin() as connection:
        lock_for_writing(connection)
        older = not is_rolled(connection)
        TABLES.create_all(connection)
        if not older:
            return
        _Filling(connection).fill()
        last = connection.execute(select(func.max(EVENTS.c.event_id))).scalar()
        if last is not None:
            inserts.set_mark(connection, PEOPLE_SINCE, (ids.minted_ms(last) // QUARTER_MS + 1) * QUARTER_MS)


class _Filling:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rollups = Rollups("", 0, {})

    def fill(self) -> None:
        self._count_events()
        self._count_filtered()
        self._take_back()
        self._earn()
        self._write()

    def _count_events(self) -> None:
        columns = [EVENTS.c[name] for name in (*_PLACE, "kind", "status", "billed_nanos", "free_nanos")]
        for *place, kind, status, billed, free in self._rows(select(*columns).where(EVENTS.c.test == 0)):
            accepted = status == Status.ACCEPTED
            name = COUNTED.get(kind) if accepted else "expired"
            self._add(place, name, billed_nanos=billed * accepted, free_nanos=free * accepted)

    def _count_filtered(self) -> None:
        columns = [FILTERED.c[name] for name in _PLACE]
        for place in self._rows(select(*columns).where(FILTERED.c.test == 0)):
            self._add(place, "filtered")

    def _take_back(self) -> None:
        columns = [EVENTS.c[name] for name in (*_PLACE, "kind")]
        on = (EVENTS.c.event_id == REVERSALS.c.event_id) & (EVENTS.c.kind == REVERSALS.c.kind)
        found = select(*columns, REVERSALS.c.amount_nanos).join_from(REVERSALS, EVENTS, on)
        for *place, kind, amount in self._rows(found):
            self._add(place, f"invalid_{COUNTED[kind]}" if kind in COUNTED else None, refunded_nanos=amount)

    def _earn(self) -> None:
        """What publishers were credited, less what was taken back."""
        columns = [EVENTS.c[name] for name in _PLACE]
        on = (EVENTS.c.event_id == ENTRIES.c.event_id) & (EVENTS.c.kind == ENTRIES.c.kind)
        sign = case(
            (ENTRIES.c.credit.like("publisher:%"), 1), (ENTRIES.c.debit.like("publisher:%"), -1), else_=0
        )
        found = select(*columns, sign * ENTRIES.c.amount_nanos).join_from(ENTRIES, EVENTS, on)
        for *place, nanos in self._rows(found):
            self._add(place, None, earned_nanos=nanos)

    def _rows(self, statement: Select[Any]) -> Iterator[Any]:
        return iter(self._connection.execution_options(yield_per=10_000).execute(statement))

    def _add(self, place: Sequence[Any], counted: str | None, **nanos: int) -> None:
        event_id, *where = place
        cell = self._rollups.cells[(ids.minted_ms(event_id) // QUARTER_MS, *where)]
        for name, amount in nanos.items():
            cell[ROLLED.index(name)] += amount
        if counted is not None:
            cell[ROLLED.index(counted)] += 1
        if len(self._rollups.cells) >= _CELLS:
            self._write()

    def _write(self) -> None:
        inserts.add_rollups(self._connection, self._rollups)
        self._rollups = Rollups("", 0, {})
