"""How one placement's decision ended for a line item: it won, a rule dropped it, or others came before it.

The decision itself left, for every candidate it walked over, the rule that dropped it. Line items it never
reached are put through the same rules here.
"""

from typing import Final

from msgspec import Struct

from adserver.domain import limits
from adserver.domain.caps import BoundCap
from adserver.domain.decision import NoFill
from adserver.engine import rules
from adserver.engine.rules import Drop
from adserver.engine.shortlist import share_of
from adserver.engine.snapshot import Entry
from adserver.services import plans
from adserver.services.kept import Kept
from adserver.services.slate import PlacementSlate, Winner, capped

EVERYBODY: Final = -1
"""Where a slate keeps what ended it for all."""


class Outbid(Struct, frozen=True):
    """Nothing is wrong with it: those ahead took every place."""

    by: Entry
    score: int


class Endings:
    """Of one placement, for any line item."""

    def __init__(self, slate: PlacementSlate, kept: Kept) -> None:
        self.slate = slate
        self._kept = kept
        self._won = {winner.entry.position: winner for winner in slate.winners}
        ranked = sorted(
            (winner.entry for winner in slate.winners), key=lambda e: (e.tier, -slate.context.score(e))
        )
        self._last = ranked[-1] if ranked else None

    def of(self, entry: Entry) -> Winner | Drop | Outbid:
        winner = self._won.get(entry.position)
        if winner is not None:
            return winner
        return self.slate.drops.get(entry.position) or self._drop(entry) or self._unreached(entry)

    def full(self, cap: BoundCap) -> bool:
        """Whether a cap has no room for the person of this request."""
        request = self.slate.context.request
        return self._kept.state.full(cap, request.subject, request.session, request.now_ms)

    def _drop(self, entry: Entry) -> Drop | None:
        context, kept = self.slate.context, self._kept
        return (
            rules.first_drop(entry, context)
            or next((capped(cap) for cap in entry.caps if self.full(cap)), None)
            or plans.drop(entry, kept.holds, kept.traffic, kept.allotment, context.request.now_ms)
        )

    def _unreached(self, entry: Entry) -> Drop | Outbid:
        """Nothing is wrong with it, and yet it was not walked over: why the walk left it out, or ended
        before it."""
        last = self._last
        if entry.position in self.slate.unasked:
            return Drop(NoFill.NO_MATCH, "checks", limits.CHECKS_IN_VAIN, "asked of others in vain")
        if EVERYBODY in self.slate.drops:
            return self.slate.drops[EVERYBODY]
        if share_of(entry) and (last is None or last.run >= entry.run):
            return Drop(NoFill.PACED, "goal.share", share_of(entry), "not drawn for this request")
        if last is None:
            return Drop(NoFill.FEED_CAP, "feed", "a position", "none open on this page")
        return Outbid(last, self.slate.context.score(last))
