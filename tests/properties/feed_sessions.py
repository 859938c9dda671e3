"""Feed sessions as a publisher and a server live them, and the checker of law 1.

The checker shares nothing with the engine: it lays the answered pages out item by item and compares
counts with exact fractions.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from math import floor
from random import Random

import msgspec
import numpy as np
import pytest

from adserver.domain import ids
from adserver.domain.decision import Ad, Decision, FeedPage, Origin, Slot
from adserver.domain.feeds import Ahead, Answered
from adserver.domain.inventory import FeedPolicy
from adserver.domain.records import Decided
from adserver.domain.request import FeedAsk
from adserver.engine.feed import Layout
from adserver.services.receipts import Receipts
from adserver.state.feeds import FeedAccounts

LABELS = ("wine", "cars", "loans", "toys")
PLACEMENT = "lumen/news-feed"


@dataclass(frozen=True)
class Candidate:
    advertiser: int
    labels: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


# -- the checker ---------------------------------------------------------------------------------


def law_broken(policy: FeedPolicy, pages: list[list[Candidate | None]]) -> str | None:
    """The first rule that the merged feed breaks; an item is a Candidate (an ad) or None (organic)."""
    items = [item for page in pages for item in page]
    exact = Fraction(policy.max_share.text)
    totals = np.zeros(len(items) + 1, dtype=np.int64)
    np.cumsum([item is not None for item in items], out=totals[1:])
    for k in range(len(items) + 1):
        if totals[k] > floor(exact * (k + policy.head_start)):
            return f"max_share at the prefix of {k}"
    floors = np.array([floor(exact * w) for w in range(len(items) + 1)])
    begin, end = np.triu_indices(len(items) + 1)
    too_many = totals[end] - totals[begin] > floors[end - begin] + policy.max_burst
    if too_many.any():
        at = int(too_many.argmax())
        return f"max_burst in [{begin[at]}, {end[at]})"
    for page in pages:
        if sum(item is not None for item in page) > policy.max_per_page:
            return "max_per_page"
        if page and page[-1] is not None:
            return "a page ends with an ad"
    return spacing_broken(policy, [(p, item) for p, item in enumerate(items) if item is not None])


def spacing_broken(policy: FeedPolicy, ads: list[tuple[int, Candidate]]) -> str | None:
    if ads and ads[0][0] < policy.first_position:
        return "first_position"
    for (earlier, _), (later, _) in pairwise(ads):
        if later - earlier - 1 < policy.min_gap:
            return f"min_gap at {later}"
    for n, (position, ad) in enumerate(ads):
        for earlier, other in ads[:n]:
            if position - earlier - 1 >= policy.advertiser_gap:
                continue
            if ad.advertiser == other.advertiser:
                return f"advertiser_gap at {position}"
            if set(ad.labels) & set(other.excluded) or set(ad.excluded) & set(other.labels):
                return f"labels at {position}"
    return None


# -- a small server ------------------------------------------------------------------------------


def origin_of(decision: Decision) -> Origin:
    return Origin(decision.request_id, decision.key_id, 7)


@dataclass
class Server:
    policy: FeedPolicy
    candidates: list[Candidate]
    chance: Random
    refusal: float = 0.0
    feeds: FeedAccounts = field(default_factory=FeedAccounts)
    receipts: Receipts = field(default_factory=lambda: Receipts(b"k" * 32))
    records: list[bytes] = field(default_factory=list)
    checkpoint: tuple[bytes, int] | None = None

    def serve(self, ask: FeedAsk, now_ms: int, limit: int = 40, live: bool = True) -> Answered:
        turn = self.feeds.turn(ask, now_ms, self.receipts.standing)
        if isinstance(turn, Answered):
            if live:
                self.feeds.touch(ask.account, now_ms)
            return turn
        layout = Layout(self.policy, turn.track, ask.organic_count, limit)
        ads = self._fill(layout)
        track = layout.finish()
        page = FeedPage(
            ask.account, ask.id, ask.page, layout.start, layout.next, layout.organic, layout.sponsored,
            continued=turn.continued,
        )  # fmt: skip
        receipt = self.receipts.issue(
            page, PLACEMENT, self.policy, layout.placed, track, turn.receipt, now_ms
        )
        slot = Slot(9, "news-feed", tuple(ads), feed=msgspec.structs.replace(page, receipt=receipt))
        decision = Decision(ids.mint(now_ms, self.chance.getrandbits(64), 0), 1, 1, (slot,), key_id=3)
        answered = Answered(slot, origin_of(decision))
        if live:
            self.feeds.commit(answered, track, now_ms, self.policy.account_idle_ms)
            self.records.append(msgspec.msgpack.encode(Decided(decision)))
        return answered

    def _fill(self, layout: Layout) -> list[Ad]:
        ads: list[Ad] = []
        while (position := layout.next_open()) is not None:
            order = self.chance.sample(range(len(self.candidates)), len(self.candidates))
            for n in order:
                ad = self.candidates[n]
                if self.chance.random() < self.refusal:
                    continue
                if layout.admits(ad.advertiser, ad.labels, ad.excluded):
                    assert layout.place(ad.advertiser, ad.labels, ad.excluded) == position
                    ads.append(Ad(len(ads) + 1, n, n, 1, 1, 1, position))
                    break
            else:
                layout.skip()
        return ads

    def restart(self, how: str) -> None:
        self.feeds, loaded = FeedAccounts(), 0
        if how == "checkpoint" and self.checkpoint is not None:
            dumped, loaded = self.checkpoint
            self.feeds.load(dumped)
        if how == "lost":
            self.records, self.checkpoint = [], None
        for record in self.records[loaded:]:
            self.feeds.restore(msgspec.msgpack.decode(record, type=Decided), origin_of)

    def power_cut(self, lost: int) -> None:
        self.records = self.records[: max(0, len(self.records) - lost)]
        self.checkpoint = None
        self.restart("records")

    def items(self, answered: Answered) -> list[Candidate | None]:
        """The page item by item, as a reader sees it."""
        page = answered.slot.feed
        assert page is not None
        assert (
            page.next - page.start == page.organic + page.sponsored == page.organic + len(answered.slot.ads)
        )
        placed = {ad.position: self.candidates[ad.line_item] for ad in answered.slot.ads}
        assert all(page.start <= position < page.next for position in placed)
        return [placed.get(position) for position in range(page.start, page.next)]


# -- a publisher ---------------------------------------------------------------------------------


@dataclass
class Reader:
    """One account as its publisher sees it: the pages shown, first to last."""

    key: bytes
    server: Server
    chance: Random
    shown: list[Answered] = field(default_factory=list)

    def ask(self, page: int, organic: int, receipt: str | None = None) -> FeedAsk:
        return FeedAsk("main", page, organic, self.key, receipt)

    def read_on(self, now_ms: int) -> None:
        """The next page, mostly with the receipt of the last one. A refusal changes nothing and is
        obeyed: what is shown from the expected page on is thrown away and asked anew."""
        page, organic = len(self.shown), self.chance.choice((0, 1, 2, 5, 10, 20, 37))
        receipt = self.receipt() if self.chance.random() < 0.8 else None
        limit = self.chance.choice((40, 40, 3, 1))
        before = self.server.feeds.dump()
        try:
            answered = self.server.serve(self.ask(page, organic, receipt), now_ms, limit)
        except Ahead as ahead:
            assert self.server.feeds.dump() == before
            assert ahead.expected_page < page
            live = self.server.feeds.find(self.key, now_ms) is not None
            assert live or receipt is None, "a valid receipt continues its account"
            del self.shown[ahead.expected_page :]
            return
        assert answered.slot.feed is not None
        assert (answered.slot.feed.page, answered.slot.feed.organic) == (page, organic)
        start = self.shown[-1].slot.feed.next if self.shown else 0  # type: ignore[union-attr]
        assert answered.slot.feed.start == start
        self.shown.append(answered)

    def receipt(self) -> str | None:
        return self.shown[-1].slot.feed.receipt if self.shown else None  # type: ignore[union-attr]

    def read_again(self, now_ms: int) -> None:
        """An old page, with another number of items: the same answer, or (state lost) 409."""
        if not self.shown:
            return
        page = self.chance.randrange(len(self.shown))
        account = self.server.feeds.find(self.key, now_ms)
        held = set(account.pages) if account is not None else set()
        try:
            answered = self.server.serve(self.ask(page, self.chance.randrange(200)), now_ms)
        except Ahead:
            assert page not in held
            return
        if page not in held:
            self.shown[page:] = [answered]
            return
        assert answered == self.shown[page]

    def skip_ahead(self, now_ms: int) -> None:
        before = self.server.feeds.dump()
        forged = (self.receipt() or "AAAA")[:-2] + "AA"
        old = self.shown[-2].slot.feed.receipt if len(self.shown) > 1 else None  # type: ignore[union-attr]
        for receipt in (None, forged, old, self.receipt()):
            with pytest.raises(Ahead):
                self.server.serve(
                    self.ask(len(self.shown) + 1 + self.chance.randrange(3), 20, receipt), now_ms
                )
        assert self.server.feeds.dump() == before

    def dry_run(self, now_ms: int) -> None:
        before = self.server.feeds.dump()
        try:
            self.server.serve(self.ask(len(self.shown), 20, self.receipt()), now_ms, live=False)
        except Ahead:
            pass
        assert self.server.feeds.dump() == before

    def check(self) -> None:
        pages = [self.server.items(answered) for answered in self.shown]
        broken = law_broken(self.server.policy, pages)
        assert broken is None, broken
        if self.shown:
            verdict = self.server.receipts.verify(
                {"publisher": "lumen", "placement": "news-feed", "feeds": [wire(a) for a in self.shown]}
            )
            assert verdict["valid"], verdict


def wire(answered: Answered) -> dict[str, object]:
    """The feed object of an answer (API.md, Feeds)."""
    page = answered.slot.feed
    assert page is not None
    receipt = Receipts(b"k" * 32).open(page.receipt)
    return {
        "id": page.feed_id, "page": page.page, "start_position": page.start, "next_position": page.next,
        "organic": page.organic, "sponsored": page.sponsored, "max_share": receipt.rules.max_share,
        "receipt": page.receipt,
    }  # fmt: skip
