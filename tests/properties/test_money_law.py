"""Laws 3 and 4 over everything that money passes through: budgets, journal, posting, ledger, recovery.

A whole server in this process (``world``) is asked for ads, told of events, has events taken back, money paid
in, its budgets changed, and is ended and opened again, in any order; beside it stands a list of ads
(``money_model``). After every step its accounts are what the list adds up to, and no account is over what it
may be; now and then all is posted, and the books are compared row by row, searched for floats, and audited
from the journal.

``make check`` does some thousand operations, the profile ``long`` a hundred thousand.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from money_model import LIFETIME, Ad, Key, Model, Sold
from world import BROWSER, World, campaign, publisher

from adserver import recovery
from adserver.domain import ids
from adserver.domain.accounts import sums
from adserver.domain.books import Position
from adserver.domain.credits import KINDS as KINDS_BOOKED
from adserver.domain.decision import EventKind
from adserver.domain.records import Status
from adserver.duties import Duties
from adserver.ledger.audit_ledger import reading
from adserver.ledger.reader import Reader
from adserver.ledger.trial_balance import date_of, read_accounts
from adserver.ledger.verify import verify
from adserver.services.ask import Asker
from adserver.services.calls import Call

UNIT: Final = 10**9
EUR, USD, TOKYO = "EUR", "USD", "Asia/Tokyo"
SOLD: Final = {
    "eur-cpm": Sold("acme/one/eur-cpm", "cpm", 4_205_700_001, 4_205_700_001, 4_205_700_001, EUR, "UTC"),
    "eur-second": Sold("acme/two/eur-second", "cpm", UNIT, 3 * UNIT, UNIT, EUR, TOKYO),
    "eur-click": Sold("acme/one/eur-click", "cpc", 4 * UNIT, UNIT // 5, UNIT // 5, EUR, "UTC"),
    "eur-view": Sold("acme/two/eur-view", "vcpm", 3 * UNIT, 2_400_000_000, 2_400_000_000, EUR, TOKYO),
    "eur-flat": Sold("acme/two/eur-flat", "flat", 0, 5 * UNIT + 7000, 0, EUR, TOKYO),
    "usd-cpm": Sold("zest/far/usd-cpm", "cpm", 2 * UNIT, 2 * UNIT, 2 * UNIT, USD, "America/New_York"),
}
"""Line items by the placement that each of them is alone on."""
AMOUNTS: Final = {"eur-cpm": "4205.700001", "eur-second": "3000", "eur-click": "4", "eur-view": "3000",
                  "eur-flat": "5.000007", "usd-cpm": "2000"}  # fmt: skip
OWNERS: Final = {"acme": EUR, "zest": USD}
OPERATOR: Final = Asker(role="operator")
ACCOUNTS: Final = sorted({name for sold in SOLD.values() for name in sold.accounts})
KINDS: Final = ("impression", "viewable", "click")
DAY_MS: Final = 86_400_000


def documents(limits: dict[tuple[str, str], int], prepaid: Collection[str] = ()) -> dict[str, Any]:
    """Everything that is sold, under these limits; ``prepaid``: who pays ahead."""

    def budget(account: str) -> dict[str, Any]:
        found = {period: limits.get((account, period)) for period in ("lifetime", "daily")}
        texts = {period: f"{nanos // UNIT}.00" for period, nanos in found.items() if nanos is not None}
        return {"budget": texts} if texts else {}

    def item(name: str) -> dict[str, Any]:
        sold = SOLD[name]
        flat = {"priority": "sponsorship"} if sold.model == "flat" else {}
        per = {"per": "day"} if flat else {}
        return {
            "id": name,
            **flat,
            "pricing": {"model": sold.model, "amount": AMOUNTS[name], **per},
            "pacing": "asap",
            "targeting": {"placements": {"any": [f"{sold.currency.lower()}/{name}"]}},
            **budget(f"line_item:{sold.name}"),
        }

    def whole(full_id: str, *names: str) -> dict[str, Any]:
        sold = SOLD[names[0]]
        return campaign(
            full_id, *(item(name) for name in names), currency=sold.currency, timezone=sold.zone,
            repeat_in_request=True, **budget(f"campaign:{full_id}"),
        )  # fmt: skip

    return {
        "advertisers": [
            {
                "advertiser": owner,
                "currency": currency,
                "billing": "prepaid" if f"advertiser:{owner}" in prepaid else "invoiced",
                **budget(f"advertiser:{owner}"),
            }
            for owner, currency in OWNERS.items()
        ],
        "campaigns": [
            whole("acme/one", "eur-cpm", "eur-click"),
            whole("acme/two", "eur-second", "eur-view", "eur-flat"),
            whole("zest/far", "usd-cpm"),
        ],
    }


def publishers() -> list[dict[str, Any]]:
    places = {
        currency: [{"id": name} for name, sold in SOLD.items() if sold.currency == currency]
        for currency in (EUR, USD)
    }
    places[EUR][1] |= {"auction": "second_price", "floor": "1000.00"}
    return [
        publisher(currency.lower(), currency=currency, placements=placed)
        for currency, placed in places.items()
    ]


class Money(RuleBasedStateMachine):
    operations = 0
    """Of all runs in this process: questions, events, reversals, changes, bookings, ends."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp(prefix="money-"))
        self.loop = asyncio.new_event_loop()
        self.world = World(self.folder, publishers=publishers(), **documents({}))
        self.model = Model(self.world.clock.ms)
        self.names: dict[str, str] = {}
        self.urls: dict[str, dict[str, str]] = {}
        self.older: Path | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def teardown(self) -> None:
        try:
            self.compare_everything()
        finally:
            self.world.app.close()
            self.loop.close()
            shutil.rmtree(self.folder)

    # -- asking and telling --------------------------------------------------------------------------

    @initialize(budgets=st.dictionaries(st.sampled_from(ACCOUNTS), st.integers(0, 20), max_size=4))
    def begin(self, budgets: dict[str, int]) -> None:
        for account, units in budgets.items():
            self.model.change(account, "lifetime", units * UNIT)
        self.put_live()

    @rule(asked=st.lists(st.tuples(st.sampled_from(sorted(SOLD)), st.integers(1, 4)), min_size=1, max_size=6))
    def decide(self, asked: list[tuple[str, int]]) -> None:
        """As many are promised as there is room for, and no more."""
        for name, count in asked:
            self.ask(name, count)

    def ask(self, name: str, count: int) -> None:
        Money.operations += 1
        self.settle_clock()
        sold = SOLD[name]
        expected = self.model.expect(sold, count)
        request = {"publisher": sold.currency.lower(), "placements": [{"id": name, "count": count}]}
        ads = self.world.decide(request)["decisions"][0]["ads"]
        assert len(ads) == expected
        for told in ads:
            expires_ms = self.world.clock.ms + 15 * 60_000
            self.model.decide(told["event_id"], sold, expires_ms)
            self.urls[told["event_id"]] = {kind: told[f"{kind}_url"] for kind in (*KINDS, "release")}

    @rule(units=st.integers(4, 30), level=st.sampled_from(("campaign:acme/one", "advertiser:acme")))
    def click_beside_promises(self, units: int, level: str) -> None:
        """What is firmly promised to impressions is not a click's to take."""
        self.ask("eur-click", 1)
        clicked = self.model.ads[-1] if self.model.ads else None
        self.edit(level, "lifetime", self.model.billed((level, LIFETIME)) // UNIT + units)
        self.ask("eur-cpm", 4)
        if clicked is not None:
            self.tell(clicked, "impression")
            self.tell(clicked, "click")

    def an_ad(self, number: int) -> Ad:
        """The latest more often."""
        return self.model.ads[-1 - number % len(self.model.ads)]

    @precondition(lambda self: self.model.ads)
    @rule(
        numbers=st.sets(st.integers(0, 12), min_size=1), kinds=st.permutations(KINDS), some=st.integers(1, 3)
    )
    def happen(self, numbers: set[int], kinds: list[str], some: int) -> None:
        """Events of some ads, in any order."""
        for number in sorted(numbers):
            for kind in kinds[:some]:
                self.tell(self.an_ad(number), kind)

    def tell(self, ad: Ad, kind: str) -> None:
        verdict = self.call(ad, kind, Call(user_agent=BROWSER))
        before = ad.billed_nanos
        assert verdict.status.name.lower() == self.model.event(ad, kind)
        assert verdict.billed == (ad.billed_nanos > before)

    @precondition(lambda self: self.model.ads)
    @rule(
        number=st.integers(0, 100),
        how=st.sampled_from(("release", "crawl", "again", "again")),
        kind=st.sampled_from(KINDS),
    )
    def happen_otherwise(self, number: int, how: str, kind: str) -> None:
        ad = self.an_ad(number)
        if how == "release":
            self.call(ad, "release", Call(user_agent=BROWSER))
            self.model.release(ad)
        elif how == "crawl":
            verdict = self.call(ad, kind, Call(user_agent=""))
            assert verdict.status.name.lower() == self.model.crawl(ad, kind)
        else:
            self.tell(ad, kind)
            self.tell(ad, kind)

    def call(self, ad: Ad, kind: str, call: Call) -> Any:
        Money.operations += 1
        token = self.urls[ad.ident][kind].rpartition("/")[2]
        event = self.world.app.recorder.record(token, EventKind[kind.upper()], call)
        return self.loop.run_until_complete(event)

    @precondition(lambda self: self.model.ads)
    @rule(numbers=st.lists(st.integers(0, 30), min_size=1, max_size=4))
    def reverse(self, numbers: list[int]) -> None:
        """Found invalid: once, and of what is posted."""
        Money.operations += len(numbers)
        ads = list({ad.ident: ad for ad in map(self.an_ad, numbers)}.values())
        found = self.loop.run_until_complete(
            self.world.app.invalidation.reverse([ad.ident for ad in ads], "a farm")
        )
        for ad, told in zip(ads, found, strict=True):
            assert (set(told.kinds), told.refunded_nanos) == self.model.reverse(ad)

    # -- time, limits, and ends ----------------------------------------------------------------------

    @rule(ms=st.sampled_from((1, 1000, 60_000, 15 * 60_000, 15 * 60_000 + 30_001, 3_600_000, 9 * 3_600_000)))
    def wait(self, ms: int) -> None:
        Money.operations += 1
        self.world.clock.ms += ms
        self.model.wait(ms)

    def settle_clock(self) -> None:
        """What a duty does four times a second."""
        app = self.world.app
        app.states.hot.sweep(app.clock())
        app.world.serving.live.look_again()

    @rule(
        account=st.sampled_from(ACCOUNTS),
        period=st.sampled_from(("lifetime", "daily")),
        units=st.one_of(st.none(), st.integers(0, 20)),
    )
    def limit(self, account: str, period: str, units: int | None) -> None:
        self.edit(account, period, units)

    def edit(self, account: str, period: str, units: int | None) -> None:
        self.settle_clock()
        self.model.change(account, period, None if units is None else units * UNIT)
        self.put_live()

    def put_live(self) -> None:
        Money.operations += 1
        self.world.put(**documents(self.model.limits, self.model.prepaid))

    @rule(units=st.integers(1, 9), kind=st.sampled_from(KINDS_BOOKED))
    def pay_in_between(self, units: int, kind: str) -> None:
        """Of who pays ahead so much more is served than before, at once."""
        self.pay_ahead("zest", True)
        self.ask("usd-cpm", 4)
        self.pay_in("zest", kind, units, False)
        self.ask("usd-cpm", 4)

    @rule(owner=st.sampled_from(sorted(OWNERS)), ahead=st.booleans())
    def pay_ahead(self, owner: str, ahead: bool) -> None:
        self.settle_clock()
        self.model.pay_ahead(f"advertiser:{owner}", ahead)
        self.put_live()

    @rule(
        owner=st.sampled_from(sorted(OWNERS)),
        kind=st.sampled_from(KINDS_BOOKED),
        units=st.integers(1, 12),
        again=st.booleans(),
    )
    def pay_in(self, owner: str, kind: str, units: int, again: bool) -> None:
        """Booked once, however often it is asked; to be spent at once."""
        self.settle_clock()
        name = f"{kind}-{Money.operations}"
        for _ in range(1 + again):
            Money.operations += 1
            booking = self.world.app.crediting.book(
                OPERATOR, owner, name, kind, OWNERS[owner], units * 10**6, "a reason"
            )
            self.loop.run_until_complete(booking)
        self.model.pay_in(f"advertiser:{owner}", units * UNIT)

    @rule(
        how=st.sampled_from(
            ("post", "post", "accrue", "compare", "set a ledger aside", "checkpoint", "kill",
             "from the beginning", "an older ledger")
        )
    )  # fmt: skip
    def end_or_go_on(self, how: str) -> None:
        if how == "post":
            self.post()
        elif how == "accrue":
            Duties(self.world.app).accruing.accrue()
            self.model.accrue()
        elif how == "compare":
            self.compare_everything()
        elif how == "set a ledger aside":
            self.set_a_ledger_aside()
        else:
            self.restart(how)

    def post(self) -> None:
        Money.operations += 1
        self.world.app.journal.sync()
        self.world.app.post()
        self.model.post()

    def set_a_ledger_aside(self) -> None:
        """As it is now, for a restart after a power cut that took its last transactions."""
        self.older = self.folder / "older.sqlite"
        self.older.unlink(missing_ok=True)
        there, copy = sqlite3.connect(self.data / "ledger.sqlite"), sqlite3.connect(self.older)
        with closing(there), closing(copy):
            there.backup(copy)

    def restart(self, how: str) -> None:
        """The journal is read again; what was not posted is."""
        Money.operations += 1
        app = self.world.app
        app.states.hot.sweep(app.clock())
        if how == "checkpoint":
            recovery.save(self.data, app.states.hot, app.journal.position)
        app.close()
        if how == "from the beginning":
            (self.data / recovery.FILE).unlink(missing_ok=True)
        if how == "an older ledger" and self.older is not None:
            for name in ("-wal", "-shm"):
                (self.data / f"ledger.sqlite{name}").unlink(missing_ok=True)
            self.older.replace(self.data / "ledger.sqlite")
            self.older = None
        self.world.app = self.world._open()
        self.model.post()

    # -- what must be true ---------------------------------------------------------------------------

    @invariant()
    def every_account_is_its_sum(self) -> None:
        app = self.world.app
        app.states.hot.sweep(app.clock())
        for key in self.model.touched():
            if LIFETIME < key[1] < self.model.now_ms // DAY_MS - 2:
                continue
            account = app.states.budgets.account(self.named(key[0]), None if key[1] < 0 else key[1])
            found = account.billed_nanos, account.held_nanos, account.firm_nanos
            assert found == (self.model.billed(key), self.model.held(key), self.model.firm(key)), key
            self.no_more_than_allowed(key)

    def no_more_than_allowed(self, key: Key) -> None:
        """Law 3: also what is firmly promised fits; a lowered limit lets stand what was promised before."""
        limit = self.model.limit(key)
        if limit is not None:
            allowed = max(limit, self.model.promised.get(key, 0))
            assert self.model.billed(key) + self.model.firm(key) <= allowed, key

    def named(self, account: str) -> str:
        """``campaign:acme/one`` -> the serial's name."""
        if account not in self.names:
            for serial in range(1, len(SOLD) + 1):
                terms = self.world.app.states.budgets.terms(serial)
                if terms is not None:
                    sold = SOLD[terms.full_id.rpartition("/")[2]]
                    own = (
                        f"line_item:{serial}",
                        f"campaign:{terms.campaign}",
                        f"advertiser:{terms.advertiser}",
                    )
                    self.names |= dict(zip(sold.accounts, own, strict=True))
        return self.names[account]

    def compare_everything(self) -> None:
        self.post()
        with closing(sqlite3.connect(self.data / "ledger.sqlite")) as books:
            self.each_event_once(books)
            self.accounts_balance(books)
            budgets = dict(_pairs(books, "SELECT account || ' ' || day, billed_nanos FROM budgets"))
            for key in self.model.touched():
                assert budgets.get(f"{self.named(key[0])} {key[1]}", 0) == self.model.billed(key)
            self.no_floats(books)
        self.every_named_account()
        assert verify(self.data, lambda line: None) == []

    def each_event_once(self, books: sqlite3.Connection) -> None:
        columns = "event_id, kind, status, billed_nanos, free_nanos"
        rows = [
            row
            for table in ("events", "filtered")
            for row in books.execute(f"SELECT {columns} FROM {table} WHERE kind > 0")
        ]
        found = [
            (ids.encode(row[0]), EventKind(row[1]).name.lower(), Status(row[2]).name.lower(), *row[3:])
            for row in rows
        ]
        assert len(found) == len(set(found))
        assert set(found) == self.model.events()
        fees = books.execute("SELECT line_item, day, billed_nanos, free_nanos FROM events WHERE kind = 0")
        accounts = [(f"line_item:{item}", *rest) for item, *rest in fees]
        assert sorted(accounts) == sorted(
            (self.named(fee.sold.accounts[0]), fee.day, fee.net_nanos, 0)
            for fee in self.model.fees.values()
            if fee.accrued
        )

    def accounts_balance(self, books: sqlite3.Connection) -> None:
        """Nothing comes from nowhere, in any currency; each advertiser owes what the list says."""
        balances = dict(_pairs(books, "SELECT account, balance_nanos FROM balances"))
        for currency in (EUR, USD):
            assert sum(nanos for name, nanos in balances.items() if name.endswith(currency)) == 0
        owed = {name: nanos for name, nanos in balances.items() if name.startswith("advertiser") and nanos}
        assert owed == {
            f"{self.named(f'advertiser:{owner}')}:{currency}": nanos
            for (owner, currency), nanos in self.model.owed().items()
        }

    def every_named_account(self) -> None:
        """Each book adds up to nothing, and each account to what the list says."""
        with reading(self.data / "ledger.sqlite") as connection:
            accounts = read_accounts(connection, since_day=0)
        assert all(debits == credits for debits, credits in sums(accounts).values())
        assert {account.unit for account in accounts} <= {EUR, USD, "events"}
        found = {account.name: account.balance for account in accounts}
        for key in self.model.touched():
            day = "" if key[1] == LIFETIME else f":{date_of(key[1])}"
            currency = EUR if "acme" in key[0] else USD
            name = f"{self.named(key[0])}{day}:{currency}"
            if f"granted:{name}" in found:
                assert found.get(f"used:{name}", 0) == self.model.billed(key), name
                left = -found[f"granted:{name}"] - self.model.billed(key)
                assert found.get(f"budget:{name}", 0) == left, name
        items = {name: amount for name, amount in found.items() if ":line_item:" in name and amount}
        for what, amounts in self.model.marks().items():
            expected = {self.named(sold.accounts[0]): amount for sold, amount in amounts.items() if amount}
            told = {name: amount for name, amount in items.items() if name.startswith(what)}
            assert {
                name.removeprefix(f"{what}:").rpartition(":")[0]: n for name, n in told.items()
            } == expected

    def no_floats(self, books: sqlite3.Connection) -> None:
        tables = [row[0] for row in books.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = books.execute(f"SELECT * FROM {table}").fetchall()
            assert not any(isinstance(value, float) for row in rows for value in row), table
        with closing(Reader(self.data / "journal")) as reader:
            for _, record, _ in reader.read(Position()):
                assert not floats(msgspec.to_builtins(record)), record
        holds = msgspec.msgpack.decode(self.world.app.states.budgets.dump(), strict=False)
        assert not floats({str(key): value for key, value in holds.items()})


def _pairs(books: sqlite3.Connection, question: str) -> list[tuple[str, int]]:
    return books.execute(question).fetchall()


def floats(thing: Any) -> bool:
    """Whether there is one anywhere in it."""
    if isinstance(thing, dict):
        return any(floats(value) for value in thing.values())
    if isinstance(thing, list | tuple):
        return any(floats(value) for value in thing)
    return isinstance(thing, float)


_LONG: Final = settings.default is not None and settings.default.max_examples >= 10_000

TestMoney = pytest.mark.slow(Money.TestCase)
TestMoney.settings = settings(
    max_examples=450 if _LONG else 20,
    stateful_step_count=100 if _LONG else 50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.reuse, Phase.generate, Phase.shrink),
)
