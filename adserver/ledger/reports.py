"""Reports, read from what was rolled up: a statement each for the events, people and requests of a span.

All spans of one report are read in one transaction, so it is of one moment and adds up. Ids are given to one
object ever, so whose a row is, is told by the beginning of its full id.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Select,
    Table,
    case,
    func,
    literal,
    select,
)

from adserver.domain import limits
from adserver.domain.decision import EventKind
from adserver.domain.reports import FREQUENCIES, Figures, Scope
from adserver.ledger.dialects import dialect_of, reading
from adserver.ledger.rolled import (
    ASKED,
    CREATIVES,
    PEOPLE,
    PEOPLE_SINCE,
    REQUESTS,
    ROLLED,
    ROLLUPS,
    mark,
)  # fmt: skip
from adserver.ledger.schema import EVENTS, LINE_ITEMS, PLACEMENTS

_QUARTER_MS: Final = 900_000

Key = tuple[Any, ...]


class ReportReader:
    """The ledger as reports ask it, over ``engine``, which only reads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def people_since_ms(self) -> int:
        """From which decision on the people who saw impressions are known."""
        with reading(self._engine) as connection:
            return mark(connection, PEOPLE_SINCE)

    @contextmanager
    def at_once(self) -> Iterator["Moment"]:
        """What is read of it is of one moment. Raises TimeoutError after
        ``limits.REPORT_S``."""
        dialect = dialect_of(self._engine)
        with reading(self._engine) as connection, dialect.bounded(connection, limits.REPORT_S):
            dialect.hold_still(connection)
            yield Moment(connection)


