"""Delivery numbers of a campaign, from the live books: never older than the last event."""

from collections.abc import Mapping
from typing import Any, Protocol

from adserver.clock import Clock
from adserver.domain import money
from adserver.domain.books import LineItemTotals
from adserver.domain.campaign import Campaign
from adserver.domain.decision import NoFill
from adserver.domain.records import LineItemTerms
from adserver.engine.snapshot import Entry
from adserver.services import plans
from adserver.services.fees import Fees
from adserver.services.world import World


class Books(plans.Accounts, Protocol):
    def totals(self, line_item: int) -> tuple[LineItemTotals, int] | None:
        """(what was counted, exposures outstanding)."""
        ...

    def remaining_nanos(self, line_item: int, now_ms: int) -> int | None: ...

    def formerly(self, campaign: str) -> list[tuple[LineItemTerms, LineItemTotals, int]]:
        """(terms, counts, outstanding) of every line item a campaign (full id) ever sold."""
        ...

    def campaign_nanos(self, campaign: int) -> tuple[int, int]:
        """(billed, held) of a campaign, with what line items it no longer has have spent."""
        ...


class Delivery:
    """``GET .../delivery``."""

    def __init__(
        self, world: World, books: Books, traffic: plans.Traffic, allotment: Mapping[int, int], fees: Fees,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._world = world
        self._books = books
        self._traffic = traffic
        self._allotment = allotment
        self._fees = fees
        self._clock = clock

    def of(self, campaign: str) -> dict[str, Any] | None:
        """Of a campaign by full id, archived ones too; None if nobody knows it."""
        snapshot = self._world.snapshot
        found = snapshot.campaigns.get(campaign)
        if found is None:
            return self._archived(campaign)
        entries = [snapshot.by_serial[item.serial] for item in found.line_items]
        items = [self._line_item(entry) for entry in entries]
        billed, held = self._books.campaign_nanos(found.serial)
        return {
            "campaign": campaign,
            "currency": found.currency,
            "spend_micros": money.floor_micros(billed),
            "remaining_micros": _remaining(found, billed + held),
            "free_micros": sum(item["free_micros"] for item in items),
            "serving_status": _overall([item["serving_status"] for item in items], found),
            "line_items": items,
        }

    def _archived(self, campaign: str) -> dict[str, Any] | None:
        """Counters survive archiving: what is still counted of a campaign that is no longer in service."""
        known = self._books.formerly(campaign)
        if not known:
            return None
        items = [
            {"id": terms.full_id.rpartition("/")[2], "serving_status": "ended", "remaining_micros": None,
             "pace": None, **_numbers(totals, outstanding)}
            for terms, totals, outstanding in known
        ]  # fmt: skip
        return {
            "campaign": campaign,
            "currency": known[0][0].currency,
            "spend_micros": sum(item["spend_micros"] for item in items),
            "remaining_micros": None,
            "free_micros": sum(item["free_micros"] for item in items),
            "serving_status": "ended",
            "line_items": items,
        }

    def _line_item(self, entry: Entry) -> dict[str, Any]:
        now_ms, serial = self._clock(), entry.line_item.serial
        totals, outstanding = self._books.totals(serial) or (LineItemTotals(serial), 0)
        remaining = self._books.remaining_nanos(serial, now_ms)
        return {
            "id": entry.line_item.id,
            "serving_status": self._status(entry, now_ms),
            **_numbers(totals, outstanding),
            "remaining_micros": None if remaining is None else money.floor_micros(max(remaining, 0)),
            "pace": self._pace(entry, now_ms),
        }

    def _status(self, entry: Entry, now_ms: int) -> str:
        item, flight = entry.line_item, entry.line_item.flight
        if "draft" in (entry.campaign.status, item.status) or not entry.active:
            return "paused"
        if not any(creative.status == "active" for creative in item.creatives):
            return "no_creatives"
        if flight.start_ms is not None and now_ms < flight.start_ms:
            return "scheduled"
        if flight.end_ms is not None and now_ms >= flight.end_ms:
            return "ended"
        fee = self._fees.wanted(item.serial, now_ms)
        drop = plans.drop(entry, self._books, self._traffic, self._allotment, now_ms, fee)
        if drop is None:
            return "delivering"
        if drop.rule == "goal":
            return "goal_reached"
        return "paced" if drop.reason is NoFill.PACED else "budget_spent"

    def _pace(self, entry: Entry, now_ms: int) -> float | None:
        """Delivered / expected to date; None where nothing is planned or expected yet."""
        standing = self._books.standing(entry.line_item.serial, now_ms)
        plan = plans.to_date(entry, standing, self._traffic, now_ms) if standing is not None else None
        return None if plan is None or plan[1] <= 0 else round(plan[0] / plan[1], 4)


def _remaining(campaign: Campaign, spent_nanos: int) -> int | None:
    """What the campaign's own lifetime budget still allows; None without one."""
    limit = campaign.budget.lifetime_nanos
    return None if limit is None else money.floor_micros(max(limit - spent_nanos, 0))


_ORDER = (
    "delivering", "paced", "budget_spent", "goal_reached", "no_creatives", "scheduled", "paused", "ended",
)  # fmt: skip


def _overall(statuses: list[str], campaign: Campaign) -> str:
    """The liveliest of its line items'."""
    if campaign.status != "active":
        return "paused"
    return min(statuses, key=_ORDER.index, default="no_creatives")


def _numbers(totals: LineItemTotals, outstanding: int) -> dict[str, int]:
    counted = ("impressions", "viewable", "clicks", "conversions", "filtered", "expired")
    return {
        **{name: getattr(totals, name) for name in counted},
        "reserved": outstanding,
        "invalidated": totals.invalidated,
        "spend_micros": money.floor_micros(totals.billed_nanos - totals.refunded_nanos),
        "free_micros": money.floor_micros(totals.free_nanos),
    }
