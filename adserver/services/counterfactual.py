"""What would have won: the smallest single change of a line item with which it wins this very request.

Every rule must pass, so a change that wins must lift the first rule that did not. That rule's remedy is
tried by rehearsing the decision with it (law 6: nothing here knows the rules); where the line item then
loses for another reason, at least two things stand in the way, and both are told. A bid is the exception:
above the floor it may still be outbid, and then it is the winner's score that has to be exceeded.
"""

from typing import Any, Final

from adserver.domain import limits
from adserver.engine import ranking, rules
from adserver.engine.rules import Drop
from adserver.engine.snapshot import Entry
from adserver.services import bids, remedies
from adserver.services.ending import Endings, Outbid
from adserver.services.rehearsal import Change, Rehearsal, Rehearse
from adserver.services.remedies import Case
from adserver.services.remedy import Remedy
from adserver.services.slate import Winner
from adserver.services.teller import Lost, Teller

_LEAST: Final = 2


class Counterfactuals:
    """Of one request. Rehearsing costs what deciding costs, so there are only so many."""

    def __init__(self, rehearse: Rehearse, teller: Teller) -> None:
        ads = sum(ask.count for ask in rehearse.request.placements)
        self._rehearse = rehearse
        self._teller = teller
        self._left = max(_LEAST, limits.REHEARSED_ADS // ads)

    def of(self, number: int, entry: Entry, lost: Lost, endings: Endings) -> dict[str, Any] | None:
        """Of a line item that lost in the placement ``number``; None if enough was rehearsed."""
        if isinstance(lost, Outbid) and self._left <= 0:
            return None
        remedy = self._remedy(lost, entry, endings)
        if remedy is None:
            return self._none(lost)
        # Without being a candidate it would not come as far as to need a rehearsal.
        still = rules.candidate_drop(remedy.change.entry, endings.slate.context)
        if still is not None:
            return self._none(lost, still)
        if self._left <= 0:
            return None
        then = self._tried(number, remedy.change)
        if isinstance(then, Outbid) and isinstance(lost, Drop) and lost.rule == "floor":
            higher = _outranking(entry, then, endings.slate.context)
            if higher is not None:
                remedy, then = higher, self._tried(number, higher.change)
        return self._none(lost, then) if then is not None else self._teller.remedy(remedy)

    def _remedy(self, lost: Lost, entry: Entry, endings: Endings) -> Remedy | None:
        if isinstance(lost, Outbid):
            return _outranking(entry, lost, endings.slate.context)
        case = Case(endings.slate.context, endings.full, self._rehearse.kept.holds)
        return remedies.remedy(lost, entry, case)

    def _tried(self, number: int, change: Change) -> Lost | None:
        """Why the line item would still lose; None if it would win."""

        def ended(rehearsal: Rehearsal) -> Lost | None:
            slate = rehearsal.slates[number]
            assert slate is not None
            found = Endings(slate, rehearsal.kept).of(change.entry)
            return None if isinstance(found, Winner) else found

        self._left -= 1
        return self._rehearse(ended, change)

    def _none(self, *lost: Lost) -> dict[str, Any]:
        return {"change": None, "obstacles": [self._teller.lost(one) for one in lost]}


def _outranking(entry: Entry, lost: Outbid, context: rules.Context) -> Remedy | None:
    """The bid that comes before the last winner: above its score, since a tie is drawn. Outside of the
    auction, and against a better tier, bids do not decide."""
    if lost.by.tier != entry.tier or not ranking.is_auction(entry.tier):
        return None
    return bids.outranking(entry, lost.score, context, lost.by)
