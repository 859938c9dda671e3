"""What a budget consists of: accounts, the holds on them, and the line items they bind."""

from typing import Final

from msgspec import Struct

from adserver.domain.books import LineItemTotals
from adserver.domain.records import LineItemTerms

LIFETIME: Final = -1
"""The day of an account that knows no days."""


class Account(Struct):
    limit_nanos: int | None
    billed_nanos: int = 0
    held_nanos: int = 0
    firm_nanos: int = 0
    """Of what is held, the part that is a price and not an expectation."""

    def can_pay(self, price_nanos: int) -> bool:
        """Whether an event can be billed beside what was firmly promised."""
        return self.limit_nanos is None or (
            self.billed_nanos + self.firm_nanos + price_nanos <= self.limit_nanos
        )


class Hold(Struct, array_like=True):
    """What an exposure reserves, in which accounts, until when. ``firm``: it is the whole price, of an
    impression; else what a click or viewable impression is expected to cost. ``rendered``: the impression
    came, while that is still to come."""

    line_item: int
    amount_nanos: int
    accounts: tuple[tuple[str, int], ...]
    until_ms: int
    firm: bool = True
    rendered: bool = False


class Bound(Struct):
    """A line item's budgets, and its delivery counts."""

    terms: LineItemTerms
    totals: LineItemTotals
    outstanding: int = 0
    day: int | None = None
    keys: tuple[tuple[str, int], ...] = ()
    accounts: tuple[Account, ...] = ()


def levels(terms: LineItemTerms) -> tuple[str, str, str]:
    """The names of the accounts that bind a line item."""
    return f"line_item:{terms.serial}", f"campaign:{terms.campaign}", f"advertiser:{terms.advertiser}"
