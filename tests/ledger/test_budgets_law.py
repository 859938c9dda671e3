"""Law 3 in the process: a state machine against brute-force sums."""

from itertools import count

from budget_samples import ACCOUNTS, DAY_MS, LEVELS, RENDER_MS, Catalogue, accounts_of, day_of, span_of, terms
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from adserver.domain import limits
from adserver.domain.books import LineItemTotals
from adserver.ledger.budgets import LIFETIME, Budgets


class Held:
    """What the model knows of an exposure."""

    def __init__(self, serial: int, amount: int, price: int, at_ms: int, firm: bool = True) -> None:
        self.firm = firm
        self.serial, self.amount, self.price, self.at_ms = serial, amount, price, at_ms
        self.until_ms = at_ms + RENDER_MS + limits.GRACE_MS
        self.day = day_of(LEVELS[serial][2], at_ms)
        self.rendered = False

    def in_account(self, name: str, day: int) -> bool:
        return name in accounts_of(self.serial) and day in (LIFETIME, self.day)


class Law3(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 10 * DAY_MS
        self.ids = count(1)
        self.budgets = Budgets(span_of)
        self.limits: dict[tuple[str, str], int] = {}
        self.ceilings: dict[tuple[str, int], int] = {}
        self.serving = {1, 2, 3}
        self.sold = set[int]()
        self.held: dict[bytes, Held] = {}
        self.billed: list[Held] = []
        self.free_nanos = 0
        self.put_live()

    def put_live(self) -> None:
        """New limits are in force; what is billed and held now may still be billed."""
        self.budgets.follow(Catalogue(self.serving, self.limits))
        self.ceilings = {key: self.billed_nanos(*key) + self.held_nanos(*key) for key in self.keys()}

    def keys(self) -> list[tuple[str, int]]:
        days = {LIFETIME, *(day_of(zone, self.now_ms) for zone in "AB")}
        days |= {held.day for held in (*self.held.values(), *self.billed)}
        return [(name, day) for name in ACCOUNTS for day in sorted(days)]

    def limit(self, name: str, day: int) -> int | None:
        return self.limits.get((name, "lifetime" if day == LIFETIME else "day"))

    def billed_nanos(self, name: str, day: int) -> int:
        return sum(held.price for held in self.billed if held.in_account(name, day))

    def held_nanos(self, name: str, day: int) -> int:
        return sum(held.amount for held in self.held.values() if held.in_account(name, day))

    def firm_nanos(self, name: str, day: int) -> int:
        return sum(held.amount for held in self.held.values() if held.firm and held.in_account(name, day))

    def room(self, serial: int, amount: int, at_ms: int, firmly: bool = False) -> bool:
        promised = self.firm_nanos if firmly else self.held_nanos
        return all(
            (limit := self.limit(name, day)) is None
            or self.billed_nanos(name, day) + promised(name, day) + amount <= limit
            for name in accounts_of(serial)
            for day in (LIFETIME, day_of(LEVELS[serial][2], at_ms))
        )

    @rule(ms=st.one_of(st.integers(0, 5000), st.sampled_from((5000, RENDER_MS, 30_000, DAY_MS))))
    def wait(self, ms: int) -> None:
        self.now_ms += ms
        self.budgets.sweep(self.now_ms)
        self.held = {ident: held for ident, held in self.held.items() if held.until_ms >= self.now_ms}

    @rule(
        serial=st.sampled_from((1, 2, 3)),
        prices=st.lists(st.integers(0, 12), min_size=1, max_size=4),
        estimate=st.booleans(),
    )
    def decide(self, serial: int, prices: list[int], estimate: bool) -> None:
        if serial not in self.serving | self.sold:
            return  # Nobody asks for what left the catalogue before anybody saw it.
        self.sold.add(serial)
        for price in prices:
            self.decide_one(serial, price, estimate)

    def decide_one(self, serial: int, price: int, estimate: bool) -> None:
        amount = -(-price // 4) if estimate else price
        ident = next(self.ids).to_bytes(16, "big")
        room = self.budgets.room(serial, amount, self.now_ms)
        assert room == self.room(serial, amount, self.now_ms)
        ends_ms, firm = self.now_ms + RENDER_MS, not estimate
        assert self.budgets.reserve(ident, serial, amount, self.now_ms, ends_ms, firm) is room
        if room:
            self.held[ident] = Held(serial, amount, price, self.now_ms, firm)

    def held_one(self, number: int) -> bytes:
        return list(self.held)[number % len(self.held)]

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 50), to=st.integers(0, 12))
    def clear_lower(self, number: int, to: int) -> None:
        ident = self.held_one(number)
        held = self.held[ident]
        held.price = held.amount = min(to, held.amount)
        self.budgets.lower(ident, held.amount)

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 50))
    def release(self, number: int) -> None:
        ident = self.held_one(number)
        assert self.budgets.void(ident)
        assert not self.budgets.void(ident)
        del self.held[ident]

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 50))
    def render_unpaid(self, number: int) -> None:
        ident = self.held_one(number)
        self.budgets.rendered(ident)
        self.budgets.rendered(ident)
        self.held[ident].rendered = True

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 50))
    def post(self, number: int) -> None:
        """The paid event comes, as ``services.events`` books it."""
        ident = self.held_one(number)
        held = self.held[ident]
        affords = self.budgets.affords(ident, held.serial, held.price, held.at_ms)
        kept = held.firm and held.price <= held.amount
        assert affords == (kept or self.room(held.serial, held.price, held.at_ms, firmly=True))
        self.settle(ident, affords)

    def settle(self, ident: bytes, affords: bool) -> None:
        held = self.held.pop(ident)
        self.budgets.post(ident, held.serial, held.price if affords else 0, held.at_ms)
        if affords:
            self.billed.append(held)
        else:
            self.free_nanos += held.price

    @rule(serial=st.sampled_from((1, 2, 3)), price=st.integers(1, 8), ago_ms=st.integers(0, 2 * DAY_MS))
    def post_late(self, serial: int, price: int, ago_ms: int) -> None:
        """A click long after its hold has gone takes its price from what is free on its own day."""
        if serial not in self.sold:
            return
        held = Held(serial, 0, price, self.now_ms - ago_ms)
        affords = self.budgets.affords(b"gone" * 4, serial, price, held.at_ms)
        assert affords == self.room(serial, price, held.at_ms, firmly=True)
        if affords:
            self.budgets.bill(serial, price, held.at_ms)
            self.billed.append(held)

    @rule(
        account=st.sampled_from(ACCOUNTS),
        period=st.sampled_from(("lifetime", "day")),
        nanos=st.one_of(st.none(), st.integers(0, 40)),
    )
    def change_budget(self, account: str, period: str, nanos: int | None) -> None:
        if not self.named(account):
            return
        if nanos is None:
            self.limits.pop((account, period), None)
        else:
            self.limits[account, period] = nanos
        self.put_live()

    def named(self, account: str) -> bool:
        """Whether the catalogue still speaks of it: budgets of what is archived stay as they were."""
        return any(account in accounts_of(serial) for serial in self.serving)

    @rule(serial=st.sampled_from((2, 3)))
    def archive_or_bring_back(self, serial: int) -> None:
        self.serving ^= {serial}
        self.put_live()

    @rule()
    def restart(self) -> None:
        """As ``App`` does: terms and holds from the checkpoint, billed from the ledger, limits from the
        catalogue."""
        dumped, known = self.budgets.dump(), [self.budgets.totals(serial) for serial in sorted(self.sold)]
        totals = [LineItemTotals(k[0].line_item, billed_nanos=k[0].billed_nanos) for k in known if k]
        billed = [(*key, nanos) for key in self.keys() if (nanos := self.billed_nanos(*key))]
        fresh = Budgets(span_of)
        fresh.know([terms(serial, self.limits) for serial in sorted(self.sold)])
        fresh.load_holds(dumped)
        fresh.load(totals, billed)
        self.budgets = fresh
        self.budgets.follow(Catalogue(self.serving, self.limits))

    @rule()
    def forget(self) -> None:
        """No token of a day three days ago can come any more."""
        self.budgets.forget_days(self.now_ms // DAY_MS - 3)
        keep = self.now_ms // DAY_MS - 3
        self.ceilings = {key: most for key, most in self.ceilings.items() if not LIFETIME < key[1] < keep}

    @invariant()
    def the_law_holds(self) -> None:
        """Billed + firmly held <= the limit, or what it was when the limit came down, in every account."""
        kept = self.now_ms // DAY_MS - 2
        for name, day in self.keys():
            if LIFETIME < day < kept:
                continue
            account = self.budgets.account(name, None if day == LIFETIME else day)
            assert account.billed_nanos == self.billed_nanos(name, day), (name, day)
            assert account.held_nanos == self.held_nanos(name, day), (name, day)
            limit = self.limit(name, day)
            if limit is not None:
                most = max(limit, self.ceilings.get((name, day), 0))
                assert account.firm_nanos == self.firm_nanos(name, day), (name, day)
                assert account.billed_nanos + account.firm_nanos <= most, (name, day)

    @invariant()
    def counts_are_right(self) -> None:
        for serial in (1, 2, 3):
            known = self.budgets.totals(serial)
            if known is not None:
                mine = [held for held in self.held.values() if held.serial == serial]
                assert known[1] == sum(not held.rendered for held in mine)
                assert known[0].billed_nanos == sum(h.price for h in self.billed if h.serial == serial)


TestLaw3 = Law3.TestCase
TestLaw3.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
