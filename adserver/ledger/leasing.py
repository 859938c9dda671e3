"""Leases on budgets, the serving process's side: what it may spend, and what it asks for and gives back.

A process that is alone has none of this: its accounts are limited by the budgets themselves. One that shares
them has each account limited by its *lease* instead: what is billed (elsewhere, then here) and held may not
exceed what it holds, so deciding and billing look at the very same numbers and ask nobody. A duty takes a
turn some ten times a second (``plan``, the ledger's ``settle`` in a thread, ``apply``):

* **asks** for line items that somebody looked at and that no longer have their price free in some account;
  and ahead of that for accounts whose free part will be gone in ``AHEAD`` turns at the pace of the last one.
  A slice lasts for ``LASTS`` turns at that pace.
* **gives back** what is free of an account that nothing was taken from for ``IDLE`` turns (but for one price
  while a click or viewable impression may still come), and what others want: all of it where it is of no use
  here (less than a price, or nothing moved), else all but what two more turns will take. So nobody sits on
  the last of a budget.

What is given back is out of the account before the ledger hears of it, what is granted is in it only after:
the ledger's numbers are never below ours. A lease *rests* from its beginning, and from when its limit is
lowered, until the ledger grants a slice of it under that limit: nothing new is promised, what was promised is
held, whatever the limit is, and what is not needed of it goes back. One whose limit is *lifted* binds until
the ledger has heard of it. Refunds go back to the budget, not to us.

Cost: nothing where ads are decided; a turn looks at the line items that were asked for, and at
``limits.LEASES_LOOKED_AT`` leases.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, Protocol

from adserver.domain import limits
from adserver.domain.records import LineItemTerms
from adserver.ledger.accounts import Account, Bound, Key
from adserver.ledger.lease import Lease
from adserver.ledger.leases import Ask, Held, Settled

AHEAD: Final = 5
LASTS: Final = 20
IDLE: Final = 50
FIRST_PRICES: Final = 4
"""A first slice, in prices."""
_PER_THOUSAND: Final = ("cpm", "vcpm")

Returned = dict[Key, int | None]
"""What is held of an account in all; None: it has no limit any more."""


class Budgets(Protocol):
    def standing(self, line_item: int, at_ms: int) -> Bound | None: ...


class Leasing:
    """What one process leases; ``held`` as it joined, ``billed`` as it loads its accounts, before any of them
    is bound. ``wanting``: the line items that were looked at or refused since the last turn; ``heard``: the
    revision of the catalogue under which all that was promised is told."""

    def __init__(
        self, held: Mapping[Key, Held], billed: Iterable[tuple[str, int, int]], revision: int
    ) -> None:
        self.heard = 0
        self.wanting: set[int] = set()
        self._revision = revision
        self._unbound: list[int] = []
        self._elsewhere = {(name, day): nanos for name, day, nanos in billed}
        for key, lease in held.items():
            self._elsewhere[key] = self._elsewhere.get(key, 0) - lease.spent_nanos
        self._granted = {key: lease.granted_nanos for key, lease in held.items()}
        self._leases: dict[Key, Lease] = {}
        self._untold: set[Key] = set()
        self._since: dict[tuple[str, bool], int] = {}
        self._others_want: set[Key] = set()
        self._round: Iterator[Key] = iter(())

    def follow(self, revision: int, serials: Iterable[int]) -> None:
        """Another catalogue is in force. What the line items sold so far have promised is told under its
        limits, some in each turn."""
        self._revision, self._unbound = revision, list(serials)

    # -- binding accounts --------------------------------------------------------------------------

    def bind(self, key: Key, account: Account, limit_nanos: int | None) -> int | None:
        """The catalogue's limit of an account -> what may be billed and held in it here."""
        lease, period = self._leases.get(key), (key[0], key[1] < 0)
        if limit_nanos is None:
            self._since.pop(period, None)
            return self._lift(key, account)
        since = self._since.setdefault(period, self._revision)
        if lease is None:
            self._leases[key] = self._begin(key, account, limit_nanos, since)
        else:
            if lease.lifted or limit_nanos < lease.limit_nanos:
                lease.rest()
                self._untold.add(key)
            lease.lifted, lease.limit_nanos, lease.since = False, limit_nanos, since
        return account.limit_nanos

    def _lift(self, key: Key, account: Account) -> int | None:
        """What is leased of it, by an earlier process of this number perhaps, still binds."""
        if key not in self._leases:
            if self._granted.get(key) is None:
                return None
            self._leases[key] = self._begin(key, account, 0, 0)
        self._leases[key].lifted = True
        self._untold.add(key)
        return account.limit_nanos

    def _begin(self, key: Key, account: Account, limit_nanos: int, since: int) -> Lease:
        """What was granted before may be of a higher limit than there is by now: it rests."""
        told = self._granted.pop(key, 0)
        if told is None:
            told = 0
            self._untold.add(key)
        lease = Lease(key, account, self._elsewhere.get(key, 0), limit_nanos, since, told)
        lease.rest()
        lease.look()
        self._retell(lease)
        return lease

    def refund(self, key: Key, nanos: int) -> None:
        """Given back to the budget by whoever found it invalid, and not to be spent here."""
        self._elsewhere[key] = self._elsewhere.get(key, 0) - nanos
        lease = self._leases.get(key)
        if lease is not None:
            lease.elsewhere_nanos -= nanos
            lease.grow(-nanos)

    def elsewhere(self, key: Key, account: Account, nanos: int) -> None:
        """What of an account's bill is not this process's, by now. However much, it leaves the room here."""
        more = nanos - self._elsewhere.get(key, 0)
        if not more:
            return
        self._elsewhere[key] = nanos
        account.used_nanos += more
        lease = self._leases.get(key)
        if lease is not None:
            lease.elsewhere_nanos += more
            lease.used_nanos += more
            lease.grow(more)

    def forget(self, key: Key) -> None:
        """Of a day nobody can bill any more."""
        self._leases.pop(key, None)
        self._untold.discard(key)

    # -- a turn ------------------------------------------------------------------------------------

    def plan(self, budgets: Budgets, now_ms: int) -> tuple[Returned, list[list[Ask]]]:
        """(what the ledger must hear is held, what is asked for)."""
        self._bind_some(budgets, now_ms)
        for key in self._others_want & self._leases.keys():
            self._spare(self._leases[key])
        groups = [self._needed(budgets, serial, now_ms) for serial in self._looked_at()]
        asked = {ask.key for group in groups for ask in group}
        groups += [self._ahead(lease) for lease in self._some() if lease.key not in asked]
        return self._returned(), [group for group in groups if group]

    def apply(self, returned: Returned, settled: Settled) -> None:
        """What ``settle`` made of a plan. What was given back since then is told the next time, and what was
        granted under a limit that is lower by now goes back."""
        for key, told in returned.items():
            if told == self._held_nanos(key):
                self._untold.discard(key)
                if told is None:
                    self._end(key)
        for key, slice_nanos in settled.granted.items():
            lease = self._leases.get(key)
            if lease is None or not lease.asked:
                self._untold.add(key)
            else:
                lease.take(slice_nanos)
        self._others_want = settled.wanted

    def give_all_back(self) -> Returned:
        """All that is free: a clean end."""
        for lease in self._leases.values():
            self._give(lease, lease.free_nanos)
            self._retell(lease)
        return self._returned()

    def _returned(self) -> Returned:
        returned = Returned()
        for key in self._untold:
            returned[key] = held_nanos = self._held_nanos(key)
            if held_nanos is not None:
                self._leases[key].told_nanos = held_nanos
        return returned

    def _held_nanos(self, key: Key) -> int | None:
        """What the ledger is to hear."""
        lease = self._leases.get(key)
        return None if lease is None or lease.lifted else lease.granted_nanos

    def _end(self, key: Key) -> None:
        """The ledger has heard that it has no limit any more."""
        lease = self._leases.pop(key, None)
        if lease is not None:
            self._elsewhere[key], self._granted[key] = lease.elsewhere_nanos, None
            lease.account.limit_nanos = None

    def _retell(self, lease: Lease) -> None:
        """Of one that rests, less is held with every hold that ends."""
        if lease.rests and lease.granted_nanos != lease.told_nanos:
            self._untold.add(lease.key)

    def _bind_some(self, budgets: Budgets, now_ms: int) -> None:
        unbound = self._unbound
        for serial in unbound[-limits.LEASES_LOOKED_AT :]:
            budgets.standing(serial, now_ms)
        del unbound[-limits.LEASES_LOOKED_AT :]
        if not unbound:
            self.heard = self._revision

    def _looked_at(self) -> list[int]:
        serials = list(islice(self.wanting, limits.LEASES_ASKED))
        self.wanting.difference_update(serials)
        return serials

    def _some(self) -> list[Lease]:
        """The next ones of all."""
        keys = list(islice(self._round, limits.LEASES_LOOKED_AT))
        if not keys:
            self._round = iter(list(self._leases))
            keys = list(islice(self._round, limits.LEASES_LOOKED_AT))
        return [self._leases[key] for key in keys if key in self._leases]

    def _needed(self, budgets: Budgets, serial: int, now_ms: int) -> list[Ask]:
        """For one event of a line item, in every account that has not got its price."""
        bound = budgets.standing(serial, now_ms)
        if bound is None:
            return []
        price_nanos, asks = dearest_nanos(bound.terms), list[Ask]()
        for lease in map(self._leases.get, bound.keys):
            if lease is None or lease.lifted:
                continue
            self._retell(lease)
            lease.price_nanos = max(lease.price_nanos, price_nanos)
            missing = price_nanos - lease.free_nanos
            if missing > 0:
                target = max(FIRST_PRICES * price_nanos, LASTS * lease.moved_nanos)
                asks.append(lease.ask(missing, target))
        return asks

    def _ahead(self, lease: Lease) -> list[Ask]:
        """More before there is none; less where it lies idle."""
        lease.look()
        self._retell(lease)
        if not lease.lifted and lease.moved_nanos and lease.free_nanos < AHEAD * lease.moved_nanos:
            return [lease.ask(lease.price_nanos, LASTS * lease.moved_nanos)]
        if lease.still >= IDLE:
            # A click costs more than is held for it, and may still come.
            self._give(lease, lease.free_nanos - (lease.price_nanos if lease.account.hoped_nanos else 0))
        return []

    def _spare(self, lease: Lease) -> None:
        """Somebody else wants it."""
        lease.look()
        free = lease.free_nanos
        self._give(lease, free if free < lease.price_nanos else free - 2 * lease.moved_nanos)

    def _give(self, lease: Lease, nanos: int) -> None:
        if nanos > 0:
            lease.grow(-nanos)
            self._untold.add(lease.key)


def dearest_nanos(terms: LineItemTerms) -> int:
    """What an event of the line item costs at most."""
    return terms.amount_micros * (1 if terms.model in _PER_THOUSAND else 1000)
