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

Limits come from the catalogue in force, and no change of it walks the line items: each edition of the
limits has a number, and a line item is bound anew when it is first touched under another number than it
was bound under, with its campaign and its advertiser. So a lowered limit binds the very next hold and the
very next click, whoever asks. Those that leave the catalogue are found as it changes, and take the last
limits they had along.

Accounts start from the ledger's totals. Lowering a limit below what is billed and held bars new holds at once
and breaks no promise already made. All integers, in nanos.
"""

from collections.abc import Iterable

import msgspec

from adserver.domain import limits
from adserver.domain.books import LineItemTotals
from adserver.domain.calendar import Calendar
from adserver.domain.records import LineItemTerms, Reversed
from adserver.ledger.accounts import LIFETIME, Account, Accounts, Bound, Day, Hold, Shared, add, levels
from adserver.ledger.inforce import InForce, Nothing


class Budgets:
    """Accounts of all line items ever touched; ``lasting``, ``wallets``, ``shared``: see ``Accounts``."""

    def __init__(self, day: Day, shared: Shared | None = None) -> None:
        self._day = day
        self._accounts = Accounts(shared)
        self.lasting, self.wallets = self._accounts.lasting, self._accounts.wallets
        self.pay_in, self.paid_in = self._accounts.pay_in, self._accounts.paid_in
        self._wanting = None if shared is None else shared.wanting
        self._in_force: InForce = Nothing()
        self._edition = 0
        self._bound: dict[int, Bound] = {}
        self._serials, self._absent = set[int](), set[int]()
        self._orphans: dict[int, LineItemTerms] = {}
        self._holds: dict[bytes, Hold] = {}
        self._ends = Calendar()

    # -- limits ------------------------------------------------------------------------------------

    def know(self, terms: Iterable[LineItemTerms]) -> None:
        """Line items of any time, as last known, the latest last: what speaks of an account last, holds.
        Archived ones still count in their campaign's budget."""
        for item in terms:
            self._accounts.hear(item)
            self._bind(item, -1)

    def follow(self, in_force: InForce) -> set[int]:
        """Another catalogue is in force. Budgets that it no longer names stop binding; those of archived line
        items bind their late events on. Returns the line items that have just left."""
        self._accounts.follow(in_force.revision, self._serials)
        absent = in_force.absent(self._serials)
        left = absent - self._absent
        for serial in left:
            bound = self._touch(serial) or self._bound[serial]
            self._orphans[bound.terms.campaign] = bound.terms
        for terms in list(self._orphans.values()):
            self._hear_levels(terms)
            if not in_force.levels(terms):
                del self._orphans[terms.campaign]
        self._absent = absent
        self._in_force = in_force
        self._edition += 1
        return left

    def standing(self, line_item: int, at_ms: int) -> Bound | None:
        """A line item under the limits in force, with the accounts of everything decided at ``at_ms``.
        Days are the campaign's at every level, as in the ledger. Nobody's: None."""
        bound = self._bound.get(line_item)
        if bound is None or bound.edition != self._edition:
            bound = self._touch(line_item)
            if bound is None:
                return None
        if at_ms < bound.start_ms or at_ms >= bound.end_ms:
            day, bound.start_ms, bound.end_ms = self._day(bound.terms.timezone, at_ms)
            bound.keys, bound.accounts = self._accounts.of(bound.terms, day)
            bound.limited = tuple(a for a in bound.accounts if a.limit_nanos is not None)
        return bound

    def terms(self, line_item: int) -> LineItemTerms | None:
        """What binds a line item now; of one the catalogue no longer has, what bound it last."""
        bound = self._bound.get(line_item)
        if bound is None or bound.edition != self._edition:
            bound = self._touch(line_item)
        return None if bound is None else bound.terms

    def _touch(self, line_item: int) -> Bound | None:
        """Bind it to the limits in force."""
        terms = self._in_force.line_item(line_item)
        if terms is None:
            if (known := self._bound.get(line_item)) is None:
                return None
            self._hear_levels(known.terms)
            terms = msgspec.structs.replace(known.terms, budgets=self._accounts.budgets(known.terms))
        else:
            self._accounts.hear(terms)
        return self._bind(terms, self._edition)

    def _hear_levels(self, terms: LineItemTerms) -> None:
        """Of a line item that is gone, its campaign and advertiser may go on, and change."""
        for name, budgets in self._in_force.levels(terms).items():
            self._accounts.told(name, budgets)

    def _bind(self, terms: LineItemTerms, edition: int) -> Bound:
        bound = self._bound.get(terms.serial)
        if bound is None:
            totals = LineItemTotals(terms.serial)
            bound = self._bound[terms.serial] = Bound(terms, totals, wanting=self._wanting)
            self._serials.add(terms.serial)
        bound.terms, bound.edition = terms, edition
        bound.start_ms = bound.end_ms = 0
        return bound

    # -- what was delivered ------------------------------------------------------------------------

    def load(self, totals: Iterable[LineItemTotals], billed: Iterable[tuple[str, int, int]]) -> None:
        """Start from the ledger, once: line items' totals, and what every (account, day) was billed; the
        lifetime's day is ``LIFETIME``. Line items must be known before."""
        for total in totals:
            if (bound := self._bound.get(total.line_item)) is not None:
                bound.totals = total
        for name, day, nanos in billed:
            account = self._accounts.get(name, day)
            account.used_nanos = account.held_nanos + nanos

    def delivered(self) -> tuple[list[LineItemTotals], list[tuple[str, int, int]]]:
        """What ``load`` takes."""
        return [bound.totals for bound in self._bound.values()], self._accounts.billed()

    def totals(self, line_item: int) -> tuple[LineItemTotals, int] | None:
        """(what was counted so far, ads reserved and not yet rendered)."""
        bound = self._bound.get(line_item)
        return None if bound is None else (bound.totals, bound.outstanding)

    def formerly(self, campaign: str) -> list[tuple[LineItemTerms, LineItemTotals, int]]:
        """(terms, counts, outstanding) of every line item a campaign (full id) ever sold."""
        own = [b for b in list(self._bound.values()) if b.terms.full_id.rpartition("/")[0] == campaign]
        return [(bound.terms, bound.totals, bound.outstanding) for bound in own]

    def campaign_nanos(self, campaign: int) -> tuple[int, int]:
        """(billed, held) of a campaign, with what line items it no longer has have spent."""
        account = self._accounts.peek(f"campaign:{campaign}") or Account()
        return account.billed_nanos, account.held_nanos

    def remaining_nanos(self, line_item: int, now_ms: int) -> int | None:
        """The least any account of the line item still allows; None without a budget."""
        return bound.left_nanos() if (bound := self.standing(line_item, now_ms)) is not None else None

    def account(self, name: str, day: int | None = None) -> Account:
        """``day`` None: its lifetime."""
        return self._accounts.get(name, LIFETIME if day is None else day)

    # -- holds -------------------------------------------------------------------------------------

    def room(self, line_item: int, amount_nanos: int, now_ms: int) -> bool:
        """Whether a hold of this amount fits into every account of the line item."""
        return (bound := self.standing(line_item, now_ms)) is not None and bound.fits(amount_nanos)

    def reserve(
        self, event_id: bytes, line_item: int, amount_nanos: int, now_ms: int, expires_ms: int,
        firm: bool = True,
    ) -> bool:  # fmt: skip
        """Hold the amount in every account, or in none. ``firm``: it is the whole price."""
        bound = self.standing(line_item, now_ms)
        if bound is None or not bound.fits(amount_nanos):
            return False
        self._hold(event_id, bound, amount_nanos, expires_ms, firm)
        return True

    def restore(
        self, event_id: bytes, line_item: int, amount_nanos: int, now_ms: int, expires_ms: int,
        firm: bool = True,
    ) -> None:  # fmt: skip
        """A hold made before a restart: it stands, whatever the limits are now."""
        if (bound := self.standing(line_item, now_ms)) is not None:
            self._hold(event_id, bound, amount_nanos, expires_ms, firm)

    def _hold(self, event_id: bytes, bound: Bound, amount_nanos: int, expires_ms: int, firm: bool) -> None:
        until_ms = expires_ms + limits.GRACE_MS
        self._holds[event_id] = Hold(bound.terms.serial, amount_nanos, bound.keys, until_ms, firm)
        add(bound.accounts, amount_nanos, firm)
        self._ends.put(until_ms, event_id)
        bound.outstanding += 1

    def lower(self, event_id: bytes, amount_nanos: int) -> None:
        """Hold less: the auction cleared below the bid."""
        hold = self._holds[event_id]
        if amount_nanos != hold.amount_nanos:
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

    def _change(self, hold: Hold, nanos: int) -> None:
        """Hold so much more or less."""
        bound = self._bound[hold.line_item]
        if hold.accounts is bound.keys:
            add(bound.accounts, nanos, hold.firm)
        else:
            self._accounts.change(hold.accounts, nanos, hold.firm)

    def rendered(self, event_id: bytes) -> None:
        """The impression came and did not cost anything by itself: the ad is no longer outstanding, its
        hold stays for the click or the viewable impression."""
        if (hold := self._holds.get(event_id)) is not None and not hold.rendered:
            hold.rendered = True
            self._bound[hold.line_item].outstanding -= 1

    def is_held(self, event_id: bytes, price_nanos: int) -> bool:
        """Whether its whole price is reserved."""
        return (hold := self._holds.get(event_id)) is not None and hold.covers(price_nanos)

    def affords(self, event_id: bytes, line_item: int, price_nanos: int, decided_ms: int) -> bool:
        """Whether an event can be billed. One that reserved its whole price always, even if the budget was
        lowered since. A click or viewable impression where every account of the day of its *decision* has
        room beside what is firmly promised: expectations give way to what really happened."""
        if self.is_held(event_id, price_nanos):
            return True
        bound = self.standing(line_item, decided_ms)
        return bound is not None and self._accounts.can_pay(bound, price_nanos)

    def bill(self, line_item: int, price_nanos: int, decided_ms: int) -> None:
        """Add to every account what was billed (decided above, or read back from the journal)."""
        if (bound := self.standing(line_item, decided_ms)) is not None:
            for account in bound.accounts:
                account.used_nanos += price_nanos
            bound.totals.billed_nanos += price_nanos

    def post(self, event_id: bytes, line_item: int, price_nanos: int, at_ms: int) -> LineItemTotals | None:
        """A billable event of an ad of ``at_ms`` came: ``void`` its hold and ``bill`` its price, 0 where it
        is billed nothing. What was delivered of the line item so far."""
        bound, hold = self.standing(line_item, at_ms), self._holds.get(event_id)
        if bound is None or hold is None or hold.accounts is not bound.keys:
            self.void(event_id)
            self.bill(line_item, price_nanos, at_ms)
            return None if bound is None else bound.totals
        del self._holds[event_id]
        bound.outstanding -= not hold.rendered
        add(bound.accounts, -hold.amount_nanos, hold.firm, price_nanos)
        bound.totals.billed_nanos += price_nanos
        return bound.totals

    def refund(self, found: Reversed, counted: str | None) -> None:
        """An event that was found invalid: its money is free again, where there still is an account of its
        day, and it no longer counts towards the goal as ``impressions``, ...; a fee is not ``counted``."""
        if (bound := self._bound.get(found.line_item)) is None:
            return
        for name in levels(bound.terms):
            for key in ((name, LIFETIME), (name, found.day)):
                self._accounts.refund(key, found.billed_nanos)
        bound.totals.refunded_nanos += found.billed_nanos
        if counted is not None:
            setattr(bound.totals, f"invalid_{counted}", getattr(bound.totals, f"invalid_{counted}") + 1)

    def sweep(self, now_ms: int) -> None:
        """Void the holds whose tokens can no longer be accepted, grace included."""
        for until_ms, event_id in self._ends.over(now_ms):
            if (hold := self._holds.get(event_id)) is not None and hold.until_ms == until_ms:
                self.void(event_id)

    def forget_days(self, before_day: int) -> None:
        """Drop day accounts nobody can bill any more."""
        self._accounts.forget_days(before_day)
        for bound in self._bound.values():
            if bound.keys and bound.keys[1][1] < before_day:
                bound.start_ms = bound.end_ms = 0

    def dump(self) -> bytes:
        """The holds, for a checkpoint; what was billed is the ledger's."""
        return msgspec.msgpack.encode(self._holds)

    def load_holds(self, dumped: bytes) -> None:
        """Line items must be known before."""
        self._holds = msgspec.msgpack.decode(dumped, type=dict[bytes, Hold])
        self._ends = Calendar((hold.until_ms, event_id) for event_id, hold in self._holds.items())
        for hold in self._holds.values():
            self._bound[hold.line_item].outstanding += not hold.rendered
            self._accounts.change(hold.accounts, hold.amount_nanos, hold.firm)
