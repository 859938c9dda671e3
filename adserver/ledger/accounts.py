"""What a budget consists of: accounts, the holds on them, and the line items they bind."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from msgspec import Struct

from adserver.domain import limits, money
from adserver.domain.books import LineItemTotals
from adserver.domain.records import BudgetTerms, LineItemTerms
from adserver.ledger.wallets import Paid, Wallets, name_of

LIFETIME: Final = -1
"""The day of an account that knows no days."""
LASTING_DAYS: Final = (limits.CLICK_WINDOW_MS_MAX + limits.CONVERSION_LATE_MS) // 86_400_000
"""For so much longer than a click's a day of what is sold per conversion can be billed."""

Key = tuple[str, int]
"""(name, day)."""
_ADVERTISERS: Final = 4
"""Of a line item's accounts, its advertiser's lifetime."""

Day = Callable[[str, int], tuple[int, int, int]]
"""(time zone, instant) -> (local day, its start ms, its end ms); given by the composition, which knows the
engine's calendar."""


@dataclass(slots=True)
class Account:
    """``limit_nanos`` is that of the last touch (``Accounts.of``); None: no limit. ``used_nanos``: billed and
    held, for that is what leaves no room, and an impression whose price was held changes nothing of it.
    ``wallet``: that the limit is what was paid in, in this currency. No Struct, as ``Bound``: to set an
    attribute of one costs eight times as much, and each event sets half a dozen."""

    limit_nanos: int | None = None
    used_nanos: int = 0
    held_nanos: int = 0
    hoped_nanos: int = 0
    """Of what is held, the part that is an expectation and not a price."""
    wallet: str = ""

    @property
    def billed_nanos(self) -> int:
        return self.used_nanos - self.held_nanos

    @property
    def firm_nanos(self) -> int:
        """Of what is held, the part that is a price."""
        return self.held_nanos - self.hoped_nanos

    def can_pay(self, price_nanos: int) -> bool:
        """Whether an event can be billed beside what was firmly promised."""
        limit = self.limit_nanos
        return limit is None or self.used_nanos - self.hoped_nanos + price_nanos <= limit


class Hold(Struct, array_like=True, gc=False):
    """What an exposure reserves, in which accounts, until when. ``firm``: it is the whole price, of an
    impression; else what a click or viewable impression is expected to cost. ``rendered``: the impression
    came, while that is still to come."""

    line_item: int
    amount_nanos: int
    accounts: tuple[Key, ...]
    until_ms: int
    firm: bool = True
    rendered: bool = False

    def covers(self, price_nanos: int) -> bool:
        """Whether an event of this price can be billed, whatever else is."""
        return self.firm and price_nanos <= self.amount_nanos


@dataclass(slots=True, eq=False)
class Bound:
    """A line item's budgets, and its delivery counts. ``edition``: of the limits it was bound to last.
    Its accounts are those of one day, [start_ms, end_ms): the line item's own lifetime and day first, then
    the campaign's and the advertiser's; ``limited`` are those of them that have a limit, or had one when they
    were bound (a lease can end). ``wanting``: where to say that more of them is wanted (``Shared``)."""

    terms: LineItemTerms
    totals: LineItemTotals
    outstanding: int = 0
    edition: int = -1
    start_ms: int = 0
    end_ms: int = 0
    keys: tuple[Key, ...] = ()
    accounts: tuple[Account, ...] = ()
    limited: tuple[Account, ...] = ()
    wanting: set[int] | None = None

    def spent_nanos(self) -> int:
        """Billed and held of the line item itself, in all."""
        return self.accounts[0].used_nanos

    def likely_nanos(self, today: bool, per_million: int) -> int:
        """Billed, firmly held, and ``per_million`` of what is held as an upper expectation: what will have
        been spent when all that is in flight is over."""
        own = self.accounts[1 if today else 0]
        loose = own.hoped_nanos
        return own.used_nanos - loose + loose * per_million // 1_000_000

    def left_nanos(self) -> int | None:
        """The least any account still allows; None without a budget."""
        least = None
        for account in self.limited:
            if account.limit_nanos is None:
                continue
            left = account.limit_nanos - account.used_nanos
            if least is None or left < least:
                least = left
        if self.wanting is not None:
            self.wanting.add(self.terms.serial)
        return least

    def emptied(self, amount_nanos: int) -> bool:
        """Whether what was paid in has no room for a hold of this amount."""
        own = self.accounts[_ADVERTISERS]
        return bool(own.wallet) and own.used_nanos + amount_nanos > (own.limit_nanos or 0)

    def fits(self, amount_nanos: int) -> bool:
        """Whether a hold of this amount fits into every account."""
        for account in self.limited:
            limit = account.limit_nanos
            if limit is not None and account.used_nanos + amount_nanos > limit:
                self.want()
                return False
        return True

    def can_pay(self, price_nanos: int) -> bool:
        """Whether an event can be billed to every account beside what was firmly promised."""
        for account in self.limited:
            if not account.can_pay(price_nanos):
                self.want()
                return False
        return True

    def want(self) -> None:
        """Somebody asked for it: where it is leased, there may be more."""
        if self.wanting is not None:
            self.wanting.add(self.terms.serial)


