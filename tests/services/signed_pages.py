"""Signed feed pages for the tests of receipts and their audit, lawful or not."""

from typing import Any

import msgspec

from adserver.domain.decision import FeedPage
from adserver.domain.feeds import Placed, Track
from adserver.domain.inventory import FeedPolicy, Share
from adserver.engine.feed import Layout
from adserver.services.receipts import Receipts

NOW = 1_800_000_000_000
ANNA, BEN = b"a" * 16, b"b" * 16
KEY = bytes(range(32))
OURS = Receipts(KEY)
PLACEMENT = "lumen/news-feed"
BROAD = FeedPolicy(max_share=Share(1, 1, "1"), max_burst=100, max_per_page=100)


def page(
    placed: list[Placed], organic: int = 20, number: int = 0, policy: FeedPolicy | None = None,
    before: "Page | None" = None, account: bytes = ANNA,
) -> "Page":  # fmt: skip
    """A signed page with these ads, lawful or not."""
    track = before.track if before is not None else Track()
    policy = policy or FeedPolicy()
    behind = track.followed(placed, organic, policy.advertiser_gap)
    feed = FeedPage(account, "main", number, track.next, behind.next, organic, len(placed))
    previous = before.receipt if before is not None else ""
    text = OURS.issue(feed, PLACEMENT, policy, placed, behind, previous, NOW + number)
    return Page(feed, policy, behind, text)


class Page(msgspec.Struct):
    feed: FeedPage
    policy: FeedPolicy
    track: Track
    receipt: str

    def wire(self, **changed: Any) -> dict[str, Any]:
        return {
            "id": self.feed.feed_id, "page": self.feed.page, "start_position": self.feed.start,
            "next_position": self.feed.next, "organic": self.feed.organic, "sponsored": self.feed.sponsored,
            "max_share": self.policy.max_share.text, "receipt": self.receipt,
        } | changed  # fmt: skip


def session(pages: int, policy: FeedPolicy | None = None) -> list[Page]:
    """Lawful pages, as the server makes them."""
    done: list[Page] = []
    for number in range(pages):
        before = done[-1] if done else None
        layout = Layout(policy or FeedPolicy(), before.track if before else Track(), 20, 40)
        while (position := layout.next_open()) is not None:
            layout.place(1000 + position)
        done.append(page(list(layout.placed), 20, number, policy, before))
    return done
