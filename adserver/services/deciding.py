"""One decision: the walk of DESIGN from the normalised request to what is to be journalled.

Between taking the request and handing its record to the journal nothing awaits, so one event loop decides
one request at a time and caps, budgets and feed accounts are exact however many ask at once. Whatever
cannot be kept (dry runs, bots, a journal without room) is undone before the answer is written.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from adserver.domain.admission import Slate
from adserver.domain.caps import BoundCap
from adserver.domain.decision import Decision, FeedPage, NoFill, Slot
from adserver.domain.feeds import Ahead, Answered, Standing
from adserver.domain.inventory import FeedPolicy
from adserver.domain.request import FeedAsk, PlacementAsk, Request
from adserver.engine import ranking, rules
from adserver.engine.feed import Layout
from adserver.engine.shortlist import Walk
from adserver.engine.snapshot import Entry, View
from adserver.services.claims import Claims
from adserver.services.exclusions import Company
from adserver.services.kept import Kept
from adserver.services.reasons import any_of, furthest, why_nobody
from adserver.services.refusals import Refused
from adserver.services.render import DRY_RUN, TEST, origin_of
from adserver.services.slate import PlacementSlate
from adserver.services.world import Serving

MODES = {"live": 0, "test": TEST, "dry_run": DRY_RUN}


class Page(Struct, frozen=True):
    """A feed page about to be decided."""

    ask: FeedAsk
    standing: Standing
    policy: FeedPolicy


class Deciding:
    """One request on its way. ``paid`` is False while the journal has no room; ``touched`` tells that a feed
    account lives on from now, and that the journal should know; ``moved``: how much of what moved among the
    ``live`` bits was before it; ``away``: it is not known what this person has seen; ``in_doubt``: it may be
    more than is known."""

    def __init__(
        self, request: Request, serving: Serving, kept: Kept, key_id: int, away: bool = False,
        in_doubt: bool = False,
    ) -> None:  # fmt: skip
        self.request = request
        self.serving = serving
        self.kept = kept
        self.key_id = key_id
        self.paid = kept.journal.open
        self.test = request.mode == "test"
        self.fleeting = request.mode == "dry_run" or request.invalid_traffic
        self.touched = False
        self.moved = 0
        self.away = away
        self.in_doubt = in_doubt
        self.company = Company()
        self.claims = Claims(
            request, kept.holds, kept.traffic, kept.allotment, kept.fees, self.paid, serving.live
        )
        self.slates: list[PlacementSlate | None] = []
        self.slots: list[Slot | None] = []
        self.pages: list[Page | None] = []
        self.views: list[View | None] = []
        self.capped: Mapping[int, int] = {}

    def run(self) -> Decision:
        """Decide. Raises Refused for a feed page that is ahead, before anything was reserved."""
        self.fill()
        return self._decision()

    def fill(self) -> None:
        """Everything of a decision but writing it down. Raises Refused like ``run``."""
        self._turn_pages()
        self._lay_slates()
        asked: list[Slate[Entry]] = [slate for slate in self.slates if slate is not None]
        self.kept.state.admit(self.request.subject, self.request.session, asked, self.request.now_ms)
        self._clear_prices()

    def undo(self) -> None:
        """Take everything back that was reserved."""
        for slate in self.slates:
            for winner in slate.winners if slate is not None else ():
                self.kept.state.take_back(winner.event_id)
                self.kept.holds.void(winner.event_id)

    # -- before admission --------------------------------------------------------------------------

    def _turn_pages(self) -> None:
        request = self.request
        for ask in request.placements:
            view = self._view(ask)
            page = None
            slot = None
            if view is None:
                slot = Slot(0, ask.id, (), ask.count, NoFill.UNKNOWN_PLACEMENT)
            elif ask.feed is not None:
                page, slot = self._turn(view, ask.feed, f"placements[{len(self.pages)}].feed.page")
            self.views.append(view)
            self.pages.append(page)
            self.slots.append(slot)

    def _view(self, ask: PlacementAsk) -> View | None:
        return self.serving.snapshot.view(self.request.publisher, ask.id, ask.formats, ask.sizes)

    def _turn(self, view: View, ask: FeedAsk, path: str) -> tuple[Page | None, Slot | None]:
        kept, now_ms = self.kept, self.request.now_ms
        if self.away or self.in_doubt:
            return None, self._unknown(view, ask)
        try:
            turn = kept.feeds.turn(ask, now_ms, kept.receipts.standing)
        except Ahead as ahead:
            expected = ahead.expected_page
            message = f"this feed account goes on with page {expected}"
            errors = [(path, message)]
            raise Refused(409, "the page is ahead", errors, {"expected_page": expected}) from None
        if isinstance(turn, Answered):
            if not self.fleeting:
                self.touched = kept.feeds.touch(ask.account, now_ms)
            self._join(turn.slot)
            return None, msgspec.structs.replace(turn.slot, repeated=turn.slot.repeated or turn.origin)
        return Page(ask, turn, view.placement.feed or FeedPolicy()), None

    def _unknown(self, view: View, ask: FeedAsk) -> Slot:
        """Where the account goes on is not known: a page that was answered here is answered again, and else
        nothing is said of the feed, so that the same page may be asked for later."""
        feeds, now_ms = self.kept.feeds, self.request.now_ms
        turn = feeds.answered(ask.account, ask.page, now_ms)
        if turn is None:
            placement = view.placement
            return Slot(placement.serial, placement.id, (), 0, NoFill.STATE_UNAVAILABLE)
        if not self.fleeting:
            self.touched = feeds.touch(ask.account, now_ms)
        self._join(turn.slot)
        return msgspec.structs.replace(turn.slot, repeated=turn.slot.repeated or turn.origin)

    def _join(self, slot: Slot) -> None:
        """Ads of a page answered again are in company with those of the request's other placements."""
        for ad in slot.ads:
            entry = self.serving.snapshot.by_serial.get(ad.line_item)
            if entry is not None:
                self.company.join(entry)

    def _lay_slates(self) -> None:
        request, snapshot = self.request, self.serving.snapshot
        open_to_all = self._open_chunks()
        self.common = rules.everywhere(request, snapshot.zones, snapshot.required)
        self.matches = snapshot.index.common(self.common)
        for number, ask in enumerate(self.request.placements):
            view = self.views[number]
            if view is None or self.slots[number] is not None:
                self.slates.append(None)
            else:
                self.slates.append(self._slate(number, ask, view, open_to_all))

    def _open_chunks(self) -> Sequence[int]:
        """The line items that are live, without those this person has capped: once a request."""
        request, serving, state = self.request, self.serving, self.kept.state
        # What ran out has ended before anybody looks, whenever a tick last ran (law 5).
        state.sweep(request.now_ms)
        self.kept.holds.sweep(request.now_ms)
        self.moved = serving.live.wake(request.now_ms)
        who = request.subject, request.session
        self.capped = state.capped_out(*who, request.now_ms, serving.snapshot)
        if not self.capped:
            return serving.live.chunks
        chunks = list(serving.live.chunks)
        for chunk, bits in self.capped.items():
            chunks[chunk] &= ~bits
        return chunks

    def _slate(
        self, number: int, ask: PlacementAsk, view: View, open_chunks: Sequence[int]
    ) -> PlacementSlate:
        page = self.pages[number]
        context = self._context(ask, view)
        walk = Walk(self.serving.snapshot, open_chunks, context, self.claims.need, number, self.matches)
        candidates = self._candidates(walk, context, number)
        layout = None
        if page is not None:
            limit = ask.count if self.paid else 0
            layout = Layout(page.policy, page.standing.track, page.ask.organic_count, limit)
        return PlacementSlate(
            context, candidates, self.company, self.claims,
            walk.seed, ask.count, layout, self.capped, walk.unasked, self.away,
        )  # fmt: skip

    def _context(self, ask: PlacementAsk, view: View) -> rules.Context:
        zones, worth = self.serving.snapshot.zones, self.serving.worth
        return rules.context(self.request, ask, view, zones, worth, self.common)

    def _candidates(self, walk: Walk, context: rules.Context, number: int) -> Iterator[Entry]:
        """In serving order, for the placement ``number`` of the request."""
        return walk.entries()

    # -- after admission ---------------------------------------------------------------------------

    def _clear_prices(self) -> None:
        """Second price: what is held comes down to what the auction cleared at."""
        for slate in self.slates:
            if slate is not None and slate.context.view.placement.auction == "second_price":
                self._clear(slate)

    def _clear(self, slate: PlacementSlate) -> None:
        sold = [winner for winner in slate.winners if ranking.is_auction(winner.entry.tier)]
        behind = slate.runner_up(self._full) if sold else None
        for winner in sold:
            entry, pricing = winner.entry, winner.entry.line_item.pricing
            context = slate.context
            # A floor is about what is earned, a rank about as much of it as counts.
            floor = ranking.clearing_micros(pricing, context.earns(entry), context.floor(entry))
            score = context.score(behind) if behind else 0
            winner.clearing_micros = max(floor, ranking.clearing_micros(pricing, context.score(entry), score))
            winner.hold_nanos = ranking.hold_nanos(pricing.model, winner.clearing_micros)
            if not self.test:
                self.kept.holds.lower(winner.event_id, winner.hold_nanos)

    def _full(self, cap: BoundCap) -> bool:
        request = self.request
        return self.kept.state.full(cap, request.subject, request.session, request.now_ms)

    def _decision(self) -> Decision:
        request, snapshot = self.request, self.serving.snapshot
        return Decision(
            request_id=request.request_id,
            revision=snapshot.revision,
            publisher=snapshot.publishers[request.publisher].serial,
            slots=tuple([slot or self._slot(number) for number, slot in enumerate(self.slots)]),
            mode=MODES[request.mode],
            key_id=self.key_id,
            personalised=request.personalised,
            gdpr=0 if request.gdpr is None else 1 + request.gdpr,
            rates=self.serving.worth.rates.number,
            country=request.country,
            device=request.device,
        )

    def _slot(self, number: int) -> Slot:
        slate, page = self.slates[number], self.pages[number]
        assert slate is not None
        placement, ads = slate.context.view.placement, slate.ads()
        unfilled = slate.unserved if page is not None else slate.context.ask.count - len(ads)
        reason = self._reason(slate) if unfilled else None
        feed = None
        if page is not None and slate.layout is not None:
            feed = self._feed_page(placement.full_id, page, slate.layout)
            closed = NoFill.INVALID_TRAFFIC if self.request.invalid_traffic else NoFill.FEED_CAP
            reason = reason or (None if ads else closed)
        return Slot(placement.serial, placement.id, ads, unfilled, reason, slate.expires_ms, feed)

    def _feed_page(self, placement: str, page: Page, layout: Layout) -> FeedPage:
        ask, standing = page.ask, page.standing
        track = layout.finish()
        found = FeedPage(
            ask.account, ask.id, ask.page, layout.start, layout.next, layout.organic, layout.sponsored,
            "", standing.continued, page.policy.max_share.text,
        )  # fmt: skip
        if self.fleeting:
            return found
        args = (found, placement, page.policy, layout.placed, track, standing.receipt, self.request.now_ms)
        return msgspec.structs.replace(found, receipt=self.kept.receipts.issue(*args))

    def _reason(self, slate: PlacementSlate) -> NoFill:
        """Why nobody more: what stopped the candidates, or, where the index left none, why not."""
        if self.capped and any_of(self.capped, slate.context, self.serving):
            return furthest({slate.no_fill(), NoFill.FREQUENCY_CAPPED})
        if slate.drops:
            return slate.no_fill()
        return why_nobody(slate.context, self.serving, {winner.entry.position for winner in slate.winners})

    def commit_pages(self, decision: Decision, journalled: bool) -> None:
        """Keep the new feed pages. One the journal has not is marked, so that the next tells that it goes on
        from something nobody can read back."""
        if not any(self.pages):
            return
        origin = origin_of(decision)
        for slot, page, slate in zip(decision.slots, self.pages, self.slates, strict=True):
            if page is None or slate is None or slate.layout is None or slot.feed is None:
                continue
            if not journalled:
                feed = msgspec.structs.replace(slot.feed, journalled=False)
                slot = msgspec.structs.replace(slot, feed=feed)
            idle_ms = page.policy.account_idle_ms
            track = slate.layout.finish()
            self.kept.feeds.commit(Answered(slot, origin), track, self.request.now_ms, idle_ms)
