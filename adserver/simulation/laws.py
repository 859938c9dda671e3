"""Laws 2 and 3 from the answers alone, at the instants of the simulation's clock: what each person was shown
against every cap, in sliding windows, and what was said to be billed against every budget.

Nothing of the server is asked: these books know the campaign files, the answers, and what was told to the
server when. (``demo.feedbook`` is the one for law 1; caps on viewable impressions and clicks are left to the
journal's audit.) Answers tell prices in whole micros, rounded down, so sums are never more than was billed.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from adserver.demo.capbook import binding, caps_of
from adserver.demo.spendbook import budgets_of
from adserver.domain import money
from adserver.domain.campaign import Budget, FrequencyCap
from adserver.domain.catalogue import Catalogue
from adserver.engine import localtime

Named = tuple[str, ...]
"""A scope and what it names: ``("campaign", "acme/spring")``; of creatives the line item and the creative."""
Tell = Callable[[str], None]


class Exposure(Struct):
    """``shown_ms``: when its impression was told, -1 before."""

    expires_ms: int
    shown_ms: int = -1
    given_back: bool = False

    def counts(self, now_ms: int, per_ms: int) -> bool:
        """Outstanding until shown or over; then confirmed for as long as the window is."""
        if self.shown_ms >= 0:
            return self.shown_ms > now_ms - per_ms
        return self.expires_ms > now_ms and not self.given_back


class CapBook:
    """``peaks``: (cap, its scope and name) -> how many people stood at most at so many at once."""

    def __init__(self, catalogue: Catalogue, tell: Tell) -> None:
        self.exposures = 0
        self._tell = tell
        self._caps = caps_of(catalogue)
        self._seen: defaultdict[tuple[Named, str, bool], list[Exposure]] = defaultdict(list)
        self._peaks: defaultdict[tuple[Named, FrequencyCap], dict[str, int]] = defaultdict(dict)

    def take(self, ad: dict[str, Any], person: str, session: str, now_ms: int, expires_ms: int) -> Exposure:
        """One ad of an answer of this instant. ``person``: whoever is counted, with consent or without."""
        exposure = Exposure(expires_ms)
        self.exposures += 1
        for named, caps in binding(self._caps, ad):
            for who, by_session in ((person, False), (session, True)):
                alike = [cap for cap in caps if cap.session is by_session]
                if alike:
                    # Somebody without consent is known by the session, which counts for both apart.
                    seen = self._seen[named, who, by_session]
                    self._judge(named, alike, seen, who, now_ms)
                    seen.append(exposure)
        return exposure

    def peaks(self) -> dict[tuple[Named, FrequencyCap], Counter[int]]:
        return {key: Counter(people.values()) for key, people in self._peaks.items()}

    def _judge(
        self, named: Named, caps: list[FrequencyCap], seen: list[Exposure], who: str, now_ms: int
    ) -> None:
        """Against what stands already; what can never count again is forgotten."""
        longest_ms = max(cap.per_ms for cap in caps)
        seen[:] = [one for one in seen if max(one.expires_ms, one.shown_ms) > now_ms - longest_ms]
        for cap in caps:
            standing = 1 + sum(one.counts(now_ms, cap.per_ms) for one in seen)
            peaks = self._peaks[named[:2], cap]
            peaks[who] = max(peaks.get(who, 0), standing)
            if standing > cap.limit:
                self._tell(f"{' '.join(named)}: {standing} for {who}, cap {cap.limit} per {cap.per_ms} ms")


class Owed(Struct, frozen=True):
    """What an ad costs and whose budgets bear it. ``nanos``: at least, of its one billable event."""

    levels: tuple[Named, ...]
    day: int
    nanos: int


class SpendBook:
    """``billed``: (level, full id, day) -> nanos; the lifetime's day is -1."""

    def __init__(self, catalogue: Catalogue, tell: Tell) -> None:
        self.events = 0
        self.billed: Counter[tuple[Named, int]] = Counter()
        self._tell = tell
        self._budgets: dict[Named, Budget] = dict(budgets_of(catalogue))
        self._zones = {f"{one.advertiser}/{one.id}": one.timezone for one in catalogue.campaigns}

    @property
    def of_advertisers(self) -> dict[str, Budget]:
        return {level[1]: budget for level, budget in self._budgets.items() if level[0] == "advertiser"}

    def owed(self, ad: dict[str, Any], now_ms: int) -> Owed:
        campaign = f"{ad['advertiser']}/{ad['campaign']}"
        levels: tuple[Named, ...] = (
            ("line_item", f"{campaign}/{ad['line_item']}"),
            ("campaign", campaign),
            ("advertiser", ad["advertiser"]),
        )
        day = localtime.day(self._zones[campaign], now_ms)
        return Owed(levels, day, money.nanos(ad["price"]["clearing_micros"]))

    def bill(self, owed: Owed) -> None:
        self.events += 1
        for level in owed.levels:
            budget = self._budgets.get(level, Budget())
            self._add(level, -1, owed.nanos, budget.lifetime_nanos)
            self._add(level, owed.day, owed.nanos, budget.daily_nanos)

    def _add(self, level: Named, day: int, nanos: int, limit: int | None) -> None:
        self.billed[level, day] += nanos
        if limit is not None and self.billed[level, day] > limit:
            self._tell(f"{' '.join(level)}, day {day}: {self.billed[level, day]} nanos of {limit}")
