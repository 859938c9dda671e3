"""Why this ad: from the slates of the very decision that served it, told by the deciding code (law 6).

Kept for the last decisions that the demo's page asked for, and for nobody else's.
"""

from collections import OrderedDict
from itertools import islice
from typing import Any, Final

from msgspec import Struct

from adserver.domain import ids
from adserver.domain.targeting import PERSONAL, Clause
from adserver.engine import rules
from adserver.services.ask import Asker
from adserver.services.ending import Endings
from adserver.services.kept import Kept
from adserver.services.serve import Outcome
from adserver.services.slate import PlacementSlate, Winner
from adserver.services.teller import Teller

PAGE_URL: Final = "https://lumen.example/demo"
_KEPT: Final = 2000
_OTHERS: Final = 8
_OPERATOR: Final = Teller(Asker(role="operator"))


class Served(Struct, frozen=True):
    """An ad with the decision it came from."""

    outcome: Outcome
    slate: PlacementSlate
    winner: Winner


class Reasons:
    """The last ads shown on the demo's page, by event id."""

    def __init__(self) -> None:
        self._served: OrderedDict[str, Served] = OrderedDict()

    def take(self, outcome: Outcome) -> None:
        if outcome.request.facts.get("urls") != (PAGE_URL,):
            return
        for slate in outcome.slates:
            for winner in slate.winners if slate is not None else ():
                assert slate is not None
                self._served[ids.encode(winner.event_id)] = Served(outcome, slate, winner)
        while len(self._served) > _KEPT:
            self._served.popitem(last=False)

    def why(self, event_id: str, kept: Kept) -> dict[str, Any] | None:
        """None for an ad that this page was not shown, or long ago."""
        served = self._served.get(event_id)
        if served is None:
            return None
        entry, context = served.winner.entry, served.slate.context
        facts = context.facts
        matched = [_matched(name, clause, facts.get(name, ())) for name, clause in entry.clauses.items()]
        return {
            "line_item": entry.line_item.full_id,
            "priority": entry.line_item.priority,
            "placement": context.view.placement.full_id,
            "personalised": served.outcome.request.personalised,
            "personal": any(name in PERSONAL for name in entry.clauses),
            "matched": matched,
            "caps": [_cap(cap.limit, cap.per_ms, cap.scope, cap.session) for cap in _caps(served)],
            "rank": entry.position + 1,
            "of": len(served.outcome.serving.snapshot.entries),
            "ahead": _ahead(served, kept),
        }


def _matched(name: str, clause: Clause, got: tuple[str, ...]) -> dict[str, Any]:
    """One targeting rule with both sides of the comparison."""
    return {"dimension": name, "wanted": rules.wanted(clause), "got": list(got)}


def _caps(served: Served) -> Any:
    return served.winner.entry.line_item.frequency_caps


def _cap(limit: int, per_ms: int, scope: str, session: bool) -> dict[str, Any]:
    return {"limit": limit, "per_ms": None if session else per_ms, "scope": scope}


def _ahead(served: Served, kept: Kept) -> list[dict[str, Any]]:
    """What stood ahead in rank and did not get the place, each with the rule that dropped it."""
    endings = Endings(served.slate, kept)
    better = islice(served.outcome.serving.snapshot.entries, served.winner.entry.position)
    told = [_OPERATOR.line_item(entry, endings.of(entry), served.slate.context) for entry in better]
    near = sorted(
        (item for item in told if item["outcome"] != "won"), key=lambda item: (_far(item), item["rank"])
    )
    return [{name: item[name] for name in item if name != "score_micros"} for item in near[:_OTHERS]]


def _far(item: dict[str, Any]) -> int:
    """Those that came closest say most: first who met the person's caps or a budget, last who was never
    meant for this place."""
    reason, rule = item.get("reason"), str(item.get("rule"))
    if reason in ("no_match", "currency", "no_creative"):
        return 1 if rule.startswith("targeting.") and "placements" not in rule else 2
    return 0
