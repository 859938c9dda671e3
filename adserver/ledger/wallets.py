"""What advertisers have paid in: the lifetime limit of those that pay ahead.

A budget of the period ``prepaid`` says that an advertiser is billed no more than was booked for it: deposits,
credits and make-goods, in its currency. The limit in force is that, or its budget where that is less; what
was paid in only ever grows, so a booking never lowers it. Sums come from the ledger as a process begins; a
process that is alone adds what it books itself, of several each hears from the ledger alone, so what counts
is posted, and on disk.
"""

from collections.abc import Mapping

from adserver.domain.credits import PREPAID

Paid = tuple[int, str, int]
"""(advertiser, currency, micros)."""


class Wallets:
    """By account (``advertiser:<serial>``) and currency, in nanos."""

    def __init__(self) -> None:
        self._paid: dict[tuple[str, str], int] = {}

    def pay_in(self, advertiser: int, currency: str, nanos: int) -> None:
        key = name_of(advertiser), currency
        self._paid[key] = self._paid.get(key, 0) + nanos

    def paid(self) -> list[Paid]:
        """All that was."""
        found = self._paid.items()
        return [(int(name.partition(":")[2]), currency, nanos // 1000) for (name, currency), nanos in found]

    def paid_nanos(self, account: str, currency: str) -> int:
        return self._paid.get((account, currency), 0)

    def limit(self, account: str, currency: str, limits: Mapping[str, int]) -> int | None:
        """The lifetime limit of an account with these ``limits`` by period; None: no limit."""
        limit = limits.get("lifetime")
        if PREPAID not in limits:
            return limit
        paid = self.paid_nanos(account, currency)
        return paid if limit is None else min(paid, limit)


def name_of(advertiser: int) -> str:
    return f"advertiser:{advertiser}"
