"""Budgets in this process: reserve, post, void (DESIGN, "Money"); law 3, exactly.

Every line item is bound by *accounts*: its own budgets, its campaign's and its advertiser's, lifetime
and day. An account knows what is billed and what is held by exposures in flight, and

    billed + held + new hold <= limit     when a hold is made, in every account
    billed + firmly held <= limit         always

so no impression that was reserved can fail to post. A CPM exposure holds its whole price, firmly. Viewable
impressions and clicks hold an upper expectation only, so that a small budget does not stand still; their
event takes its price from what is not firmly held, and is recorded with 0 (over budget) when some account
has none left. A hold ends with its event, its release, or
``GRACE_MS`` after its token can no longer be accepted. A day account belongs to the day of the decision.

Lifetime accounts start from the ledger's totals; day accounts likewise. Lowering a limit below what is
billed and held bars new holds at once and breaks no promise already made. All integers, in nanos.
"""

import heapq
from collections.abc import Callable, Iterable

import msgspec

from adserver.domain import limits
from adserver.domain.books import LineItemTotals
from adserver.domain.records import LineItemTerms
from adserver.ledger.accounts import LIFETIME, Account, Bound, Hold, levels

Day = Callable[[str, int], int]
"""(time zone, instant) -> local day; given by the composition, which knows the engine's calendar."""


