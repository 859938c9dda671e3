"""The plain model of money: what was promised and what came of it, as a list of ads; every number is a sum.

Nothing is kept beside the ads and the limits, so nothing can disagree. Shares no code with the server.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

LIFETIME: Final = -1
GRACE_MS: Final = 30_000
HOUR_MS: Final = 3_600_000
LATER_MS: Final = {"impression": 0, "viewable": HOUR_MS, "click": 24 * HOUR_MS}
"""How long each kind of event is accepted after the ad has expired."""
PAYS: Final = {"cpm": "impression", "vcpm": "viewable", "cpc": "click", "flat": ""}

Key = tuple[str, int]
"""(account, day)."""


@dataclass(frozen=True)
class Sold:
    """A line item: ``price_nanos`` of its billable event; ``asked_nanos`` is held until the price is known,
    and ``hold_nanos`` from then on."""

    name: str
    model: str
    price_nanos: int
    asked_nanos: int
    hold_nanos: int
    currency: str
    zone: str

    @property
    def accounts(self) -> tuple[str, str, str]:
        advertiser, campaign, _ = self.name.split("/")
        return f"line_item:{self.name}", f"campaign:{advertiser}/{campaign}", f"advertiser:{advertiser}"

    def day(self, at_ms: int) -> int:
        local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(self.zone))
        return local.date().toordinal() - datetime(1970, 1, 1, tzinfo=UTC).date().toordinal()

    def day_ends_ms(self, at_ms: int) -> int:
        """No clock changes on these days."""
        local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(self.zone)) + timedelta(days=1)
        return int(local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()) * 1000


@dataclass
class Ad:
    """``came``: the verdict on each kind of event; ``taken_back``: kinds found invalid later."""

    ident: str
    sold: Sold
    decided_ms: int
    expires_ms: int
    held_nanos: int
    came: dict[str, str] = field(default_factory=dict)
    filtered: set[str] = field(default_factory=set)
    posted: set[str] = field(default_factory=set)
    taken_back: set[str] = field(default_factory=set)
    billed_nanos: int = 0
    free_nanos: int = 0
    released: bool = False

    @property
    def firm_nanos(self) -> int:
        return self.held_nanos if self.sold.model == "cpm" else 0

    @property
    def net_nanos(self) -> int:
        return 0 if PAYS[self.sold.model] in self.taken_back else self.billed_nanos

    def is_in(self, key: Key) -> bool:
        account, day = key
        return account in self.sold.accounts and day in (LIFETIME, self.sold.day(self.decided_ms))


@dataclass
class Fee:
    """A day of a flat line item. ``over_ms``: it is over, and its last ad can no longer be shown;
    ``shown``: impressions that count."""

    sold: Sold
    day: int
    over_ms: int
    held_nanos: int
    shown: set[str] = field(default_factory=set)
    accrued: bool = False
    net_nanos: int = 0

    @property
    def firm_nanos(self) -> int:
        return self.held_nanos

    def is_in(self, key: Key) -> bool:
        return key[0] in self.sold.accounts and key[1] in (LIFETIME, self.day)


class Model:
    """``limits``: (account, period) -> nanos; ``promised``: what was billed and held as the limits changed
    last, which a lowered limit lets stand; ``prepaid``: advertisers that pay ahead, ``paid`` what."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.ads: list[Ad] = []
        self.fees: dict[tuple[str, int], Fee] = {}
        self.limits: dict[tuple[str, str], int] = {}
        self.promised: dict[Key, int] = {}
        self.prepaid: set[str] = set()
        self.paid: dict[str, int] = {}

    # -- sums --------------------------------------------------------------------------------------

    def limit(self, key: Key) -> int | None:
        """Of who pays ahead, also what was paid in."""
        limit = self.limits.get((key[0], "lifetime" if key[1] == LIFETIME else "daily"))
        if key[0] not in self.prepaid or key[1] != LIFETIME:
            return limit
        paid = self.paid.get(key[0], 0)
        return paid if limit is None else min(limit, paid)

    def billed(self, key: Key) -> int:
        return sum(one.net_nanos for one in (*self.ads, *self.fees.values()) if one.is_in(key))

    def held(self, key: Key) -> int:
        return sum(one.held_nanos for one in self._holding() if one.is_in(key))

    def firm(self, key: Key) -> int:
        return sum(one.firm_nanos for one in self._holding() if one.is_in(key))

    def _holding(self) -> list[Ad | Fee]:
        return [one for one in (*self.ads, *self.fees.values()) if one.held_nanos]

    def touched(self) -> set[Key]:
        """Every account of every day on which something was decided."""
        days = {(ad.sold.accounts, ad.sold.day(ad.decided_ms)) for ad in self.ads}
        return {(name, day) for names, own in days for name in names for day in (LIFETIME, own)}

    def fits(self, sold: Sold, nanos: int, decided_ms: int, beside_firm: bool = False) -> bool:
        """Whether there is room in every account of that day, beside all that is held or what firmly is."""
        for name in sold.accounts:
            for key in ((name, LIFETIME), (name, sold.day(decided_ms))):
                limit = self.limit(key)
                held = self.firm(key) if beside_firm else self.held(key)
                if limit is not None and self.billed(key) + held + nanos > limit:
                    return False
        return True

    # -- what happens ------------------------------------------------------------------------------

    def wait(self, ms: int) -> None:
        self.now_ms += ms
        for ad in self.ads:
            if ad.expires_ms + GRACE_MS < self.now_ms:
                ad.held_nanos = 0
        self._let_go()

    def _let_go(self) -> None:
        """Of days that are over and on which nothing was shown."""
        for fee in self.fees.values():
            if not fee.shown and fee.over_ms + GRACE_MS < self.now_ms:
                fee.held_nanos = 0

    def accrue(self) -> None:
        for fee in self.fees.values():
            if fee.shown and not fee.accrued and fee.over_ms < self.now_ms:
                fee.accrued, fee.net_nanos, fee.held_nanos = True, fee.held_nanos, 0

    def change(self, account: str, period: str, nanos: int | None) -> None:
        if nanos is None:
            self.limits.pop((account, period), None)
        else:
            self.limits[account, period] = nanos
        self._changed()

    def pay_ahead(self, account: str, ahead: bool) -> None:
        (self.prepaid.add if ahead else self.prepaid.discard)(account)
        self._changed()

    def pay_in(self, account: str, nanos: int) -> None:
        self.paid[account] = self.paid.get(account, 0) + nanos

    def _changed(self) -> None:
        self.promised = {key: self.billed(key) + self.held(key) for key in self.touched()}

    def expect(self, sold: Sold, count: int) -> int:
        """How many of so many ads there is room for, all asked for at once."""
        held, asked = 0, sold.asked_nanos
        for number in range(count):
            if sold.model == "flat" and (number or (sold.name, sold.day(self.now_ms)) in self.fees):
                asked = 0
            if not self.fits(sold, held + asked, self.now_ms):
                return number
            held += asked
        return count

    def decide(self, ident: str, sold: Sold, expires_ms: int) -> Ad:
        ad = Ad(ident, sold, self.now_ms, expires_ms, sold.hold_nanos)
        self.ads.append(ad)
        if sold.model == "flat":
            day = sold.day(self.now_ms)
            fee = Fee(sold, day, sold.day_ends_ms(self.now_ms) - 1, sold.asked_nanos)
            fee = self.fees.setdefault((sold.name, day), fee)
            fee.over_ms = max(fee.over_ms, expires_ms)
        return ad

    def is_live(self, ad: Ad, kind: str) -> bool:
        """Whether the token is still accepted."""
        return self.now_ms <= ad.expires_ms + LATER_MS[kind]

    def event(self, ad: Ad, kind: str) -> str:
        """The verdict on an event of a person's browser. Who clicks on what was not shown is no person."""
        if kind == "click" and "impression" not in ad.came:
            return self.crawl(ad, kind)
        if kind in ad.came:
            return "duplicate"
        if ad.released or not self.is_live(ad, kind):
            ad.came[kind] = "expired"
            # What was shown too late has an end: nothing of it is billed any more.
            ad.released |= kind == "impression"
            return "expired"
        if PAYS[ad.sold.model] == kind:
            self._bill(ad)
        ad.came[kind] = "accepted"
        if kind == "impression" and ad.sold.model == "flat":
            self._fee_of(ad).shown.add(ad.ident)
        return "accepted"

    def _fee_of(self, ad: Ad) -> Fee:
        return self.fees[ad.sold.name, ad.sold.day(ad.decided_ms)]

    def crawl(self, ad: Ad, kind: str) -> str:
        """Kept once, while its token lives; the id is not used up."""
        if self.is_live(ad, kind):
            ad.filtered.add(kind)
        return "filtered"

    def _bill(self, ad: Ad) -> None:
        price = ad.sold.price_nanos
        if ad.firm_nanos >= price or self.fits(ad.sold, price, ad.decided_ms, beside_firm=True):
            ad.billed_nanos = price
        else:
            ad.free_nanos = price
        ad.held_nanos = 0

    def release(self, ad: Ad) -> None:
        if "impression" not in ad.came and self.now_ms <= ad.expires_ms:
            ad.released, ad.held_nanos = True, 0

    def post(self) -> None:
        for ad in self.ads:
            ad.posted = set(ad.came)

    def reverse(self, ad: Ad) -> tuple[set[str], int]:
        """(kinds taken back now, nanos): what was accepted, posted, and not taken back before."""
        taken = {kind for kind in ad.posted if ad.came[kind] == "accepted"} - ad.taken_back
        ad.taken_back |= taken
        if "impression" in taken and ad.sold.model == "flat" and not self._fee_of(ad).accrued:
            self._fee_of(ad).shown.discard(ad.ident)
            self._let_go()
        return taken, ad.billed_nanos if PAYS[ad.sold.model] in taken else 0

    # -- what the ledger must hold --------------------------------------------------------------------

    def events(self) -> set[tuple[str, str, str, int, int]]:
        """(event id, kind, verdict, billed, free), filtered ones too."""
        found = set()
        for ad in self.ads:
            for kind, status in ad.came.items():
                pays = kind == PAYS[ad.sold.model]
                billed, free = (ad.billed_nanos, ad.free_nanos) if pays else (0, 0)
                found.add((ad.ident, kind, status, billed, free))
            found |= {(ad.ident, kind, "filtered", 0, 0) for kind in ad.filtered}
        return found

    def owed(self) -> dict[tuple[str, str], int]:
        """(advertiser, currency) -> nanos."""
        owed: dict[tuple[str, str], int] = {}
        for one in (*self.ads, *self.fees.values()):
            key = one.sold.name.split("/")[0], one.sold.currency
            owed[key] = owed.get(key, 0) + one.net_nanos
        return {key: nanos for key, nanos in owed.items() if nanos}

    def marks(self) -> dict[str, dict[Sold, int]]:
        """By line item: what was given away, taken back (nanos), and found invalid as it came (events)."""
        found: dict[str, dict[Sold, int]] = {"free": {}, "invalid": {}, "filtered": {}}
        for ad in self.ads:
            for what, amount in (
                ("free", ad.free_nanos),
                ("invalid", ad.billed_nanos - ad.net_nanos),
                ("filtered", len(ad.filtered)),
            ):
                found[what][ad.sold] = found[what].get(ad.sold, 0) + amount
        return found
