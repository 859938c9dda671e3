"""Every account there is, by name, with its debits and credits: the trial balance, which adds up to nothing.

*Owed* accounts say who owes whom; they are those of ``entries``. *Memorandum* accounts say what is owed by
nobody: what a budget grants and is left of it, what is reserved, found invalid, given away. No account is
written down: all are read off the sums that posting keeps, in one transaction, so they are exact at any
instant, agree with everything else that is told of it, and cost an event nothing.

* ``granted``, ``budget``, ``reserved``, ``used``, each ``:<level>:<serial>[:<date>]:<currency>``, of a level
  (line_item, campaign, advertiser) that has a limit, in all or for a day: what it may spend is credited to
  ``granted`` and debited to ``budget``, where it is left until it is ``reserved`` (leased by a process, and
  not spent yet) or ``used`` (billed). What is left of a day lapses with it, so only days have accounts that
  are not over everywhere.
* ``free`` and ``invalid``, each ``:<party>:<serial>:<currency>``: the worth of what was delivered though no
  budget had room, and what reversals took back. Told twice over: to the line item, by ``operator``; and to
  the advertiser, by the publisher.
* ``filtered``, the same in ``events``: what was found invalid as it came is counted and has no price, for the
  ad may still be billed for a real event.

The two sides of a pair come from sums of their own (``budgets`` and ``totals``; ``totals`` and ``rollups``),
so that they meet is no matter of course. Cost: a scan of the rollups.
"""

from collections import defaultdict
from datetime import UTC, date, datetime
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, func, inspect, or_, select

from adserver.domain import money
from adserver.domain.accounts import EVENTS, MARKED, Account
from adserver.domain.credits import accounts
from adserver.domain.statements import WESTERNMOST_MS
from adserver.ledger.accounts import Key
from adserver.ledger.grants import Grants
from adserver.ledger.guards import levels
from adserver.ledger.lease_tables import LEASES
from adserver.ledger.parties import Parties, read_parties
from adserver.ledger.rolled import ROLLUPS
from adserver.ledger.schema import BUDGETS, LIFETIME, LINE_ITEMS, PLACEMENTS, TOTALS
from adserver.ledger.statement_tables import CREDITS, EARNED
from adserver.ledger.titles import Titles

_DAY_MS: Final = 86_400_000


def earliest_day(now_ms: int) -> int:
    """That is not over everywhere."""
    return (now_ms - WESTERNMOST_MS) // _DAY_MS


def date_of(day: int) -> str:
    return datetime.fromtimestamp(day * 86400, UTC).date().isoformat()


def day_of(told: str) -> int:
    """Raises ValueError."""
    return date.fromisoformat(told).toordinal() - date(1970, 1, 1).toordinal()


def is_readable(connection: Connection) -> bool:
    """Whether this is not a ledger of an earlier version."""
    inspector = inspect(connection)
    return all(
        inspector.has_table(table.name)
        and {column["name"] for column in inspector.get_columns(table.name)} >= set(table.c.keys())
        for table in (LINE_ITEMS, PLACEMENTS, TOTALS, ROLLUPS, EARNED, CREDITS, LEASES)
    )


def read_accounts(connection: Connection, since_day: int) -> list[Account]:
    """By name; of days from ``since_day`` on. Where nothing moved there is none. The transaction is to be of
    one moment."""
    parties, moved, titles = read_parties(connection), _Moved(), Titles(connection)
    _owed(connection, parties, moved)
    _budgets(connection, parties, moved, since_day)
    _marked(connection, parties, moved)
    return [
        Account(name, titles.of(name), name.rpartition(":")[2], *sides)
        for name, sides in sorted(moved.sides.items())
        if any(sides)
    ]


class _Moved:
    """Debits and credits by account."""

    def __init__(self) -> None:
        self.sides: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])

    def debit(self, name: str, amount: int) -> None:
        self.sides[name][0] += amount

    def credit(self, name: str, amount: int) -> None:
        self.sides[name][1] += amount


def _owed(connection: Connection, parties: Parties, moved: _Moved) -> None:
    """Who owes: by line items. Who is owed: by placements. And what operators booked."""
    found = select(TOTALS.c.line_item, TOTALS.c.billed_nanos, TOTALS.c.refunded_nanos)
    for line_item, billed, refunded in connection.execute(found.where(TOTALS.c.day == LIFETIME)):
        payer = parties.payers.get(line_item)
        if payer is not None:
            moved.debit(f"advertiser:{payer.advertiser}:{payer.currency}", billed)
            moved.credit(f"advertiser:{payer.advertiser}:{payer.currency}", refunded)
    columns = EARNED.c.nanos, EARNED.c.share_nanos, EARNED.c.refunded_nanos, EARNED.c.refunded_share_nanos
    keys = EARNED.c.line_item, EARNED.c.placement
    sums = select(*keys, *(func.sum(column) for column in columns)).group_by(*keys)
    for line_item, placement, nanos, share, back, back_share in connection.execute(sums):
        payer = parties.payers.get(line_item)
        if payer is not None:
            publisher, operator = _publisher(parties, placement, payer.currency), f"operator:{payer.currency}"
            moved.credit(publisher, share)
            moved.debit(publisher, back_share)
            moved.credit(operator, nanos - share)
            moved.debit(operator, back - back_share)
    booked = select(CREDITS.c.kind, CREDITS.c.advertiser, CREDITS.c.currency, CREDITS.c.amount_micros)
    for kind, advertiser, currency, micros in connection.execute(booked):
        debit, credit = accounts(kind, advertiser, currency)
        moved.debit(debit, money.nanos(micros))
        moved.credit(credit, money.nanos(micros))


