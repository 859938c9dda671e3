"""Law 3 across processes: two of them sell from the same budgets, in any interleaving.

Each is a whole till (journal, hot state, leases, posting). Steps of their leases are taken apart, so that the
other acts between what is planned, settled and applied; either is killed at any point, or leaves; limits
change, heard of by one before the other. After every step, over both: billed and firmly held <= the limit,
or what was promised when it was lowered and is not over yet, in every account.
"""

import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from till import RENDER_MS, Item, Sale, Shelf, Till
from verified_samples import differences

from adserver.domain import limits
from adserver.engine import localtime

ITEMS: Final = (Item(1, 10, 20, 70), Item(2, 10, 20, 110), Item(3, 11, 20, 4000, "cpc"), Item(4, 11, 20, 100))
NAMES: Final = ("line_item:1", "line_item:2", "line_item:3", "campaign:10", "campaign:11", "advertiser:20")
BEGIN_MS: Final = 1_800_000_000_000
TILLS: Final = st.sampled_from((1, 2))
Key = tuple[str, int]


class Shared(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.data = Path(mkdtemp(prefix="leases-"))
        self.now_ms = BEGIN_MS
        self.limits: dict[tuple[str, str], int] = {}
        self.revision = 1
        self.promised: dict[Key, int] = {}
        self.out: dict[int, list[Sale]] = {1: [], 2: []}
        self.billed: dict[Key, int] = {}
        self.planned: dict[int, Any] = {}

    @initialize(given=st.dictionaries(st.sampled_from(NAMES), st.integers(3, 60), min_size=1))
    def begin(self, given: dict[str, int]) -> None:
        self.limits = {(name, "lifetime"): 100 * count for name, count in given.items()}
        shelf = Shelf(ITEMS, self.limits, self.revision)
        self.tills = {number: Till(self.data, number, shelf, self.now_ms) for number in (1, 2)}

    def teardown(self) -> None:
        try:
            for till in self.tills.values():
                till.post()
            assert differences(self.data) == []
            assert all(till.books.refused == 0 for till in self.tills.values())
        finally:
            for till in self.tills.values():
                till.close()
            shutil.rmtree(self.data)

    # -- selling -----------------------------------------------------------------------------------

    @rule(number=TILLS, serials=st.lists(st.sampled_from((1, 2, 3, 4)), min_size=1, max_size=12))
    def sell(self, number: int, serials: list[int]) -> None:
        self.out[number] += self.tills[number].sell(serials, self.now_ms)

    @rule(number=TILLS, serials=st.lists(st.sampled_from((1, 2, 3, 4)), min_size=1, max_size=6))
    def sell_and_turn(self, number: int, serials: list[int]) -> None:
        if number not in self.planned:
            self.sell(number, serials)
            self.tills[number].turn(self.now_ms)
            self.sell(number, serials)

    @rule(number=TILLS, serial=st.sampled_from((1, 2, 3, 4)), times=st.integers(1, 4))
    def sell_show_and_post(self, number: int, serial: int, times: int) -> None:
        """As long as there is any: what is posted is leased no more, and spent all the same."""
        for _ in range(times):
            self.sell_and_turn(number, [serial] * 8)
            self.show(number, 20, True)
            self.post(number)

    @rule(number=TILLS, most=st.integers(1, 20), last=st.booleans())
    def show(self, number: int, most: int, last: bool) -> None:
        till, mine = self.tills[number], self.out[number]
        chosen = mine[-most:] if last else mine[:most]
        for sale in chosen:
            before = till.budgets.account("advertiser:20").billed_nanos
            if self.now_ms <= sale.expires_ms and till.show(sale, self.now_ms):
                self.move(sale, till.budgets.account("advertiser:20").billed_nanos - before)
        self.out[number] = [sale for sale in mine if sale not in chosen]

    def move(self, sale: Sale, nanos: int) -> None:
        item = next(item for item in ITEMS if item.serial == sale.serial)
        day = localtime.day_span("UTC", sale.decided_ms)[0]
        for name in (f"line_item:{item.serial}", f"campaign:{item.campaign}", "advertiser:20"):
            for key in ((name, -1), (name, day)):
                self.billed[key] = self.billed.get(key, 0) + nanos

    @precondition(lambda self: any(self.out.values()))
    @rule(number=TILLS, most=st.integers(1, 5))
    def release(self, number: int, most: int) -> None:
        for sale in self.out[number][:most]:
            self.tills[number].release(sale, self.now_ms)
        del self.out[number][:most]

    # -- leases ------------------------------------------------------------------------------------

    @rule(number=TILLS, step=st.sampled_from(("plan", "settle", "apply")))
    def take_a_step(self, number: int, step: str) -> None:
        till, planned = self.tills[number], self.planned.get(number)
        if planned is None:
            plan = till.leasing.plan(till.budgets, self.now_ms)
            self.planned[number] = (*plan, till.leasing.heard, None)
        elif planned[3] is None:
            returned, asks, heard, _ = planned
            self.planned[number] = returned, asks, heard, till.leases.settle(returned, asks, heard)
        elif step != "plan":
            till.leasing.apply(planned[0], planned[3])
            del self.planned[number]

    @rule(number=TILLS)
    def post(self, number: int) -> None:
        self.tills[number].post()

    @rule(number=TILLS, clean=st.booleans())
    def end_and_begin(self, number: int, clean: bool) -> None:
        till = self.tills[number]
        till.journal.sync()
        if clean:
            till.leave(self.now_ms)
        else:
            till.close()
        self.planned.pop(number, None)
        shelf = Shelf(ITEMS, self.limits, self.revision)
        self.tills[number] = Till(self.data, number, shelf, self.now_ms)

    # -- time and limits ---------------------------------------------------------------------------

    @rule(ms=st.sampled_from((1, 1000, RENDER_MS, RENDER_MS + limits.GRACE_MS + 1, 8 * 3600_000)))
    def wait(self, ms: int) -> None:
        self.now_ms += ms
        for till in self.tills.values():
            till.states.hot.sweep(self.now_ms)

    @rule(
        name=st.sampled_from(NAMES), period=st.sampled_from(("lifetime", "day")),
        count=st.one_of(st.none(), st.integers(0, 60)), first=TILLS,
    )  # fmt: skip
    def change(self, name: str, period: str, count: int | None, first: int) -> None:
        """The one hears of it at once, the other after it has sold some more."""
        self.revision += 1
        self.limits.pop((name, period), None)
        if count is not None:
            self.limits[name, period] = 100 * count
        shelf = Shelf(ITEMS, self.limits, self.revision)
        self.tills[first].follow(shelf, self.now_ms)
        self.sell(3 - first, [1, 2, 3, 4])
        self.tills[3 - first].follow(shelf, self.now_ms)
        self.promised |= {key: self.all_of(key) for key in {*self.touched(), *self.billed}}

    def touched(self) -> set[Key]:
        days = {localtime.day_span("UTC", at)[0] for at in (self.now_ms, *self.decided())}
        return {(name, day) for name in NAMES for day in (-1, *days)}

    def decided(self) -> list[int]:
        return [sale.decided_ms for sales in self.out.values() for sale in sales]

    # -- the law -----------------------------------------------------------------------------------

    def all_of(self, key: Key, firm: bool = False) -> int:
        """Billed and held, of both."""
        accounts = [
            till.budgets.account(key[0], None if key[1] < 0 else key[1]) for till in self.tills.values()
        ]
        held = sum(account.firm_nanos if firm else account.held_nanos for account in accounts)
        return self.billed.get(key, 0) + held

    @invariant()
    def within_every_limit(self) -> None:
        for key in {*self.touched(), *self.billed}:
            limit = self.limits.get((key[0], "lifetime" if key[1] < 0 else "day"))
            if limit is not None:
                promised = self.promised.get(key, 0)
                assert self.all_of(key, firm=True) <= max(limit, promised), key
                self.promised[key] = min(promised, self.all_of(key))


TestShared = pytest.mark.slow(Shared.TestCase)
TestShared.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
