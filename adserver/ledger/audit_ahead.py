"""Who pays ahead, audited: the lifetime limit of such an advertiser is what was booked for it so far, by the
records before, each once. Written down a second time, beside ``wallets``."""

from collections import defaultdict
from typing import Protocol

from adserver.domain.records import Credited


class Tell(Protocol):
    def __call__(self, key: tuple[str, str], limit: int | None, stale: bool, told_ms: int) -> None: ...


class PaidAhead:
    """As the journal tells it, record by record."""

    def __init__(self) -> None:
        self._booked: set[tuple[int, str]] = set()
        self._paid: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._budgets: dict[str, tuple[str, int | None]] = {}

    def limit(self, account: str, currency: str, budget: int | None, ahead: bool, stale: bool) -> int | None:
        """What terms with this ``budget`` promise; ``ahead``: they say that it pays ahead; ``stale``: of an
        older catalogue than somebody told of before."""
        if not stale:
            self._budgets.pop(account, None)
            if ahead:
                self._budgets[account] = currency, budget
        if not ahead:
            return budget
        paid = self._paid[account, currency]
        return paid if budget is None else min(paid, budget)

    def pay_in(self, record: Credited, tell: Tell) -> None:
        """The limit that is new, if there is one."""
        key = record.advertiser, record.id
        if key in self._booked:
            return
        self._booked.add(key)
        account, currency = f"advertiser:{record.advertiser}", record.currency
        self._paid[account, currency] += record.amount_micros * 1000
        of, budget = self._budgets.get(account, ("", None))
        if of == currency:
            limit = self.limit(account, currency, budget, True, True)
            tell((account, "lifetime"), limit, False, record.at_ms)
