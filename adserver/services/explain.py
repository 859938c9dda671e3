"""Why each line item did or did not serve, told by the code that decided (law 6).

The decision itself left, for every candidate it walked over, the rule that dropped it. Line items it
never reached are put through the same rules now: the first that drops them, or, if none does, their rank
and who was ahead.
"""

from typing import Any

import msgspec

from adserver.domain import limits
from adserver.domain.decision import NoFill
from adserver.engine import checks, rules
from adserver.engine.shortlist import share_of
from adserver.engine.snapshot import Entry
from adserver.services import plans
from adserver.services.ask import Ask, Asker
from adserver.services.refusals import Refused
from adserver.services.serve import Outcome
from adserver.services.slate import PlacementSlate

_MOST = 10_000


def allowed(asker: Asker) -> None:
    """Raises Refused: explanations are for operators and, of their own line items, advertisers."""
    if asker.role not in ("operator", "advertiser"):
        raise Refused(403, "explanations need an operator's or an advertiser's key")


def explain(outcome: Outcome, ask: Ask, asker: Asker, accounts: plans.Accounts) -> list[dict[str, Any]]:
    """One entry a placement that was decided, each with the line items asked about (or all)."""
    wanted = set(ask.explain_line_items)
    own = asker.owner if asker.role == "advertiser" else None
    told = []
    for slate in outcome.slates:
        if slate is None:
            continue
        entries = [
            entry
            for entry in outcome.serving.snapshot.entries
            if (not wanted or entry.line_item.full_id in wanted)
            and (own is None or entry.campaign.advertiser == own)
        ]
        teller = _Teller(slate, accounts)
        placement = slate.context.view.placement.full_id
        told.append({"placement": placement, "line_items": [teller.tell(e) for e in entries[:_MOST]]})
    return told


class _Teller:
    def __init__(self, slate: PlacementSlate, accounts: plans.Accounts) -> None:
        self._slate = slate
        self._accounts = accounts
        self._won = {winner.entry.position: winner for winner in slate.winners}
        self._last = slate.winners[-1].entry if slate.winners else None

    def tell(self, entry: Entry) -> dict[str, Any]:
        out: dict[str, Any] = {
            "line_item": entry.line_item.full_id,
            "rank": entry.position + 1,
            "score_micros": self._slate.context.score(entry),
        }
        point = checks.matched_point(entry.checks, self._slate.context.said)
        if point is not None:
            out["matched_point"] = point
        winner = self._won.get(entry.position)
        if winner is not None:
            return {**out, "outcome": "won", "creative": winner.creative.id}
        drop = self._slate.drop_of(entry) or self._drop(entry) or self._unreached(entry)
        if drop is not None:
            return {**out, "outcome": "dropped", **_told(drop)}
        beaten_by = self._last.line_item.full_id if self._last is not None else None
        return {**out, "outcome": "outbid", "beaten_by": beaten_by}

    def _drop(self, entry: Entry) -> rules.Drop | None:
        context = self._slate.context
        drop = rules.first_drop(entry, context)
        return drop or plans.drop(entry, self._accounts, context.request.now_ms)

    def _unreached(self, entry: Entry) -> rules.Drop | None:
        """Nothing is wrong with it, nobody ahead took its place, and yet it was not walked over: why the
        walk left it out, or ended before it."""
        last = self._last
        if entry.position in self._slate.unasked:
            most = limits.CHECKS_IN_VAIN // len(self._slate.context.request.placements)
            return rules.Drop(NoFill.NO_MATCH, "checks", most, "asked in vain before it")
        if -1 in self._slate.drops:
            return self._slate.drops[-1]
        if share_of(entry) and (last is None or last.run >= entry.run):
            return rules.Drop(NoFill.PACED, "goal.share", share_of(entry), "not drawn for this request")
        if last is None:
            return rules.Drop(NoFill.FEED_CAP, "feed", "a position", "none open on this page")
        return None


def _told(drop: rules.Drop) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(drop)
    return told
