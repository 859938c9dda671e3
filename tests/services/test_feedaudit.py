"""The audit of receipts: which offence it names."""

from typing import Any

import msgspec
import pytest
from signed_pages import BEN, BROAD, OURS, Page, page, session

from adserver.domain import limits
from adserver.domain.feeds import Placed, Track
from adserver.domain.inventory import FeedPolicy, Share


def body(*feeds: Any, **changed: Any) -> dict[str, Any]:
    wires = [feed.wire() if isinstance(feed, Page) else feed for feed in feeds]
    return {"publisher": "lumen", "placement": "news-feed", "feeds": wires} | changed


def offence(*feeds: Any, **changed: Any) -> tuple[int, int | None, int | None, str]:
    verdict = OURS.verify(body(*feeds, **changed))
    assert verdict["valid"] is False
    told = verdict["offence"]
    assert verdict["checked"] == told["index"] and told["message"]
    return told["index"], told["page"], told["position"], told["rule"]


# -- the audit -----------------------------------------------------------------------------------


def test_a_lawful_session_is_valid() -> None:
    pages = session(50, FeedPolicy(min_gap=4, first_position=3, max_per_page=2))
    assert sum(each.feed.sponsored for each in pages) >= 50
    assert OURS.verify(body(*pages, session="s-1")) == {"valid": True, "checked": 50, "offence": None}


def test_what_was_told_must_be_what_was_signed() -> None:
    pages = session(3)
    for name, value in {
        "id": "other", "page": 7, "start_position": 22, "next_position": 41, "organic": 19, "sponsored": 0,
        "max_share": "0.060", "max_share ": None,
    }.items():  # fmt: skip
        changed = pages[1].wire(**{name.strip(): value})
        assert offence(pages[0], changed, pages[2])[0::3] == (1, "altered")
    assert offence(pages[0].wire(page=False)) == (0, None, None, "altered")
    assert offence(pages[0].wire(sponsored=1.0))[3] == "altered"


def test_a_forged_receipt_is_named() -> None:
    pages = session(3)
    forged = pages[1].wire(receipt=pages[1].receipt[:-4] + "AAAA")
    assert offence(pages[0], forged, pages[2]) == (1, 1, None, "signature")


def test_another_placement_and_another_account() -> None:
    pages = session(2)
    assert offence(*pages, placement="home-top")[3] == "placement"
    assert offence(*pages, publisher="other")[3] == "placement"
    other = page([], 20, 1, before=pages[0], account=BEN)
    assert offence(pages[0], other) == (1, 1, None, "account")


def test_pages_must_follow() -> None:
    pages = session(4)
    assert offence(pages[1]) == (0, 1, None, "order")
    assert offence(pages[0], pages[0])[3] == "order"
    assert offence(pages[0], pages[2])[3] == "order"
    twin = page([], 20, 0)
    assert offence(twin, pages[1])[0::3] == (1, "chain")


def test_contiguity_positions_and_totals() -> None:
    first = page([], 20, 0, BROAD)
    gap = msgspec.structs.replace(first, track=Track(next=25))
    assert offence(first, page([], 20, 1, BROAD, gap))[3] == "contiguity"
    assert offence(page([Placed(20, 1)], 20, 0, BROAD)) == (0, 0, 20, "positions")
    assert offence(page([Placed(5, 1), Placed(5, 2)], 20, 0, BROAD)) == (0, 0, 5, "positions")
    more = msgspec.structs.replace(first, track=Track(next=20, sponsored=1))
    assert offence(first, page([], 20, 1, BROAD, more))[3] == "totals"


@pytest.mark.parametrize(
    ("policy", "ads", "position", "rule"),
    [
        ({"max_share": Share(6, 100, "0.06")}, [15], 15, "max_share"),
        ({"max_share": Share(6, 100, "0.06")}, [16, 32], 32, "max_share"),
        ({"max_share": Share(1, 2, "0.5"), "head_start": 1}, [1, 2, 3], 3, "max_share"),
        ({"max_burst": 2, "max_share": Share(1, 4, "0.25")}, [15, 16, 17], 17, "max_burst"),
        ({"first_position": 6}, [5, 6], 5, "first_position"),
        ({"min_gap": 3}, [2, 5], 5, "min_gap"),
        ({"advertiser_gap": 6}, [2, 9, 15], 15, "advertiser_gap"),
        ({"max_per_page": 2}, [2, 5, 8], 8, "max_per_page"),
    ],
)
def test_the_first_offending_prefix_is_named(
    policy: dict[str, Any], ads: list[int], position: int, rule: str
) -> None:
    bad = msgspec.structs.replace(BROAD, **policy)
    first = page([], 1, 0, bad)
    shifted = [Placed(ad, 7) for ad in ads]
    assert offence(first, page(shifted, 40, 1, bad, first)) == (1, 1, position, rule)


def test_windows_reach_over_pages_and_policies() -> None:
    """Lawful under the policies of pages 0 and 1, too much in a run under that of page 2."""
    wide = FeedPolicy(max_share=Share(1, 2, "0.5"), max_burst=5)
    tight = FeedPolicy(max_share=Share(1, 4, "0.25"), max_burst=1)
    pages = [page([], 100, 0, wide)]
    pages.append(page([Placed(100, 1), Placed(102, 2), Placed(104, 3)], 20, 1, wide, pages[-1]))
    lawful = page([Placed(125, 4)], 20, 2, tight, pages[-1])
    early = page([Placed(109 + 14, 4), Placed(124, 5)], 20, 2, tight, pages[-1])
    assert OURS.verify(body(*pages, lawful))["valid"]
    assert offence(*pages, early) == (2, 2, 124, "max_burst")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "an object"),
        ({}, "publisher"),
        ({"publisher": 1}, "publisher"),
        (body() | {"placement": None}, "placement"),
        (body(session=5), "session"),
        (body(extra=1), "extra: not a field"),
        (body(), "at least one"),
        (body(feeds="x"), "feeds"),
        (body(5), r"feeds\[0\]"),
        (body({"page": 0}), r"feeds\[0\].receipt"),
        (body(*[{"receipt": ""}] * (limits.RECEIPTS_PER_VERIFICATION + 1)), "at most"),
    ],
)
def test_other_shapes_are_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OURS.verify(wrong)


def test_as_many_receipts_as_allowed_are_checked() -> None:
    pages = session(200)
    wires = [each.wire() for each in pages] * 50
    assert len(wires) == limits.RECEIPTS_PER_VERIFICATION
    verdict = OURS.verify(body(*wires))
    assert (verdict["checked"], verdict["offence"]["rule"]) == (200, "order")