def _publisher(parties: Parties, placement: int, unit: str) -> str:
    payee = parties.payees.get(placement)
    return f"publisher:{payee.publisher if payee is not None else 0}:{unit}"


def _budgets(connection: Connection, parties: Parties, moved: _Moved, since_day: int) -> None:
    currencies, granted = currencies_of(parties), Grants(connection)
    billed, leased = _billed(connection, since_day), _leased(connection, since_day)
    used, back = _used(connection, parties, since_day)
    for key in {*((level, LIFETIME) for level in currencies), *billed, *leased}:
        level, day = key
        currency = currencies.get(level, "")
        steps = granted.steps(level, currency, day)
        if steps is None:
            continue
        name = name_of(level, day, currency)
        raised = sum(step.nanos for step in steps if step.nanos > 0)
        lowered = raised - sum(step.nanos for step in steps)
        reserved, returned = leased.get(key, 0), back.get(key, 0)
        moved.credit(f"granted:{name}", raised)
        moved.debit(f"granted:{name}", lowered)
        moved.debit(f"budget:{name}", raised + returned)
        moved.credit(f"budget:{name}", lowered + reserved + billed.get(key, 0) + returned)
        moved.debit(f"reserved:{name}", reserved)
        moved.debit(f"used:{name}", used.get(key, 0))
        moved.credit(f"used:{name}", returned)


def currencies_of(parties: Parties) -> dict[str, str]:
    """Of each budget account; the newest terms speak."""
    return {
        level: payer.currency
        for serial, payer in sorted(parties.payers.items(), key=lambda one: one[1].since)
        for level in levels(serial, payer.campaign, payer.advertiser)
    }


def name_of(level: str, day: int, currency: str) -> str:
    return f"{level}:{currency}" if day == LIFETIME else f"{level}:{date_of(day)}:{currency}"


def _lasting(day: Column[Any], since_day: int) -> ColumnElement[bool]:
    return (day == LIFETIME) | (day >= since_day)


def _billed(connection: Connection, since_day: int) -> dict[Key, int]:
    """By budget account and day."""
    found = select(BUDGETS.c.account, BUDGETS.c.day, BUDGETS.c.billed_nanos)
    rows = connection.execute(found.where(_lasting(BUDGETS.c.day, since_day)))
    return {(account, day): nanos for account, day, nanos in rows}


def _leased(connection: Connection, since_day: int) -> dict[Key, int]:
    """And not spent yet, by all who hold some."""
    keys, left = (LEASES.c.account, LEASES.c.day), LEASES.c.granted_nanos - LEASES.c.spent_nanos
    found = select(*keys, func.sum(left)).where(LEASES.c.granted_nanos.is_not(None))
    rows = connection.execute(found.where(_lasting(LEASES.c.day, since_day)).group_by(*keys))
    return {(account, day): nanos for account, day, nanos in rows}


def _used(connection: Connection, parties: Parties, since_day: int) -> tuple[dict[Key, int], dict[Key, int]]:
    """(billed, refunded) by budget account and day, from what line items were delivered."""
    used, back = defaultdict[Key, int](int), defaultdict[Key, int](int)
    found = select(TOTALS.c.line_item, TOTALS.c.day, TOTALS.c.billed_nanos, TOTALS.c.refunded_nanos)
    for line_item, day, billed, refunded in connection.execute(
        found.where(_lasting(TOTALS.c.day, since_day))
    ):
        payer = parties.payers.get(line_item)
        for level in levels(line_item, payer.campaign, payer.advertiser) if payer is not None else ():
            used[level, day] += billed
            back[level, day] += refunded
    return used, back


def _marked(connection: Connection, parties: Parties, moved: _Moved) -> None:
    """``MARKED``: who was given it by the totals, who gave it by the rollups."""
    columns = ("free_nanos", "refunded_nanos", "filtered")
    found = select(TOTALS.c.line_item, *(TOTALS.c[name] for name in columns))
    for line_item, *amounts in connection.execute(found.where(TOTALS.c.day == LIFETIME)):
        payer = parties.payers.get(line_item)
        if payer is not None:
            for what, unit, amount in zip(MARKED, _units(payer.currency), amounts, strict=True):
                moved.debit(f"{what}:line_item:{line_item}:{unit}", amount)
                moved.debit(f"{what}:advertiser:{payer.advertiser}:{unit}", amount)
    keys, some = (ROLLUPS.c.line_item, ROLLUPS.c.placement), or_(*(ROLLUPS.c[name] != 0 for name in columns))
    sums = select(*keys, *(func.sum(ROLLUPS.c[name]) for name in columns)).where(some).group_by(*keys)
    for line_item, placement, *amounts in connection.execute(sums):
        payer = parties.payers.get(line_item)
        if payer is not None:
            for what, unit, amount in zip(MARKED, _units(payer.currency), amounts, strict=True):
                moved.credit(f"{what}:{_publisher(parties, placement, unit)}", amount)
                moved.credit(f"{what}:operator:{unit}", amount)


def _units(currency: str) -> tuple[str, str, str]:
    """Of ``MARKED``."""
    return currency, currency, EVENTS
