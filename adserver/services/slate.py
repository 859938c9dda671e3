"""One placement of a request while it is being filled (see ``domain.admission``).

Candidates come in serving order and are drawn only as far as needed. A candidate that a rule drops for
this request is gone; one that only may not stand at this feed position is looked at again at the next.
"""

from collections.abc import Iterator, Mapping, Set

from msgspec import Struct

from adserver.domain import limits
from adserver.domain.admission import Full, Granted
from adserver.domain.campaign import MODELS, Creative
from adserver.domain.caps import BoundCap, Counted, counted
from adserver.domain.decision import Ad, NoFill
from adserver.engine import draw, ranking, rotation
from adserver.engine.feed import Layout
from adserver.engine.rules import Context, Drop, drop_of_request, passes_request
from adserver.engine.snapshot import Entry
from adserver.services.claims import Claims
from adserver.services.exclusions import Company
from adserver.services.reasons import furthest

_CREATIVE_SALT = 0xC0FFEE


class Winner(Struct):
    entry: Entry
    creative: Creative
    index: int
    event_id: bytes
    position: int
    clearing_micros: int
    hold_nanos: int


class PlacementSlate:
    """``claims`` is asked of those no cap is full for; ``seed`` belongs to this placement. Unless a feed's
    ``layout`` says where ads may stand, ``count`` says how many. ``left_out``: the line items (chunk -> bits)
    that are no candidates because this person has capped them; ``unasked``: see ``shortlist.Walk``; ``away``:
    nobody knows what this person has seen."""

    __slots__ = (
        "_away", "_candidates", "_claims", "_company", "_count", "_position", "_seed", "_somebody",
        "_waiting", "context", "drops", "expires_ms", "layout", "left_out", "unasked", "unserved", "winners",
    )  # fmt: skip

    def __init__(
        self,
        context: Context,
        candidates: Iterator[Entry],
        company: Company,
        claims: Claims,
        seed: int,
        count: int,
        layout: Layout | None,
        left_out: Mapping[int, int],
        unasked: Set[int] = frozenset(),
        away: bool = False,
    ) -> None:
        request = context.request
        self.context = context
        self.layout = layout
        self.winners: list[Winner] = []
        self.drops: dict[int, Drop] = {}
        self.unserved = 0
        self.expires_ms = request.now_ms + _render_within_ms(context)
        self._candidates = candidates
        self._company = company
        self._claims = claims
        self._away = away
        self._somebody = not away and request.subject is not None and request.session is not None
        self._seed = seed
        self._count = count
        self._waiting: list[Entry] = []
        self._position = -1
        self.left_out = left_out
        self.unasked = unasked

    # -- what admission asks -----------------------------------------------------------------------

    def open(self) -> bool:
        if len(self.winners) >= self._count:
            return False
        if self.layout is None:
            return True
        position = self.layout.next_open()
        self._position = -1 if position is None else position
        return position is not None

    def remaining(self) -> Iterator[Entry]:
        """Those that could not stand at an earlier position first, then new ones, in serving order."""
        number = 0
        while number < len(self._waiting):
            entry = self._waiting[number]
            if self._passes(entry) and not self._stands(entry):
                number += 1
                continue
            del self._waiting[number]
            if entry.position not in self.drops:
                yield entry
        out = self._company.out
        for entry in self._candidates:
            if entry.position in out:
                self.drops[entry.position] = out[entry.position]
            elif not self._passes(entry):
                continue
            elif self.layout is None or self._stands(entry):
                yield entry
            elif self.layout is not None and self.layout.opens_later(*_company(entry)):
                self._waiting.append(entry)

    def limited(self) -> None:
        """This person has more reservations open than anybody may: nothing more for now."""
        most = limits.OUTSTANDING_PER_PERSON
        self.drops[-1] = Drop(NoFill.RESERVATION_LIMIT, "reservations", most, "reached")
        self.unserved += 1
        self._count = len(self.winners)

    def capped(self, candidate: Entry, cap: BoundCap) -> None:
        self._rule_out(candidate, capped(cap))

    def take(self, candidate: Entry, full: Full) -> Granted | None:
        creative = self._creative(candidate, full)
        if creative is None:
            self.drops[candidate.position] = capped(candidate.creative_caps[0])
            return None
        claimed = self._claims.claim(candidate, self.expires_ms)
        if isinstance(claimed, Drop):
            self._rule_out(candidate, claimed)
            return None
        index, ident, hold = claimed
        position = -1 if self.layout is None else self.layout.place(*_company(candidate))
        self._company.join(candidate)
        bid = candidate.line_item.pricing.amount_micros
        self.winners.append(Winner(candidate, creative, index, ident, position, bid, hold))
        if candidate.campaign.repeat_in_request:
            self._waiting.insert(0, candidate)
        kept_ms = self.expires_ms + (limits.CLICK_EXTRA_MS if candidate.by_session else 0)
        caps = candidate.caps
        if candidate.creative_caps:
            caps = (*caps, *creative_caps(candidate, creative))
        return Granted(ident, exposure_counts(candidate, creative), self.expires_ms, kept_ms, caps)

    def leave(self) -> None:
        """Nobody can stand here. Elsewhere is worth a try only for those a distance kept out: the page goes
        on where the first of them may stand."""
        self.unserved += 1
        layout = self.layout
        if layout is None or not self._waiting:
            self._count = len(self.winners)
        else:
            layout.skip_to(min(layout.free_from(*_company(entry)) for entry in self._waiting))

    # -- inside ------------------------------------------------------------------------------------

    def _passes(self, entry: Entry) -> bool:
        """The rules that ask neither counters nor accounts: those are asked when it is taken.

        Nearly all candidates pass, and of them nobody wants to know a reason: they are asked whether, at
        once, and only the others what drops them."""
        if (
            (self._somebody or not entry.capped)
            and passes_request(entry, self.context)
            and self._company.welcomes(entry)
        ):
            return True
        drop = drop_of_request(entry, self.context)
        if drop is None and entry.capped:
            drop = self._needs_somebody(entry)
        if drop is None:
            drop = self._company.refuses(entry)
        if drop is not None:
            self.drops[entry.position] = drop
        return drop is None

    def _rule_out(self, entry: Entry, drop: Drop) -> None:
        """For all of the request, wherever it might have stood."""
        self.drops[entry.position] = self._company.out[entry.position] = drop

    def _needs_somebody(self, entry: Entry) -> Drop | None:
        """Without user and session nobody can be counted, and nobody while the counters are away."""
        request = self.context.request
        if self._away:
            return Drop(NoFill.STATE_UNAVAILABLE, "state", "there", "away")
        if entry.line_item.serve_without_user or (
            request.subject is not None and request.session is not None
        ):
            return None
        if request.subject is None or any(cap.session for cap in (*entry.caps, *entry.creative_caps)):
            return Drop(NoFill.NO_USER, "serve_without_user", True, False)
        return None

    def _stands(self, entry: Entry) -> bool:
        """Whether it may stand at the open position, for the distances a feed keeps."""
        if self.layout is None or self.layout.admits(*_company(entry)):
            self.drops.pop(entry.position, None)
            return True
        self.drops[entry.position] = Drop(NoFill.FEED_CAP, "advertiser_gap", "a distance", self._position)
        return False

    def _creative(self, entry: Entry, full: Full) -> Creative | None:
        """By the line item's rotation, among those that fit and are not capped."""
        context = self.context
        fitting = context.view.fits(entry.position) if context.plain else context.creatives(entry)
        if entry.creative_caps:
            fitting = tuple(c for c in fitting if not any(full(cap) for cap in creative_caps(entry, c)))
        if len(fitting) == 1:
            return fitting[0]  # whatever the rotation
        seed = draw.mix(self._seed, _CREATIVE_SALT + entry.line_item.serial + (len(self.winners) << 32))
        rates, placement = context.worth.rates, context.view.placement.serial
        return rotation.choose(entry.line_item, fitting, rates, placement, seed)

    # -- afterwards --------------------------------------------------------------------------------

    def runner_up(self, full: Full) -> Entry | None:
        """The best auction candidate behind the winners that passes every rule and did not win: all that
        were walked over either won or failed a rule, so it is the first of the rest."""
        for entry in self._candidates:
            if not ranking.is_auction(entry.tier):
                if entry.tier // ranking.LEVELS > ranking.AUCTION:
                    return None
                continue
            if (
                entry.position not in self._company.out
                and self._passes(entry)
                and not any(full(cap) for cap in entry.caps)
                and self._creative(entry, full)
                and self._claims.drop(entry) is None
            ):
                return entry
        return None

    def ads(self) -> tuple[Ad, ...]:
        return tuple([_ad(winner) for winner in self.winners])

    def no_fill(self) -> NoFill:
        """Why nobody (else) served: the reason that came furthest."""
        return furthest({drop.reason for drop in self.drops.values()})