class Budgets:
    """Accounts of all line items known."""

    def __init__(self, day: Day) -> None:
        self._day = day
        self._accounts: dict[tuple[str, int], Account] = {}
        self._limits: dict[tuple[str, str], int] = {}
        self._bound: dict[int, Bound] = {}
        self._holds: dict[bytes, Hold] = {}
        self._ends: list[tuple[int, bytes]] = []

    def know(self, terms: Iterable[LineItemTerms]) -> None:
        """Line items of any time, as last known: archived ones still count in their campaign's budget."""
        for item in terms:
            known = self._bound.get(item.serial)
            if known is None:
                self._bound[item.serial] = Bound(item, LineItemTotals(item.serial))
            else:
                known.terms, known.day = item, None

    def terms(self) -> list[LineItemTerms]:
        """Of every line item known, as last known."""
        return [bound.terms for bound in self._bound.values()]

    def bind(self, terms: Iterable[LineItemTerms]) -> None:
        """Take over the limits now in force. Budgets that the catalogue no longer names stop binding;
        those of archived line items bind their late events on."""
        current = list(terms)
        self.know(current)
        self._limits = {(b.account, b.period): b.limit_nanos for item in current for b in item.budgets}
        named = {name for item in current for name in levels(item)}
        serials = {item.serial for item in current}
        for bound in self._bound.values():
            if bound.terms.serial not in serials:
                for b in bound.terms.budgets:
                    if b.account not in named:
                        self._limits[b.account, b.period] = b.limit_nanos
        for (name, day), account in self._accounts.items():
            account.limit_nanos = self._limit(name, day)

    def load(self, totals: Iterable[LineItemTotals], billed: Iterable[tuple[str, int, int]]) -> None:
        """Start from the ledger, once: line items' totals, and what every (account, day) was billed; the
        lifetime's day is ``LIFETIME``. Line items must be known before."""
        for total in totals:
            bound = self._bound.get(total.line_item)
            if bound is not None:
                bound.totals = total
        for name, day, nanos in billed:
            self._account(name, day).billed_nanos = nanos

    def knows(self, line_item: int) -> bool:
        return line_item in self._bound

    def totals(self, line_item: int) -> tuple[LineItemTotals, int] | None:
        """(what was counted so far, ads reserved and not yet rendered)."""
        bound = self._bound.get(line_item)
        return None if bound is None else (bound.totals, bound.outstanding)

    def spent_nanos(self, line_item: int, day: int | None = None) -> int:
        """Billed and held of the line item itself: in all, or of one day."""
        account = self.account(f"line_item:{line_item}", day)
        return account.billed_nanos + account.held_nanos

    def formerly(self, campaign: str) -> list[tuple[LineItemTerms, LineItemTotals, int]]:
        """(terms, counts, outstanding) of every line item a campaign (full id) ever had."""
        bounds = [b for b in list(self._bound.values()) if b.terms.full_id.rpartition("/")[0] == campaign]
        return [(bound.terms, bound.totals, bound.outstanding) for bound in bounds]

    def campaign_nanos(self, campaign: int) -> tuple[int, int]:
        """(billed, held) of a campaign, with what line items it no longer has have spent."""
        account = self._accounts.get((f"campaign:{campaign}", LIFETIME))
        return (account.billed_nanos, account.held_nanos) if account is not None else (0, 0)

    def room(self, line_item: int, amount_nanos: int, now_ms: int) -> bool:
        """Whether a hold of this amount fits into every account of the line item."""
        bound = self._bound.get(line_item)
        if bound is None:
            return False
        for account in self._bound_by(bound, now_ms):
            limit = account.limit_nanos
            if limit is not None and account.billed_nanos + account.held_nanos + amount_nanos > limit:
                return False
        return True

    def reserve(
        self,
        event_id: bytes,
        line_item: int,
        amount_nanos: int,
        now_ms: int,
        expires_ms: int,
        firm: bool = True,
    ) -> bool:
        """Hold the amount in every account of the line item, or in none. ``firm``: it is the whole price."""
        bound = self._bound.get(line_item)
        if bound is None or not self.room(line_item, amount_nanos, now_ms):
            return False
        self._hold(event_id, bound, amount_nanos, now_ms, expires_ms, firm)
        return True

    def restore(
        self,
        event_id: bytes,
        line_item: int,
        amount_nanos: int,
        now_ms: int,
        expires_ms: int,
        firm: bool = True,
    ) -> None:
        """A hold made before a restart: it stands, whatever the limits are now."""
        bound = self._bound.get(line_item)
        if bound is not None:
            self._hold(event_id, bound, amount_nanos, now_ms, expires_ms, firm)

    def lower(self, event_id: bytes, amount_nanos: int) -> None:
        """Hold less: the auction cleared below the bid."""
        hold = self._holds[event_id]
        self._change(hold, amount_nanos - hold.amount_nanos)
        hold.amount_nanos = amount_nanos

    def void(self, event_id: bytes) -> bool:
        """End a hold without an event; False if there is none."""
        hold = self._holds.pop(event_id, None)
        if hold is None:
            return False
        self._change(hold, -hold.amount_nanos)
        self._bound[hold.line_item].outstanding -= not hold.rendered
        return True

    def rendered(self, event_id: bytes) -> None:
        """The impression came and did not cost anything by itself: the ad is no longer outstanding, its
        hold stays for the click or the viewable impression."""
        hold = self._holds.get(event_id)
        if hold is not None and not hold.rendered:
            hold.rendered = True
            self._bound[hold.line_item].outstanding -= 1

    def affords(self, event_id: bytes, line_item: int, price_nanos: int, decided_ms: int) -> bool:
        """Whether an event can be billed. One that reserved its whole price always, even if the budget was
        lowered since. A click or viewable impression where every account of the day of its *decision* has
        room beside what is firmly promised: expectations give way to what really happened."""
        bound = self._bound.get(line_item)
        if bound is None:
            return False
        hold = self._holds.get(event_id)
        if hold is not None and hold.firm and price_nanos <= hold.amount_nanos:
            return True
        return all(account.can_pay(price_nanos) for account in self._bound_by(bound, decided_ms))

    def bill(self, line_item: int, price_nanos: int, decided_ms: int) -> None:
        """Add to every account what was billed (decided above, or read back from the journal)."""
        bound = self._bound.get(line_item)
        if bound is None:
            return
        for account in self._bound_by(bound, decided_ms):
            account.billed_nanos += price_nanos
        bound.totals.billed_nanos += price_nanos

    def sweep(self, now_ms: int) -> None:
        """Void the holds whose tokens can no longer be accepted, grace included."""
        while self._ends and self._ends[0][0] < now_ms:
            until_ms, event_id = heapq.heappop(self._ends)
            hold = self._holds.get(event_id)
            if hold is not None and hold.until_ms == until_ms:
                self.void(event_id)

    def remaining_nanos(self, line_item: int, now_ms: int) -> int | None:
        """The least any account of the line item still allows; None without a budget."""
        bound = self._bound.get(line_item)
        if bound is None:
            return None
        return min(
            (
                account.limit_nanos - account.billed_nanos - account.held_nanos
                for account in self._bound_by(bound, now_ms)
                if account.limit_nanos is not None
            ),
            default=None,
        )

    def account(self, name: str, day: int | None = None) -> Account:
        """An account by name; ``day`` None is its lifetime."""
        return self._account(name, LIFETIME if day is None else day)

    def _hold(
        self, event_id: bytes, bound: Bound, amount_nanos: int, now_ms: int, expires_ms: int, firm: bool
    ) -> None:
        self._bound_by(bound, now_ms)
        until_ms = expires_ms + limits.GRACE_MS
        hold = self._holds[event_id] = Hold(bound.terms.serial, amount_nanos, bound.keys, until_ms, firm)
        self._change(hold, amount_nanos)
        heapq.heappush(self._ends, (until_ms, event_id))
        bound.outstanding += 1

    def _change(self, hold: Hold, nanos: int) -> None:
        for key in hold.accounts:
            account = self._account(*key)
            account.held_nanos += nanos
            if hold.firm:
                account.firm_nanos += nanos

    def _bound_by(self, bound: Bound, at_ms: int) -> tuple[Account, ...]:
        """Every account an event decided at ``at_ms`` belongs to, budgeted or not: a budget given later
        must find what was spent before. Days are the campaign's at every level, as in the ledger. Kept
        for the day last asked for, which nearly always is today; ``bound.keys`` names them."""
        day = self._day(bound.terms.timezone, at_ms)
        if day != bound.day:
            bound.keys = tuple((name, period) for name in levels(bound.terms) for period in (LIFETIME, day))
            bound.accounts = tuple(self._account(*key) for key in bound.keys)
            bound.day = day
        return bound.accounts

    def _account(self, name: str, day: int) -> Account:
        account = self._accounts.get((name, day))
        if account is None:
            account = self._accounts[name, day] = Account(self._limit(name, day))
        return account

    def _limit(self, name: str, day: int) -> int | None:
        return self._limits.get((name, "lifetime" if day == LIFETIME else "day"))

    def dump(self) -> bytes:
        """The holds, for a checkpoint; what was billed is the ledger's."""
        return msgspec.msgpack.encode(self._holds)

    def load_holds(self, dumped: bytes) -> None:
        """Line items must be known before."""
        self._holds = msgspec.msgpack.decode(dumped, type=dict[bytes, Hold])
        self._ends = [(hold.until_ms, event_id) for event_id, hold in self._holds.items()]
        heapq.heapify(self._ends)
        for hold in self._holds.values():
            self._bound[hold.line_item].outstanding += not hold.rendered
            self._change(hold, hold.amount_nanos)

    def forget_days(self, before_day: int) -> None:
        """Drop day accounts nobody can bill any more (a day's last token is long dead)."""
        for key in [
            k for k, a in self._accounts.items() if LIFETIME < k[1] < before_day and not a.held_nanos
        ]:
            del self._accounts[key]
        for bound in self._bound.values():
            if bound.day is not None and bound.day < before_day:
                bound.day = None
