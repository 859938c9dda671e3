"""Where a line item or a placement loses: counts by reason over sampled decisions, largest first.

Of the line items a decision walked over it kept what became of them. The others are put through the rules
as they are now, by the code that decides; whoever passes them was behind the last winner, or left out for
want of budget. Counts are estimates: each sample stands for as many requests as its hour's rate says.
"""

from collections import Counter
from typing import Any, Final

from msgspec import Struct

from adserver.domain.decision import NoFill
from adserver.engine import rules
from adserver.engine.shortlist import share_of
from adserver.engine.snapshot import Entry
from adserver.services.samples import Sample, Seen
from adserver.services.world import Serving

OUTBID: Final = ("outbid", "score")
CHANGED: Final = ("changed", "revision")
"""As it is now it would have been walked over; so it is not what it was then."""
_LARGEST: Final = 3
_RENDERED: Final = 1
_VIEWABLE: Final = 2

Loss = tuple[str, str]
"""(reason, rule)."""

_ORDER: Final = (
    NoFill.NO_MATCH, NoFill.CURRENCY, NoFill.INVALID_TRAFFIC, NoFill.BLOCKED, NoFill.NO_CREATIVE,
    NoFill.NO_USER, NoFill.FREQUENCY_CAPPED, NoFill.BUDGET_EXHAUSTED, NoFill.DISK_FULL, NoFill.PACED,
    NoFill.EXCLUDED, NoFill.RESERVATION_LIMIT, NoFill.FEED_CAP, NoFill.BELOW_FLOOR,
)  # fmt: skip
"""Reasons as a funnel tells them; outbid comes last."""


class Funnel:
    """Counts being made. eligible = the sum of the losses + won."""

    def __init__(self) -> None:
        self.eligible = self.won = self.rendered = self.viewable = 0
        self.losses: Counter[Loss] = Counter()

    def lose(self, loss: Loss, weight: int) -> None:
        """``weight``: how many times, perhaps never."""
        if weight > 0:
            self.eligible += weight
            self.losses[loss] += weight

    def win(self, events: int, weight: int) -> None:
        """``events``: what came of the ad, as ``Hour.won`` has it."""
        self.eligible += weight
        self.won += weight
        self.rendered += weight * bool(events & _RENDERED)
        self.viewable += weight * bool(events & _VIEWABLE)

    def told(self) -> dict[str, Any]:
        losses = [_loss(loss, count) for loss, count in sorted(self.losses.items(), key=_place)]
        largest = [_loss(loss, count) for loss, count in self.losses.most_common(_LARGEST)]
        return {
            "eligible": self.eligible,
            "losses": losses,
            "won": self.won,
            "rendered": self.rendered,
            "viewable": self.viewable,
            "largest_losses": largest,
        }


class Asked(Struct, frozen=True):
    """A sampled placement as a line item of today is asked about it."""

    sample: Sample
    seen: Seen
    context: rules.Context


def asked(sample: Sample, seen: Seen, serving: Serving) -> Asked | None:
    """None where the placement is no more."""
    request, ask = sample.request, sample.request.placements[seen.number]
    view = serving.snapshot.view(request.publisher, ask.id, ask.formats, ask.sizes)
    if view is None:
        return None
    return Asked(sample, seen, rules.context(request, ask, view, serving.snapshot.zones, serving.worth))


def loss(entry: Entry, asked: Asked) -> Loss | None:
    """Why the line item did not win the sampled placement; None if it did."""
    seen, serial = asked.seen, entry.line_item.serial
    if serial in seen.won:
        return None
    if serial in seen.lost:
        return seen.lost[serial]
    drop = rules.first_drop(entry, asked.context)
    if drop is not None:
        return drop.reason.value, drop.rule
    if serial in asked.sample.capped:
        return NoFill.FREQUENCY_CAPPED.value, "frequency_cap"
    spared = asked.sample.spared.get(serial)
    if spared is not None:
        return spared, "pacing" if spared == NoFill.PACED else "budget"
    if seen.everybody is not None:
        return seen.everybody
    if seen.last is not None and (entry.tier, -asked.context.score(entry)) >= seen.last:
        return OUTBID
    if seen.last is None and seen.won == {} and seen.no_fill == NoFill.FEED_CAP:
        return NoFill.FEED_CAP.value, "feed"
    return (NoFill.PACED.value, "goal.share") if share_of(entry) else CHANGED


def _place(item: tuple[Loss, int]) -> tuple[int, str]:
    (reason, rule), _ = item
    known = [known.value for known in _ORDER]
    return (known.index(reason) if reason in known else len(known), rule)


def _loss(loss: Loss, count: int) -> dict[str, Any]:
    return {"reason": loss[0], "rule": loss[1], "count": count}