def capped(cap: BoundCap) -> Drop:
    """What a full cap says."""
    told = f"full in {cap.per_ms} ms"
    return Drop(NoFill.FREQUENCY_CAPPED, f"frequency_cap {cap.counter}", cap.limit, told)


def _company(entry: Entry) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    """What distances in a feed are about: advertiser, labels, excluded labels."""
    return entry.advertiser, entry.campaign.labels, entry.campaign.exclude_labels


def creative_caps(entry: Entry, creative: Creative) -> tuple[BoundCap, ...]:
    """The line item's caps of scope creative, bound to this creative."""
    return tuple(
        BoundCap(f"creative:{creative.identity}", cap.limit, cap.per_ms, cap.event, cap.session)
        for cap in entry.creative_caps
    )


def exposure_counts(entry: Entry, creative: Creative, event: str = "impression") -> tuple[Counted, ...]:
    """The counters an event of this ad moves."""
    if event == "impression" and not entry.creative_caps:
        return entry.counts
    return counted((*entry.caps, *creative_caps(entry, creative)), event)


def _render_within_ms(context: Context) -> int:
    asked = context.ask.render_within_ms
    return context.view.placement.render_within_ms if asked is None else asked


def _ad(winner: Winner) -> Ad:
    entry, amount = winner.entry, winner.clearing_micros
    item, pricing = entry.line_item, entry.line_item.pricing
    model, bid = pricing.model, pricing.amount_micros
    price = ranking.price_nanos(model, amount)
    creative, number = winner.creative.serial, MODELS.index(model)
    return Ad(
        winner.index, item.serial, creative, price, winner.hold_nanos, bid, winner.position, number
    )  # fmt: skip
