"""Laws 3 and 4 from the answers alone: what was acknowledged as counted and billed, against the budgets as
the campaign files say them, and against the ledger when all is over.

The answers tell prices in whole micros, rounded down, so these sums are never more than what was billed.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from adserver.domain import ids, money
from adserver.domain.campaign import Budget
from adserver.domain.catalogue import Catalogue
from adserver.domain.decision import EventKind

Level = tuple[str, str]
"""(line_item | campaign | advertiser, its full id)."""


class Owed(Struct, frozen=True):
    """What an ad costs and whose budgets bear it. ``micros``: of its one billable event."""

    event_id: str
    levels: tuple[Level, ...]
    day: str
    micros: int


class SpendBook:
    """``overspent`` and ``twice`` hear of offences against laws 3 and 4. ``accepted``: (event id, kind)
    acknowledged as counted; ``anonymous``: kind -> how many of ads whose event id the answer did not say."""

    def __init__(
        self, catalogue: Catalogue, overspent: Callable[[str], None], twice: Callable[[str], None]
    ) -> None:
        self.accepted: set[tuple[bytes, int]] = set()
        self.anonymous: Counter[int] = Counter()
        self.billed = 0
        self._overspent, self._twice = overspent, twice
        self._budgets = dict(budgets_of(catalogue))
        self._zones = {
            f"{campaign.advertiser}/{campaign.id}": ZoneInfo(campaign.timezone)
            for campaign in catalogue.campaigns
        }
        self._spent: defaultdict[tuple[Level, str], int] = defaultdict(int)

    def owed(self, ad: dict[str, Any]) -> Owed:
        campaign = f"{ad['advertiser']}/{ad['campaign']}"
        levels: tuple[Level, ...] = (
            ("line_item", f"{campaign}/{ad['line_item']}"),
            ("campaign", campaign),
            ("advertiser", ad["advertiser"]),
        )
        decided_ms = ids.minted_ms(ids.decode(ad["event_id"]))
        day = datetime.fromtimestamp(decided_ms / 1000, self._zones[campaign]).date().isoformat()
        return Owed(ad["event_id"], levels, day, ad["price"]["clearing_micros"])

    def count(self, owed: Owed | None, kind: EventKind, billed: bool) -> None:
        """An event was acknowledged as accepted; ``owed`` is None where the answer named no line item."""
        self.billed += billed
        if owed is None:
            self.anonymous[kind] += 1
            return
        key = ids.decode(owed.event_id), int(kind)
        if key in self.accepted:
            self._twice(f"event {owed.event_id} {kind.name.lower()}: accepted twice")
        self.accepted.add(key)
        for level in owed.levels if billed else ():
            for period in ("", owed.day):
                self._spend(level, period, owed.micros)

    def _spend(self, level: Level, period: str, micros: int) -> None:
        self._spent[level, period] += micros
        budget = self._budgets.get(level, Budget())
        limit = budget.daily_nanos if period else budget.lifetime_nanos
        if limit is not None and money.nanos(self._spent[level, period]) > limit:
            what = f"day {period}" if period else "lifetime"
            self._overspent(
                f"{level[0]} {level[1]}, {what}: {self._spent[level, period]} micros, over its budget"
            )


def budgets_of(catalogue: Catalogue) -> Iterator[tuple[Level, Budget]]:
    for advertiser in catalogue.advertisers:
        yield ("advertiser", advertiser.id), advertiser.budget
    for campaign in catalogue.campaigns:
        yield ("campaign", f"{campaign.advertiser}/{campaign.id}"), campaign.budget
        for item in campaign.line_items:
            yield ("line_item", item.full_id), item.budget
