"""Why each line item did or did not serve, told by the code that decided (law 6).

The request is rehearsed: decided by the very code, with every exposure and hold taken back. What that left
behind is told for the line items asked about: the rule that dropped each, or its place; and for those that
lost the smallest change that would have won. Then the request is decided as it was asked.
"""

from typing import Any

from adserver.engine.snapshot import Entry, Snapshot
from adserver.services import overview
from adserver.services.ask import Ask, Asker
from adserver.services.counterfactual import Counterfactuals
from adserver.services.ending import Endings
from adserver.services.refusals import Refused
from adserver.services.rehearsal import Rehearsal, Rehearse
from adserver.services.slate import PlacementSlate, Winner
from adserver.services.teller import Teller
from adserver.services.world import Serving


def asked(ask: Ask, asker: Asker) -> "Explanation | None":
    """What will explain, if that was asked for. Raises Refused: explanations are for operators and, of
    their own line items, advertisers."""
    if not (ask.explain or ask.explain_line_items):
        return None
    if asker.role not in ("operator", "advertiser"):
        raise Refused(403, "explanations need an operator's or an advertiser's key")
    return Explanation(ask, asker)


class Explanation:
    """``told``: an entry for each placement that was decided."""

    def __init__(self, ask: Ask, asker: Asker) -> None:
        self.told: list[dict[str, Any]] = []
        self._named = frozenset(ask.explain_line_items)
        self._teller = Teller(asker)

    def __call__(self, rehearse: Rehearse) -> None:
        """Raises Refused."""
        counterfactuals = Counterfactuals(rehearse, self._teller)
        self.told = rehearse(lambda rehearsal: self._tell(rehearsal, counterfactuals))

    def _tell(self, rehearsal: Rehearsal, counterfactuals: Counterfactuals) -> list[dict[str, Any]]:
        return [
            self._placement(number, slate, rehearsal, counterfactuals)
            for number, slate in enumerate(rehearsal.slates)
            if slate is not None
        ]

    def _placement(
        self, number: int, slate: PlacementSlate, rehearsal: Rehearsal, counterfactuals: Counterfactuals
    ) -> dict[str, Any]:
        endings = Endings(slate, rehearsal.kept)
        line_items = []
        for entry in self._entries(rehearsal.serving, slate):
            ended = endings.of(entry)
            told = self._teller.line_item(entry, ended, slate.context)
            if not isinstance(ended, Winner):
                found = counterfactuals.of(number, entry, ended, endings)
                told = told if found is None else {**told, "counterfactual": found}
            line_items.append(told)
        placement = slate.context.view.placement.full_id
        counts = None if self._named else overview.counts(slate, rehearsal.serving, self._teller.own)
        told = {"placement": placement, "counts": counts, "line_items": line_items}
        return {**told, "state_doubt": True} if rehearsal.in_doubt else told

    def _entries(self, serving: Serving, slate: PlacementSlate) -> list[Entry]:
        """Those named, or else the best, in order of rank."""
        if self._named:
            return list(filter(self._teller.sees, named(serving.snapshot, self._named)))
        return overview.best(slate, serving.snapshot, self._teller.own)


def named(snapshot: Snapshot, full_ids: frozenset[str]) -> list[Entry]:
    """The line items of these ids, by rank; what is not there is left out."""
    campaigns = {full_id.rpartition("/")[0] for full_id in full_ids}
    known = [campaign for name in campaigns if (campaign := snapshot.campaigns.get(name)) is not None]
    serials = (item.serial for one in known for item in one.line_items if item.full_id in full_ids)
    return sorted(map(snapshot.by_serial.__getitem__, serials), key=lambda entry: entry.position)
