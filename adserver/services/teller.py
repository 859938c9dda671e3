"""How it ended for a line item, as it is told: with both sides of every comparison, to whom it may be told.

An advertiser's key does not learn of others what the answer does not show: who beat it is named if it is
its own, what others bid only where prices may be read, of labels only those it has itself.
"""

from typing import Any

import msgspec

from adserver.domain.decision import NoFill
from adserver.engine import checks
from adserver.engine.pacing import UNIT
from adserver.engine.rules import Context, Drop
from adserver.engine.snapshot import Entry
from adserver.services.ask import Asker
from adserver.services.ending import Outbid
from adserver.services.remedy import Remedy
from adserver.services.slate import Winner

Lost = Drop | Outbid


class Teller:
    """Tells one asker. ``own``: whose line items alone exist for it; None: everybody's."""

    def __init__(self, asker: Asker) -> None:
        self.own = asker.owner if asker.role == "advertiser" else None
        self._prices = asker.read_prices or self.own is None

    def sees(self, entry: Entry) -> bool:
        """Whether this line item exists for the asker."""
        return self.own is None or entry.campaign.advertiser == self.own

    def line_item(self, entry: Entry, ended: Winner | Lost, context: Context) -> dict[str, Any]:
        """Everything but the counterfactual."""
        out: dict[str, Any] = {
            "line_item": entry.line_item.full_id,
            "rank": entry.position + 1,
            "score_micros": context.score(entry),
        }
        counted = context.worth.counted(UNIT, entry.position)
        if counted < UNIT:
            out["counted_permille"] = counted
        point = checks.matched_point(entry.checks, context.said)
        if point is not None:
            out["matched_point"] = point
        if isinstance(ended, Winner):
            return {**out, "outcome": "won", "creative": ended.creative.id}
        return {**out, **self.lost(ended)}

    def lost(self, ended: Lost) -> dict[str, Any]:
        if isinstance(ended, Drop):
            return {"outcome": "dropped", **self._drop(ended)}
        told: dict[str, Any] = {"outcome": "outbid", "beaten_by": None}
        if self.sees(ended.by):
            told["beaten_by"] = ended.by.line_item.full_id
        if self.sees(ended.by) or self._prices:
            told["beaten_by_score_micros"] = ended.score
        return told

    def remedy(self, remedy: Remedy) -> dict[str, Any]:
        """That a higher bid wins is told to everybody; which one only to who may know the other's."""
        told, beaten = dict(remedy.told), remedy.beaten
        if beaten is not None and not (self.sees(beaten) or self._prices):
            told["to_micros"] = None
        return told

    def _drop(self, drop: Drop) -> dict[str, Any]:
        told: dict[str, Any] = msgspec.to_builtins(drop)
        if self.own is None:
            return told
        if drop.rule == "exclude_labels":
            sides = [set(side) for side in (drop.wanted, drop.got) if isinstance(side, list)]
            told["wanted"] = told["got"] = sorted(set.intersection(*sides))
        elif drop.reason is NoFill.BLOCKED and drop.rule == "publisher.blocked":
            told["wanted"] = None
        return told
