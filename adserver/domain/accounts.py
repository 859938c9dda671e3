"""Accounts as they are read (``ledger.trial_balance``), and what moved them."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

OWED: Final = ("advertiser", "publisher", "operator", "cash", "wallet", "credit")
BUDGETARY: Final = ("granted", "budget", "reserved", "used")
MARKED: Final = ("free", "invalid", "filtered")
BOOKS: Final = ("owed", "budgets", *MARKED)
EVENTS: Final = "events"
"""What is counted where there is no currency."""


class Account(Struct, frozen=True):
    """``name`` ends with the ``unit``: a currency, in nanos, or ``events``; ``title`` has ids where it has
    numbers."""

    name: str
    title: str
    unit: str
    debits: int
    credits: int

    @property
    def balance(self) -> int:
        return self.debits - self.credits

    @property
    def book(self) -> str:
        """``owed``, or which memoranda: ``budgets``, ``free``, ``invalid``, ``filtered``. Each adds up to
        nothing."""
        head = self.name.partition(":")[0]
        return "owed" if head in OWED else "budgets" if head in BUDGETARY else head


class Movement(Struct, frozen=True):
    """``what``: the kind of an event, "reversal of" one, or deposit, credit, make_good, limit, prepaid or
    lease; ``reference``: the event's or booking's id, or who holds the lease; ``other``: the title of the
    account it came from or went to. ``at_ms`` is None of what is told as it is now."""

    at_ms: int | None
    what: str
    reference: str
    other: str
    debits: int
    credits: int


def sums(accounts: Iterable[Account]) -> dict[tuple[str, str], tuple[int, int]]:
    """(debits, credits) by book and unit."""
    found = dict[tuple[str, str], tuple[int, int]]()
    for account in accounts:
        debits, credits = found.get((account.book, account.unit), (0, 0))
        found[account.book, account.unit] = debits + account.debits, credits + account.credits
    return found


def named(accounts: Iterable[Account], name: str) -> Account | None:
    """By its name or its title."""
    return next((account for account in accounts if name in (account.name, account.title)), None)
