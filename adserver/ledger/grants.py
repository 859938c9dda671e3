"""What each budget was allowed to spend, step by step: limits as terms told them, and what was paid in."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, select

from adserver.domain import money
from adserver.domain.credits import PREPAID
from adserver.ledger.schema import BUDGET_LIMITS, LIFETIME
from adserver.ledger.statement_tables import CREDITS
from adserver.ledger.wallets import Wallets, name_of


class Step(Struct, frozen=True):
    """At this instant a budget grew by so much, or shrank; ``what``: for it was told so, or paid in."""

    at_ms: int
    nanos: int
    what: str


class Grants:
    """Of all budgets, as the ledger knows them; or of one ``account`` (``campaign:<serial>``)."""

    def __init__(self, connection: Connection, account: str = "") -> None:
        limits, booked = BUDGET_LIMITS.c, CREDITS.c
        self._told = defaultdict[str, list[tuple[int, str, int | None]]](list)
        history = select(limits.account, limits.at_ms, limits.period, limits.limit_nanos)
        for name, *told in connection.execute(
            (history.where(limits.account == account) if account else history).order_by(limits.number)
        ):
            self._told[name].append((told[0], told[1], told[2]))
        self._paid = defaultdict[tuple[str, str], list[tuple[int, int]]](list)
        paid = select(booked.advertiser, booked.currency, booked.at_ms, booked.amount_micros)
        for advertiser, currency, at_ms, micros in connection.execute(paid):
            self._paid[name_of(advertiser), currency].append((at_ms, money.nanos(micros)))

    def steps(self, account: str, currency: str, day: int) -> Sequence[Step] | None:
        """That come to the limit in force now; None where there is none. Of a day it is one step."""
        if day == LIFETIME:
            return self._steps_in_all(account, currency)
        told = [(at_ms, limit) for at_ms, period, limit in self._told.get(account, ()) if period == "day"]
        if not told or told[-1][1] is None:
            return None
        return (Step(told[-1][0], told[-1][1], "limit"),)

    def _steps_in_all(self, account: str, currency: str) -> list[Step] | None:
        """Limits in the order in which they were told, whatever the clocks of those who told them."""
        wallets, limits = Wallets(), dict[str, int]()
        steps, before, latest_ms = list[Step](), 0, 0
        told: list[_Told] = [
            (at_ms, PREPAID, "", nanos) for at_ms, nanos in self._paid.get((account, currency), ())
        ]
        for at_ms, period, limit in self._told.get(account, ()):
            latest_ms = max(latest_ms, at_ms)
            told.append((latest_ms, "limit", period, limit))
        for at_ms, at_once in groupby(sorted(told, key=_at_ms), key=_at_ms):
            changes = list(at_once)
            for *_, period, nanos in changes:
                if not period:
                    wallets.pay_in(int(account.partition(":")[2]), currency, nanos or 0)
                elif nanos is None:
                    limits.pop(period, None)
                else:
                    limits[period] = nanos
            now = wallets.limit(account, currency, limits) or 0
            if now != before:
                steps.append(Step(at_ms, now - before, changes[-1][1]))
            before = now
        return None if wallets.limit(account, currency, limits) is None else steps


_Told = tuple[int, str, str, int | None]
"""(instant, what, of a limit its period, nanos)."""
_at_ms: Final = itemgetter(0)
