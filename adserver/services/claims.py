"""What the ads of one request are claimed from: goals, budgets and pacing.

It knows nothing of the placements, which ask it: so a decision is let go at once when nobody needs it any
more, without the collector, which finds what goes in a circle.
"""

from collections.abc import Mapping

from adserver.domain.campaign import FLAT
from adserver.domain.decision import UNRECORDED, NoFill, event_id
from adserver.domain.request import Request
from adserver.engine.live import Live
from adserver.engine.rules import Drop
from adserver.engine.snapshot import Entry
from adserver.services import plans
from adserver.services.allotment import weight_of
from adserver.services.fees import Fees
from adserver.services.kept import Holds, Traffic


class Claims:
    """Of one request. ``paid``: the journal has room; ``live``: where the next requests are spared the look
    at what is used up (None: nowhere); ``flat``: what its ads hold of flat fees, by line item."""

    __slots__ = (
        "_allotment",
        "_fees",
        "_holds",
        "_paid",
        "_recorded",
        "_request",
        "_test",
        "_told",
        "_traffic",
        "ads",
        "flat",
        "live",
    )

    def __init__(
        self, request: Request, holds: Holds, traffic: Traffic, allotment: Mapping[int, int],
        fees: Fees, paid: bool, live: Live | None,
    ) -> None:  # fmt: skip
        self.live = live
        self._request = request
        self._holds = holds
        self._traffic = traffic
        self._allotment = allotment
        self._fees = fees
        self.flat: dict[int, int] = {}
        self._paid = paid
        self._test = request.mode == "test"
        self._recorded = paid and not request.invalid_traffic
        self.ads = 0 if self._recorded else UNRECORDED
        self._told = self._test or not self._recorded

    def need(self, entry: Entry, now_ms: int) -> float:
        """How urgently it wants delivery: by the allocation plan, or by itself where that has nothing."""
        weight = weight_of(self._allotment, entry.line_item.serial)
        return plans.need(entry, self._holds, now_ms) if weight is None else weight

    def drop(self, entry: Entry) -> Drop | None:
        """What of goals, budgets and pacing holds it back, if anything."""
        if not self._recorded and (entry.capped or entry.score or entry.line_item.priority != "house"):
            reason = NoFill.INVALID_TRAFFIC if self._paid else NoFill.DISK_FULL
            return Drop(reason, "recorded", True, False)
        fee, now_ms = self._fee(entry), self._request.now_ms
        if entry.line_item.pricing.model == FLAT and not self._fees.keeps(entry.line_item.serial):
            drop: Drop | None = Drop(NoFill.BUDGET_EXHAUSTED, "budget", fee, "another worker's")
        else:
            drop = plans.drop(entry, self._holds, self._traffic, self._allotment, now_ms, fee)
        if drop is not None:
            self._spare(entry, drop.reason)
        return drop

    def claim(self, entry: Entry, expires_ms: int) -> tuple[int, bytes, int] | Drop:
        """Hold its price: the ad's number within the request, its event id, and what it holds; or what held
        it back. Mostly nothing but a budget could, and budgets say so themselves: only then it is looked for
        what it was."""
        request, item = self._request, entry.line_item
        now_ms = request.now_ms
        model = item.pricing.model
        if (
            self._told
            or model == FLAT
            or not plans.is_free(entry, self._holds, self._traffic, self._allotment, now_ms)
        ):
            drop = self.drop(entry)
            if drop is not None:
                return drop
        index = self.ads + 1
        ident = event_id(request.request_id, index)
        hold = entry.hold_nanos
        if not self._test:
            if model == FLAT:
                hold = self._fee(entry)
            if not self._holds.reserve(ident, item.serial, hold, now_ms, expires_ms, model == "cpm"):
                return self.drop(entry) or Drop(NoFill.BUDGET_EXHAUSTED, "budget", hold, "no room")
            if model == FLAT:
                self.flat[item.serial] = hold
        self.ads = index
        return index, ident, hold

    def _fee(self, entry: Entry) -> int:
        """What an ad of a flat line item holds: the day's fee, unless one holds it."""
        serial = entry.line_item.serial
        if entry.line_item.pricing.model != FLAT or serial in self.flat:
            return 0
        return self._fees.wanted(serial, self._request.now_ms)

    def _spare(self, entry: Entry, reason: NoFill) -> None:
        """Its goal, budget or plan is used up: the next requests are spared the look."""
        if self.live is not None:
            now_ms = self._request.now_ms
            paced = reason is NoFill.PACED
            until_ms = plans.in_time_ms(entry, self._holds, self._traffic, now_ms) if paced else None
            self.live.clear(entry.position, reason, until_ms)
