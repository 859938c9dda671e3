"""What is sold in a village, to whose feeds, and what its readers see, item by item."""

import json
import sys
from pathlib import Path
from random import Random
from typing import Any

from kills import line_item

from adserver.domain.inventory import FeedPolicy

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "properties"))

from feed_sessions import Candidate, law_broken
from test_feed_law import greedy_by_trying, share

__all__ = [
    "Labels", "greedy_by_trying", "items_of", "labels_of", "law_broken", "plenty", "policy_of", "random_feed",
    "scarce",
]  # fmt: skip

SHARES = ("0.02", "0.05", "0.06", "0.06", "0.1", "0.25", "0.333333", "0.5", "1")
LABELS = ("wine", "cars", "loans")

Labels = dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
"""Advertiser -> the labels of its campaign, and those it excludes."""


def random_feed(chance: Random, name: str) -> dict[str, Any]:
    """A feed placement's document; only rules that bind are named."""
    text = chance.choice(SHARES)
    policy = {
        "max_share": text,
        "account_idle": "20m",
        "account": chance.choice(("session", "session", "user")),
        "head_start": chance.choice((0, 0, chance.randrange(max(1, int(1 / float(text)))))),
        "max_burst": chance.choice((1, 1, 2, 3)),
        "first_position": chance.choice((0, 0, 1, 3, 25)),
        "min_gap": chance.choice((0, 0, 1, 4, 12)),
        "advertiser_gap": chance.choice((0, 0, 3, 10, 30)),
        "max_per_page": chance.choice((40, 40, 1, 2, 5)),
    }
    return {"id": name, "surface": "feed", "formats": ["image"], "feed": policy}


def policy_of(feed: dict[str, Any]) -> FeedPolicy:
    """The policy as the checker reads it."""
    rules = {name: value for name, value in feed.items() if name not in ("max_share", "account_idle")}
    return FeedPolicy(max_share=share(feed["max_share"]), **rules)


def plenty() -> list[tuple[str, dict[str, Any]]]:
    """More advertisers than any page has room for; nothing holds them back."""
    return [sold(n, [line_item(id="open")]) for n in range(45)]


def scarce(chance: Random, first: int = 0) -> list[tuple[str, dict[str, Any]]]:
    """A few advertisers with caps, budgets and labels: often nobody can take a position."""

    def some() -> list[str]:
        return [label for label in LABELS if chance.random() < 0.25]

    def item(name: str) -> dict[str, Any]:
        more: dict[str, Any] = {"pricing": {"model": "cpm", "amount": f"{chance.randrange(1, 9)}.00"}}
        if chance.random() < 0.5:
            scope = chance.choice(("line_item", "advertiser", "campaign"))
            more["frequency_caps"] = [{"limit": chance.randrange(1, 6), "per": "1h", "scope": scope}]
        if chance.random() < 0.4:
            more["budget"] = {"lifetime": chance.choice(("0.05", "0.50"))}
        return line_item(id=name, **more)

    return [
        sold(
            n, [item("one"), item("two")], labels=some(), exclude_labels=some(), repeat_in_request=n % 2 == 0
        )
        for n in range(chance.choice((1, 4, 8)))
    ]


def sold(number: int, items: list[dict[str, Any]], **more: Any) -> tuple[str, dict[str, Any]]:
    document = {
        "advertiser": f"a{number}", "campaign": "c", "currency": "EUR", "timezone": "UTC",
        "line_items": items, **{name: value for name, value in more.items() if value != []},
    }  # fmt: skip
    return f"a{number}/c.json", document


def labels_of(campaigns: list[tuple[str, dict[str, Any]]]) -> Labels:
    return {
        document["advertiser"]: (tuple(document.get("labels", ())), tuple(document.get("exclude_labels", ())))
        for _, document in campaigns
    }


def items_of(entry: bytes, labels: Labels) -> list[Candidate | None]:
    """A page's entry of an answer, item by item, as a reader sees it."""
    told = json.loads(entry)
    feed = told["feed"]
    placed = {
        ad["position"]: Candidate(int(ad["advertiser"][1:]), *labels[ad["advertiser"]]) for ad in told["ads"]
    }
    positions = range(feed["start_position"], feed["next_position"])
    assert len(placed) == len(told["ads"]) == feed["sponsored"] == len(positions) - feed["organic"]
    assert all(position in positions for position in placed)
    return [placed.get(position) for position in positions]
