"""Law 1 over random feed sessions: whatever pages are asked for, in whatever order, across restarts, lost
state and receipts, the feed a reader saw obeys every rule at every prefix and window.

The checker below shares nothing with the engine: it lays the answered pages out item by item and compares
counts with exact fractions. A session is a function of its number; a failure names it.
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
from adserver.domain.inventory import FeedPolicy, Share
from adserver.domain.records import Decided
from adserver.domain.request import FeedAsk
from adserver.engine.feed import Layout
from adserver.services.receipts import Receipts
from adserver.state.feeds import FeedAccounts

SHARES = ("0.06", "0.05", "0.07", "0.5", "1", "0.001", "0.333333", "0.25", "0.999999", "0.1", "0.02")
LABELS = ("wine", "cars", "loans", "toys")
IDLE_MS = 4 * 3600_000
PLACEMENT = "lumen/news-feed"


@dataclass(frozen=True)
class Candidate:
    advertiser: int
    labels: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


def share(text: str) -> Share:
    exact = Fraction(text)
    return Share(exact.numerator, exact.denominator, text)


def random_policy(chance: Random) -> FeedPolicy:
    text = chance.choice(SHARES)
    return FeedPolicy(
        max_share=share(text),
        head_start=chance.choice((0, 0, chance.randrange(max(1, int(1 / Fraction(text)))))),
        max_burst=chance.choice((1, 1, 2, 3, 10)),
        first_position=chance.choice((0, 0, 1, 3, 25)),
        min_gap=chance.choice((0, 0, 1, 4, 12)),
        advertiser_gap=chance.choice((0, 0, 3, 10, 30)),
        max_per_page=chance.choice((40, 40, 1, 2, 5)),
        account_idle_ms=IDLE_MS,
    )


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
    return _spacing_broken(policy, [(p, item) for p, item in enumerate(items) if item is not None])


def _spacing_broken(policy: FeedPolicy, ads: list[tuple[int, Candidate]]) -> str | None:
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
            assert receipt is None, "a valid receipt continues its account"
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


def random_candidates(chance: Random) -> list[Candidate]:
    def some() -> tuple[str, ...]:
        return tuple(label for label in LABELS if chance.random() < 0.15)

    return [Candidate(chance.randrange(1, 12), some(), some()) for _ in range(chance.choice((1, 3, 8)))]


def run_session(number: int) -> int:
    """Returns how many ads were shown."""
    chance = Random(number)
    policy = random_policy(chance)
    server = Server(policy, random_candidates(chance), chance, chance.choice((0.0, 0.0, 0.5)))
    readers = [Reader(bytes([n]) * 16, server, chance) for n in range(chance.choice((1, 1, 2, 3)))]
    now_ms = 1_800_000_000_000
    for _ in range(chance.randrange(4, 24)):
        now_ms += chance.randrange(30_000)
        step(server, chance.choice(readers), now_ms, chance)
        if chance.random() < 0.02:
            now_ms += IDLE_MS + 1
            server.feeds.sweep(now_ms)
    for reader in readers:
        reader.check()
    return sum(len(answered.slot.ads) for reader in readers for answered in reader.shown)


def step(server: Server, reader: Reader, now_ms: int, chance: Random) -> None:
    roll = chance.random()
    if roll < 0.65:
        reader.read_on(now_ms)
    elif roll < 0.77:
        reader.read_again(now_ms)
    elif roll < 0.83:
        reader.skip_ahead(now_ms)
    elif roll < 0.87:
        reader.dry_run(now_ms)
    elif roll < 0.90:
        server.checkpoint = (server.feeds.dump(), len(server.records))
    elif roll < 0.95:
        server.restart(chance.choice(("records", "checkpoint")))
    elif roll < 0.97:
        server.restart("lost")
    else:
        server.power_cut(chance.randrange(1, 4))


def run_sessions(numbers: range) -> None:
    shown = 0
    for number in numbers:
        try:
            shown += run_session(number)
        except BaseException as error:
            error.add_note(f"feed session {number}")
            raise
    assert shown > len(numbers), "the sessions showed hardly an ad"


def test_the_law_holds_in_500_random_sessions() -> None:
    run_sessions(range(500))


@pytest.mark.slow
def test_the_law_holds_in_10_000_random_sessions() -> None:
    run_sessions(range(500, 10_500))


# -- not too strict either -----------------------------------------------------------------------


def most_by_trying(policy: FeedPolicy, organics: list[int]) -> int:
    """The most ads the law allows on pages of these many organic items, every ad another advertiser's:
    all layouts, tried one item at a time; of those that reach the same situation, one suffices."""
    exact = Fraction(policy.max_share.text)
    layouts: set[tuple[int, ...]] = {()}
    for organic in organics:
        layouts = {done for ads in layouts for done in _pages(policy, exact, ads, organic)}
    return max(sum(ads) for ads in layouts)


def _pages(
    policy: FeedPolicy, exact: Fraction, before: tuple[int, ...], organic: int
) -> list[tuple[int, ...]]:
    done, open_ = [], [(before, organic, 0)]
    while open_:
        items, left, on_page = open_.pop()
        if left == 0:
            if not items or items[-1] == 0 or len(items) == len(before):
                done.append(items)
            continue
        open_.append(((*items, 0), left - 1, on_page))
        if on_page < policy.max_per_page and _may_stand(policy, exact, items):
            open_.append(((*items, 1), left, on_page + 1))
    return done


def _may_stand(policy: FeedPolicy, exact: Fraction, items: tuple[int, ...]) -> bool:
    position, total = len(items), sum(items) + 1
    if position < policy.first_position or total > floor(exact * (position + 1 + policy.head_start)):
        return False
    if any(items[max(0, position - policy.min_gap) :]):
        return False
    return all(
        sum(items[begin:]) + 1 <= floor(exact * (position + 1 - begin)) + policy.max_burst
        for begin in range(position + 1)
    )


def greedy_by_trying(policy: FeedPolicy, organics: list[int]) -> int:
    """The same with an ad wherever one may stand: for feeds too long for all layouts."""
    exact, items = Fraction(policy.max_share.text), ()
    for organic in organics:
        on_page = 0
        while organic:
            ad = on_page < policy.max_per_page and _may_stand(policy, exact, items)
            items, on_page, organic = (*items, int(ad)), on_page + ad, organic - (not ad)
    return sum(items)


def served(policy: FeedPolicy, organics: list[int]) -> int:
    """What we serve where there is no lack of candidates."""
    plenty = [Candidate(n) for n in range(60)]
    server = Server(policy, plenty, Random(0))
    reader = Reader(b"r" * 16, server, Random(0))
    for page, organic in enumerate(organics):
        reader.shown.append(server.serve(reader.ask(page, organic), 1_800_000_000_000))
    assert law_broken(policy, [server.items(a) for a in reader.shown]) is None
    return sum(len(answered.slot.ads) for answered in reader.shown)


@pytest.mark.parametrize("number", range(150))
def test_no_layout_of_a_short_feed_has_more_ads(number: int) -> None:
    chance = Random(number)
    policy = msgspec.structs.replace(
        random_policy(chance), max_share=share(chance.choice(("0.5", "0.25", "0.333333", "1", "0.4"))),
        head_start=chance.choice((0, 0, 1)), advertiser_gap=0, max_per_page=chance.choice((1, 2, 3)),
    )  # fmt: skip
    organics = [chance.randrange(5) for _ in range(3)]
    assert served(policy, organics) == most_by_trying(policy, organics)


@pytest.mark.parametrize("number", range(60))
def test_long_feeds_carry_what_the_law_allows(number: int) -> None:
    chance = Random(number)
    policy = msgspec.structs.replace(random_policy(chance), advertiser_gap=chance.choice((0, 30)))
    organics = [chance.choice((0, 1, 5, 20)) for _ in range(8)]
    ads, most = served(policy, organics), greedy_by_trying(policy, organics)
    assert ads == most if policy.advertiser_gap == 0 else 2 * ads >= most


def test_a_plain_feed_carries_its_whole_share() -> None:
    for text in SHARES:
        policy = FeedPolicy(max_share=share(text))
        ads = served(policy, [20] * 10)
        total = 200 + ads
        assert ads >= min(10 * 40, floor(Fraction(text) * total)) - 1


# -- a policy edited between pages ---------------------------------------------------------------


@pytest.mark.parametrize("number", range(200))
def test_each_ad_obeys_the_policy_of_its_own_page_against_the_whole_past(number: int) -> None:
    chance = Random(number)
    candidates = random_candidates(chance)
    server = Server(random_policy(chance), candidates, chance)
    reader = Reader(b"e" * 16, server, chance)
    items: list[Candidate | None] = []
    for page in range(12):
        if chance.random() < 0.5:
            server.policy = random_policy(chance)
        if chance.random() < 0.2:
            server.restart("records")
        answered = server.serve(reader.ask(page, chance.choice((1, 5, 20))), 1_800_000_000_000)
        for item in server.items(answered):
            if item is not None:
                broken = newest_breaks(server.policy, items, item)
                assert broken is None, broken
            items.append(item)


def newest_breaks(policy: FeedPolicy, before: list[Candidate | None], ad: Candidate) -> str | None:
    """The rule that an ad behind ``before`` breaks: every prefix and window that ends with it."""
    exact, position = Fraction(policy.max_share.text), len(before)
    items = tuple(int(item is not None) for item in before)
    if sum(items) + 1 > floor(exact * (position + 1 + policy.head_start)):
        return "max_share"
    if not _may_stand(msgspec.structs.replace(policy, head_start=10**9), exact, items):
        return "max_burst, min_gap or first_position"
    near = [
        (p, item)
        for p, item in enumerate(before)
        if item is not None and position - p - 1 < policy.advertiser_gap
    ]
    # No spacing between the earlier ones is judged: they stood under another policy.
    for p, item in near:
        broken = _spacing_broken(
            msgspec.structs.replace(policy, first_position=0, min_gap=0), [(p, item), (position, ad)]
        )
        if broken:
            return broken
    return None
