"""The limits the ledger holds each budget to.

Whether an event is billed was decided in the process that held its reservation; the ledger is the second
pair of eyes, and must never be stricter than what was promised. A budget may have been lowered since the
decision: API.md allows billed <= max(new budget, billed + reserved at the change). Reservations are not
known here, but their life is bounded: nothing reserved is billed later than 24 h (the longest
``render_within``) and a grace after its decision, and what is not reserved is billed under the limit of
its own instant. Hence the *guard* of an account at an instant t: the highest limit that was in force at
any time in (t - 25 h, t]; no limit for a part of that time is no guard. A budget lowered below what is
billed stops everything once those 25 h are over. Who paid ahead all that time has a guard of no more than
what is booked so far, which only grows. Cost: a few comparisons a posted event.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from adserver.domain import limits
from adserver.domain.credits import PREPAID
from adserver.domain.records import LineItemTerms
from adserver.ledger.wallets import Wallets

WINDOW_MS: Final = limits.RENDER_WITHIN_MS_MAX + 3600_000
PERIODS: Final = ("lifetime", "day", PREPAID)


class Limit(Struct, frozen=True):
    """From ``at_ms`` on the budget ``account`` has this limit per ``period``; None: no limit."""

    account: str
    period: str
    at_ms: int
    limit_nanos: int | None


def levels(line_item: int, campaign: int, advertiser: int) -> tuple[str, str, str]:
    """The budget accounts an event of a line item belongs to."""
    return f"line_item:{line_item}", f"campaign:{campaign}", f"advertiser:{advertiser}"


class Guards:
    """The history of every budget, as the terms in the journal tell it; ``wallets``: what was paid in."""

    def __init__(self) -> None:
        self.wallets = Wallets()
        self._history: dict[tuple[str, str], list[Limit]] = {}
        self._known: dict[str, int] = {}

    def know(self, account: str, revision: int) -> None:
        """The account existed, with a limit or without, in the catalogue of this revision."""
        self._known[account] = max(revision, self._known.get(account, 0))

    def restore(self, limit: Limit) -> None:
        self._history.setdefault((limit.account, limit.period), []).append(limit)

    def learn(self, terms: LineItemTerms) -> list[Limit]:
        """Take over the budgets of these terms; what is new in the history. The last terms that mention a
        campaign or advertiser speak for it: a budget they do not name is no more."""
        named = {(budget.account, budget.period): budget.limit_nanos for budget in terms.budgets}
        new: list[Limit] = []
        for account in levels(terms.serial, terms.campaign, terms.advertiser):
            stale = terms.revision < self._known.get(account, 0)
            tell = self._late if stale else self._change
            for period in PERIODS:
                new += tell(account, period, terms.at_ms, named.get((account, period)))
            self.know(account, terms.revision)
        for limit in new:
            self.restore(limit)
        return new

    def _late(self, account: str, period: str, at_ms: int, limit_nanos: int | None) -> Iterator[Limit]:
        """Told by a process that had not heard of a change yet, of several that serve: what it promised by a
        higher limit stands, and the newest is in force again."""
        history = self._history.get((account, period))
        now = history[-1] if history else None
        if now is None or now.limit_nanos is None:
            return
        if limit_nanos is None or limit_nanos > now.limit_nanos:
            yield Limit(account, period, at_ms, limit_nanos)
            yield Limit(account, period, max(at_ms, now.at_ms), now.limit_nanos)

    def _change(self, account: str, period: str, at_ms: int, limit_nanos: int | None) -> Iterator[Limit]:
        history = self._history.get((account, period))
        if history:
            if history[-1].limit_nanos != limit_nanos:
                yield Limit(account, period, at_ms, limit_nanos)
        elif limit_nanos is not None:
            if account in self._known:
                yield Limit(account, period, 0, None)
            yield Limit(account, period, at_ms, limit_nanos)

    def fixed(self, account: str, period: str) -> bool:
        """Whether the guard is the same at every instant, until more is learned."""
        return len(self._history.get((account, period), ())) <= 1

    def guard_in_all(self, account: str, currency: str, at_ms: int) -> int | None:
        """The guard of a lifetime."""
        said = {period: self.guard(account, period, at_ms) for period in ("lifetime", PREPAID)}
        limits = {period: limit for period, limit in said.items() if limit is not None}
        return self.wallets.limit(account, currency, limits)

    def guard(self, account: str, period: str, at_ms: int) -> int | None:
        """The highest limit in force within the window before ``at_ms``; None: no guard."""
        history = self._history.get((account, period))
        if not history:
            return None
        if len(history) == 1:
            return history[0].limit_nanos
        highest = 0
        for limit in reversed(history):
            if limit.limit_nanos is None:
                return None
            highest = max(highest, limit.limit_nanos)
            if limit.at_ms <= at_ms - WINDOW_MS:
                break
        return highest