class Moment:
    """The ledger at one moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def figures(
        self,
        by: Sequence[str],
        scope: Scope,
        quarters: tuple[int, int],
        money: bool,
        requests: bool,
        people: bool,
    ) -> list[Figures]:
        """A row for each combination of ``by`` (and currency, with ``money``) where anything happened in the
        quarters [first, end). ``requests`` and ``people``: whether these are told too."""
        found: dict[Key, Figures] = {}
        self._add(found, _of_events(by, scope, quarters, money), ROLLED, by)
        if requests:
            self._add(found, _of_requests(by, scope, quarters, money), ASKED, by)
        if people:
            self._people(found, _of_people(by, scope, quarters, money), by)
        return [found[key] for key in sorted(found)]

    def _add(
        self, found: dict[Key, Figures], statement: Select[Any], names: Sequence[str], by: Sequence[str]
    ) -> None:
        for row in self._connection.execute(_bounded(statement)):
            figures = _at(found, row, by)
            # Of nothing at all there is a row too, without a sum.
            for name, number in zip(names, row[2 * len(by) + 1 :], strict=True):
                setattr(figures, name, int(number or 0))

    def _people(self, found: dict[Key, Figures], statement: Select[Any], by: Sequence[str]) -> None:
        for row in self._connection.execute(_bounded(statement)):
            figures = _at(found, row, by)
            figures.people, figures.kept, *times = (int(number or 0) for number in row[2 * len(by) + 1 :])
            figures.frequency = tuple(times)


def _bounded(statement: Select[Any]) -> Select[Any]:
    """One row more than can be told says that there are too many."""
    return statement.limit(limits.REPORT_ROWS + 1)


def _at(found: dict[Key, Figures], row: Sequence[Any], by: Sequence[str]) -> Figures:
    """``row``: serials, names, currency, numbers."""
    size = len(by)
    key = (*row[:size], row[2 * size])
    figures = found.get(key)
    if figures is None:
        names = (_named(name, told) for name, told in zip(by, row[size : 2 * size], strict=True))
        figures = found[key] = Figures(tuple(names), row[2 * size])
    return figures


def _named(dimension: str, told: Any) -> str | int:
    """Of an object the beginning of a full id that lies below it."""
    if dimension in _PARTS and told is not None:
        return "/".join(told.split("/")[: _PARTS[dimension]])
    return "" if told is None else told


_PARTS: Final = {"advertiser": 1, "publisher": 1, "campaign": 2}


# -- the statements ----------------------------------------------------------------------------------

_Columns = dict[str, tuple[ColumnElement[Any], ColumnElement[Any]]]
"""Of a dimension: what is grouped by, and what it is named by."""


def _of_events(by: Sequence[str], scope: Scope, quarters: tuple[int, int], money: bool) -> Select[Any]:
    rolled, sums = ROLLUPS.c, [func.sum(ROLLUPS.c[name]) for name in ROLLED]
    columns = _sold(rolled.line_item, rolled.creative, rolled.placement, rolled.country, rolled.device)
    grouped, named, currency = _chosen(columns, by, LINE_ITEMS.c.currency if money else None)
    there = _joined(ROLLUPS, ROLLUPS)
    found = select(*grouped, *named, currency, *sums).select_from(there)
    found = found.where(rolled.quarter >= quarters[0], rolled.quarter < quarters[1], *_within(scope))
    return found.group_by(*grouped, currency)


def _of_requests(by: Sequence[str], scope: Scope, quarters: tuple[int, int], money: bool) -> Select[Any]:
    asked, sums = REQUESTS.c, [func.sum(REQUESTS.c[name]) for name in ASKED]
    columns = _placed(asked.placement, asked.country, asked.device)
    grouped, named, currency = _chosen(columns, by, PLACEMENTS.c.currency if money else None)
    there = REQUESTS.outerjoin(PLACEMENTS, PLACEMENTS.c.serial == asked.placement)
    found = select(*grouped, *named, currency, *sums).select_from(there)
    found = found.where(asked.quarter >= quarters[0], asked.quarter < quarters[1], *_within(scope))
    return found.group_by(*grouped, currency)


def _of_people(by: Sequence[str], scope: Scope, quarters: tuple[int, int], money: bool) -> Select[Any]:
    """First how often each person saw what is one row, then how many people and how often."""
    event = EVENTS.c
    columns = _sold(event.line_item, event.creative, event.placement, event.country, event.device)
    grouped, named, currency = _chosen(columns, by, LINE_ITEMS.c.currency if money else None)
    impression = (event.event_id == PEOPLE.c.event_id) & (event.kind == int(EventKind.IMPRESSION))
    there = _joined(PEOPLE.join(EVENTS, impression), EVENTS)
    first, end = ((quarter * _QUARTER_MS).to_bytes(6, "big") for quarter in quarters)
    labels = [one.label(f"c{place}") for place, one in enumerate((*grouped, *named, currency))]
    times = func.count().label("times")
    each = select(*labels, times).select_from(there)
    each = each.where(PEOPLE.c.event_id >= first, PEOPLE.c.event_id < end, *_within(scope))
    people = each.group_by(*grouped, currency, PEOPLE.c.person).subquery()
    cells = [people.c[label.name] for label in labels]
    keys, names, told = cells[: len(by)], cells[len(by) : -1], cells[-1]
    often = [func.sum(case((people.c.times == n, 1), else_=0)) for n in range(1, FREQUENCIES)]
    often.append(func.sum(case((people.c.times >= FREQUENCIES, 1), else_=0)))
    found = select(*keys, *(func.min(name) for name in names), told, func.count(), func.sum(people.c.times))
    return found.add_columns(*often).group_by(*keys, told)


def _joined(there: FromClause, rows: Table) -> FromClause:
    """With what the serials of these rows mean."""
    there = there.outerjoin(LINE_ITEMS, LINE_ITEMS.c.serial == rows.c.line_item)
    there = there.outerjoin(PLACEMENTS, PLACEMENTS.c.serial == rows.c.placement)
    return there.outerjoin(CREATIVES, CREATIVES.c.version == rows.c.creative)


def _sold(line_item: Any, creative: Any, placement: Any, country: Any, device: Any) -> _Columns:
    return {
        "advertiser": (LINE_ITEMS.c.advertiser, LINE_ITEMS.c.full_id),
        "campaign": (LINE_ITEMS.c.campaign, LINE_ITEMS.c.full_id),
        "line_item": (line_item, LINE_ITEMS.c.full_id),
        "creative": (func.coalesce(CREATIVES.c.identity, -creative), creative),
        **_placed(placement, country, device),
    }


def _placed(placement: Any, country: Any, device: Any) -> _Columns:
    return {
        "publisher": (PLACEMENTS.c.publisher, PLACEMENTS.c.full_id),
        "placement": (placement, PLACEMENTS.c.full_id),
        "country": (country, country),
        "device": (device, device),
    }


def _chosen(
    columns: _Columns, by: Sequence[str], currency: ColumnElement[Any] | None
) -> tuple[list[ColumnElement[Any]], list[ColumnElement[Any]], ColumnElement[Any]]:
    """What is grouped by, what it is named by, and the currency."""
    grouped: list[ColumnElement[Any]] = [
        func.coalesce(columns[name][0], "" if name == "country" else 0) for name in by
    ]
    named: list[ColumnElement[Any]] = [func.min(columns[name][1]) for name in by]
    return grouped, named, literal("") if currency is None else func.coalesce(currency, "")


def _within(scope: Scope) -> Iterator[ColumnElement[bool]]:
    """Everything whose full id lies below: ``/`` ends the part of an id, ``0`` comes behind it."""
    for column, below in (
        (LINE_ITEMS.c.full_id, scope.campaign or scope.advertiser),
        (PLACEMENTS.c.full_id, scope.publisher),
    ):
        if below:
            yield column >= f"{below}/"
            yield column < f"{below}0"