class Shared(Protocol):
    """Where several processes share the budgets: ``leasing``."""

    @property
    def wanting(self) -> set[int]:
        """Line items that were looked at, or refused."""
        ...

    def bind(self, key: Key, account: Account, limit_nanos: int | None) -> int | None:
        """The catalogue's limit -> the one that binds here."""
        ...

    def follow(self, revision: int, serials: Iterable[int]) -> None:
        """Another catalogue is in force; the line items sold so far."""
        ...

    def refund(self, key: Key, nanos: int) -> None: ...
    def forget(self, key: Key) -> None: ...


class Accounts:
    """All accounts by name and day, and the budgets that limit them as they were last told. ``lasting``: of
    line items sold per conversion, whose days may be billed for as long as anything is owed to an ad.
    ``shared``: None where this process is alone."""

    def __init__(self, shared: Shared | None = None) -> None:
        self.lasting: set[str] = set()
        self.wallets = Wallets()
        self._shared = shared
        self._kept_day = 0
        self._accounts: dict[Key, Account] = {}
        self._budgets: dict[str, tuple[BudgetTerms, ...]] = {}

    def hear(self, terms: LineItemTerms) -> None:
        """These terms speak for all accounts of their line item: a budget they do not name is no more."""
        for name in levels(terms):
            self._budgets[name] = tuple([budget for budget in terms.budgets if budget.account == name])
        if terms.model == "cpa":
            self.lasting.update(levels(terms))

    def follow(self, revision: int, serials: Iterable[int]) -> None:
        """Another catalogue is in force; the line items sold so far."""
        if self._shared is not None:
            self._shared.follow(revision, serials)

    def told(self, name: str, budgets: tuple[BudgetTerms, ...]) -> None:
        self._budgets[name] = budgets

    def budgets(self, terms: LineItemTerms) -> tuple[BudgetTerms, ...]:
        """Those that bind a line item now."""
        return tuple(budget for name in levels(terms) for budget in self._budgets.get(name, ()))

    def get(self, name: str, day: int = LIFETIME) -> Account:
        found = self._accounts.get((name, day))
        if found is None:
            found = self._accounts[name, day] = Account()
        return found

    def billed(self) -> list[tuple[str, int, int]]:
        """(name, day, nanos) of those that something was billed to."""
        found = self._accounts.items()
        return [(*key, account.billed_nanos) for key, account in found if account.billed_nanos]

    def peek(self, name: str) -> Account | None:
        """The lifetime's, if there is one."""
        return self._accounts.get((name, LIFETIME))

    def of(self, terms: LineItemTerms, day: int) -> tuple[tuple[Key, ...], tuple[Account, ...]]:
        """Every account an event of that day belongs to, budgeted or not (a budget given later must find
        what was spent before), each with the limit now in force."""
        keys, accounts = list[Key](), list[Account]()
        for name in levels(terms):
            lifetime, daily = self.get(name), self.get(name, day)
            limits = self._limits(name)
            self._limit_in_all(name, lifetime, terms.currency, limits)
            daily.limit_nanos = self._limit((name, day), daily, limits.get("day"))
            keys += (name, LIFETIME), (name, day)
            accounts += lifetime, daily
        return tuple(keys), tuple(accounts)

    def _limits(self, name: str) -> dict[str, int]:
        """By period."""
        return {budget.period: budget.limit_nanos for budget in self._budgets.get(name, ())}

    def _limit_in_all(self, name: str, account: Account, currency: str, limits: dict[str, int]) -> None:
        """The limit of a lifetime."""
        limit = self.wallets.limit(name, currency, limits)
        account.wallet = currency if limit != limits.get("lifetime") else ""
        account.limit_nanos = self._limit((name, LIFETIME), account, limit)

    def _limit(self, key: Key, account: Account, limit_nanos: int | None) -> int | None:
        return limit_nanos if self._shared is None else self._shared.bind(key, account, limit_nanos)

    def pay_in(self, advertiser: int, currency: str, nanos: int) -> None:
        """Booked for an advertiser: one that pays ahead may be billed so much more at once."""
        self.wallets.pay_in(advertiser, currency, nanos)
        name = name_of(advertiser)
        account = self._accounts.get((name, LIFETIME))
        if account is not None and account.wallet == currency:
            self._limit_in_all(name, account, currency, self._limits(name))

    def paid_in(self, paid: Iterable[Paid]) -> None:
        """What the ledger says was booked, in all. It is behind where something was booked just now, and
        nothing is ever taken back."""
        for advertiser, currency, micros in paid:
            more = money.nanos(micros) - self.wallets.paid_nanos(name_of(advertiser), currency)
            if more > 0:
                self.pay_in(advertiser, currency, more)

    def change(self, keys: Iterable[Key], held_nanos: int, firm: bool) -> None:
        add([self.get(*key) for key in keys], held_nanos, firm)

    def refund(self, key: Key, nanos: int) -> None:
        """Of days nobody can bill any more there is no account to give back to."""
        found = self._accounts.get(key)
        if found is not None:
            found.used_nanos -= nanos
            if self._shared is not None:
                self._shared.refund(key, nanos)

    def forget_days(self, before_day: int) -> None:
        """Drop day accounts nobody can bill any more (a day's last token is long dead)."""
        self._kept_day = before_day
        old = [key for key in self._accounts if LIFETIME < key[1] < before_day]
        for key in old:
            if not self._accounts[key].held_nanos and not self.knows((key,)):
                del self._accounts[key]
                if self._shared is not None:
                    self._shared.forget(key)

    def can_pay(self, bound: Bound, price_nanos: int) -> bool:
        """Whether all of a line item's have room; not where nobody knows any more what a day was billed."""
        return self.knows(bound.keys) and bound.can_pay(price_nanos)

    def knows(self, keys: Iterable[Key]) -> bool:
        """Whether it is still known what these were billed."""
        for name, day in keys:
            if LIFETIME < day < self._kept_day - (LASTING_DAYS if name in self.lasting else 0):
                return False
        return True


def add(accounts: Iterable[Account], held_nanos: int, firm: bool, billed_nanos: int = 0) -> None:
    """Hold so much more (or less) in each, and bill so much more."""
    used_nanos = held_nanos + billed_nanos
    for account in accounts:
        account.held_nanos += held_nanos
        if used_nanos:
            account.used_nanos += used_nanos
        if not firm:
            account.hoped_nanos += held_nanos


def levels(terms: LineItemTerms) -> tuple[str, str, str]:
    """The names of the accounts that bind a line item."""
    return f"line_item:{terms.serial}", f"campaign:{terms.campaign}", f"advertiser:{terms.advertiser}"
