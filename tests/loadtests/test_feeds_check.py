"""Law 1's check: sound feeds pass, every kind of wrong one is named. Policy of ``plage/feed``: share 0.08,
max_burst 2, first_position 4, min_gap 5, max_per_page 3, advertiser_gap 10."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from told import WORLD, page

from adserver.domain.feeds import Track
from adserver.engine.feed import Layout
from loadtests import feeds
from loadtests.records import Decision


def violations(*pages: Decision) -> list[str]:
    return feeds.check(list(pages), WORLD).violations


def test_sound_feed_passes_and_is_counted() -> None:
    found = feeds.check([page(0, 0, 20, [12]), page(1, 20, 50, [24, 37]), page(0, 0, 20, [12])], WORLD)
    assert found.violations == []
    assert found.checked["sponsored"] == 3 and found.checked["repeats"] == 1
    assert found.holds


def test_nothing_checked_is_no_success() -> None:
    assert not feeds.check([], WORLD).holds
    assert not feeds.check([page(0, 0, 20, [])], WORLD).holds


@pytest.mark.parametrize(
    ("pages", "named"),
    [
        ([page(0, 0, 20, [11])], "1 sponsored in the first 12 items, at most 0"),
        ([page(0, 0, 40, [12, 23])], "2 sponsored in the first 24 items, at most 1"),
        ([page(0, 0, 60, [40, 45, 50])], "3 sponsored in 11 items from 40, at most 2"),
        ([page(0, 0, 20, [3])], "an ad at 3, before 4"),
        ([page(0, 0, 90, [40, 44])], "3 organic items between 40 and 44, at least 5"),
        ([page(0, 0, 90, [40, 50], "aa")], "9 items between two ads of a, at least 10"),
        ([page(0, 0, 90, [13, 26, 39, 52])], "4 ads, max_per_page is 3"),
        ([page(0, 0, 20, [12]), page(0, 0, 20, [12], digest="other")], "answered differently"),
        ([page(0, 0, 20, [12]), page(1, 19, 50, [])], "page 1 begins at 19, not 20"),
        ([page(0, 5, 20, [12])], "page 0 begins at 5, not 0"),
        ([page(0, 0, 20, [20])], "are not its own"),
    ],
)
def test_wrong_feeds_are_named(pages: list[Decision], named: str) -> None:
    assert any(named in violation for violation in violations(*pages)), violations(*pages)


@pytest.mark.parametrize(
    "pages",
    [
        [page(0, 0, 40, [12, 24, 37])],
        [page(0, 0, 90, [40, 46])],
        [page(0, 0, 90, [40, 51], "aa")],
        [page(0, 0, 90, [40, 46, 52 + 1])],
    ],
)
def test_whatever_is_just_allowed_passes(pages: list[Decision]) -> None:
    assert violations(*pages) == []


def test_a_lost_page_raises_no_alarm() -> None:
    assert violations(page(0, 0, 20, [12]), page(2, 45, 70, [50])) == []


@given(st.lists(st.tuples(st.integers(0, 30), st.text("abc", min_size=12, max_size=12)), max_size=12))
def test_what_the_engine_lays_out_passes(counts: list[tuple[int, str]]) -> None:
    """The engine's layout and the check agree, by different means, on what is lawful."""
    policy = WORLD.feed("plage", "feed")
    assert policy is not None
    track, pages = Track(), []
    for number, (organic, owners) in enumerate(counts):
        layout = Layout(policy, track, organic, 40)
        placed, chosen = [], ""
        for owner in owners:
            position = layout.next_open()
            if position is None:
                break
            if layout.admits(ord(owner)):
                placed.append(layout.place(ord(owner)))
                chosen += owner
            else:
                layout.skip()
        start, track = track.next, layout.finish()
        pages.append(page(number, start, track.next, placed, chosen))
    assert violations(*pages) == []
