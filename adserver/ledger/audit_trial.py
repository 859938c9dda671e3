"""The trial balance, audited: each account made again from what the journal said, and the sum of all.

Nothing is shared with ``trial_balance`` but the names. What processes were granted no journal says, so of
what is reserved only the part is made again that was spent of it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Final

import numpy as np
from sqlalchemy import Connection

from adserver.domain.accounts import sums
from adserver.domain.records import Status
from adserver.ledger.audit_books import ALL_DAYS, Heard, Tell, levels
from adserver.ledger.audit_judging import Books
from adserver.ledger.audit_paid import Paid
from adserver.ledger.audit_rows import Array, Groups
from adserver.ledger.trial_balance import is_readable, read_accounts

_NET: Final = ("granted", "budget")
"""Compared by their balance: several processes may tell one change of a limit in other steps."""
_BILLED, _REFUNDED = 6, 12
"""Of ``Books.totals``."""

Key = tuple[str, int]
"""(budget account, day)."""
Sums = Mapping[str, tuple[int, int]]


class TrialAudit:
    """``told``: what there was, in words."""

    def __init__(self, tell: Tell) -> None:
        self.told = "not compared"
        self._tell = tell

    def compare(
        self, connection: Connection, heard: Heard, books: Books, reserved: Mapping[Key, int]
    ) -> None:
        if not is_readable(connection):
            self.told = "not there in a ledger of an earlier version"
            return
        try:
            accounts = read_accounts(connection, since_day=0)
        except (TypeError, ValueError):
            self._tell("the accounts cannot be added up: there is something else than whole numbers")
            return
        self.told = f"{len(accounts)} in the trial balance"
        for (book, unit), (debits, credits) in sums(accounts).items():
            if debits != credits:
                self._tell(f"the accounts of {book} in {unit}: debits {debits}, credits {credits}")
        expected = _Expected(heard, books, reserved).sums
        posted = {account.name: (account.debits, account.credits) for account in accounts}
        for name in sorted(posted.keys() | expected.keys()):
            ours, theirs = (_told(name, said.get(name, (0, 0))) for said in (expected, posted))
            if ours != theirs:
                self._tell(f"account {name}: the ledger says {theirs}, the journal {ours}")


def _told(name: str, sides: tuple[int, int]) -> tuple[int, ...]:
    return (sides[0] - sides[1],) if name.partition(":")[0] in _NET else sides


class _Expected:
    """``sums``: (debits, credits) by account."""

    def __init__(self, heard: Heard, books: Books, reserved: Mapping[Key, int]) -> None:
        self._sums = defaultdict[str, list[int]](lambda: [0, 0])
        self._terms = {terms.serial: terms for terms in heard.sold()}
        self._publishers = heard.owners().publishers
        for paid in (*books.entries, *books.booked):
            self._owed(paid)
        self._budgets(heard, books, reserved)
        self._marks(books)

    @property
    def sums(self) -> Sums:
        return {name: (debits, credits) for name, (debits, credits) in self._sums.items()}

    def _move(self, debit: str, credit: str, amount: int) -> None:
        self._sums[debit][0] += amount
        self._sums[credit][1] += amount

    def _owed(self, paid: Paid) -> None:
        groups = Groups(paid.rows["pair"])
        for (pair,), nanos in zip(groups.keys, groups.sums(paid.nanos), strict=True):
            debit, credit, _ = paid.pairs[pair]
            self._move(debit, credit, nanos)

    def _budgets(self, heard: Heard, books: Books, reserved: Mapping[Key, int]) -> None:
        currencies = {level: terms.currency for terms in self._terms.values() for level in levels(terms)}
        used = self._used(books)
        days = defaultdict[str, set[int]](set)
        for account, day in (*books.budgets, *reserved):
            days[account].add(day)
        for account, period, limit in heard.budgets.in_force():
            for day in (ALL_DAYS,) if period == "lifetime" else days[account] - {ALL_DAYS}:
                told = "" if day == ALL_DAYS else f":{date(1970, 1, 1) + timedelta(day)}"
                name = f"{account}{told}:{currencies[account]}"
                billed, refunded = used.get((account, day), (0, 0))
                self._move(f"budget:{name}", f"granted:{name}", limit)
                self._move(f"reserved:{name}", f"budget:{name}", reserved.get((account, day), 0))
                self._move(f"used:{name}", f"budget:{name}", billed)
                self._move(f"budget:{name}", f"used:{name}", refunded)

    def _used(self, books: Books) -> Mapping[Key, tuple[int, int]]:
        """(billed, refunded) of each level and day."""
        used = defaultdict[Key, tuple[int, int]](lambda: (0, 0))
        for (line_item, day), counts in books.totals.items():
            for level in levels(self._terms[line_item]) if line_item in self._terms else ():
                billed, refunded = used[level, day]
                used[level, day] = billed + counts[_BILLED], refunded + counts[_REFUNDED]
        return used

    def _marks(self, books: Books) -> None:
        counted = (books.events["test"] == 0) & (books.events["status"] == Status.ACCEPTED)
        real = books.filtered[books.filtered["test"] == 0]
        for what, rows, amounts in (
            ("free", books.events[counted], books.events["free"][counted]),
            ("invalid", books.reversals, books.reversals["billed"]),
            ("filtered", real, np.ones(len(real), np.int64)),
        ):
            for line_item, publisher, amount in self._placed(rows, amounts):
                terms = self._terms[line_item]
                unit = "events" if what == "filtered" else terms.currency
                self._move(f"{what}:line_item:{line_item}:{unit}", f"{what}:operator:{unit}", amount)
                owner = f"{what}:advertiser:{terms.advertiser}:{unit}"
                self._move(owner, f"{what}:publisher:{publisher}:{unit}", amount)

    def _placed(self, rows: Array, amounts: Array) -> Iterator[tuple[int, int, int]]:
        """(line item, publisher, sum)."""
        groups = Groups(rows["line_item"], rows["placement"])
        for (line_item, placement), amount in zip(groups.keys, groups.sums(amounts), strict=True):
            if line_item in self._terms:
                yield line_item, self._publishers.get(placement, 0), amount
