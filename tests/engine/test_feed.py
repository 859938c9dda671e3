"""The layout of one page, rule by rule, and the track it leaves behind."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver.domain import limits
from adserver.domain.feeds import Placed, Track
from adserver.domain.inventory import FeedPolicy, Share
from adserver.engine.feed import Layout

HALF = Share(1, 2, "0.5")
WHOLE = Share(1, 1, "1")


def fill(policy: FeedPolicy, organic: int, track: Track | None = None, limit: int = 40) -> Layout:
    """A page with an ad of another advertiser at every open position."""
    layout = Layout(policy, track or Track(), organic, limit)
    while (position := layout.next_open()) is not None:
        layout.place(1000 + position)
    return layout


def positions(policy: FeedPolicy, organic: int, track: Track | None = None, limit: int = 40) -> list[int]:
    return [ad.position for ad in fill(policy, organic, track, limit).placed]


def test_the_example_of_the_contract() -> None:
    layout = fill(FeedPolicy(), 20)
    assert [ad.position for ad in layout.placed] == [16]
    track = layout.finish()
    assert (layout.start, layout.next, layout.organic, layout.sponsored) == (0, 21, 20, 1)
    assert (track.next, track.organic, track.sponsored) == (21, 20, 1)


def test_the_share_is_exact() -> None:
    assert positions(FeedPolicy(max_share=Share(7, 100, "0.07")), 200)[:7] == [14, 28, 42, 57, 71, 85, 99]
    third = Share(333_333, 1_000_000, "0.333333")
    assert positions(FeedPolicy(max_share=third), 10)[:3] == [3, 6, 9]


def test_head_start_lends_items_to_the_prefix() -> None:
    assert positions(FeedPolicy(head_start=16), 60) == [0, 17, 33, 50]


def test_bursts_are_bounded_whatever_was_saved_up() -> None:
    saved = Track(next=100)
    assert positions(FeedPolicy(max_share=HALF, max_burst=1), 10, saved)[:3] == [100, 101, 103]
    assert positions(FeedPolicy(max_share=HALF, max_burst=3), 10, saved)[:5] == [100, 101, 102, 103, 104]


def test_one_in_a_row_and_two_in_a_share() -> None:
    saved = fill(FeedPolicy(max_share=Share(1, 10, "0.1"), first_position=10**6), 200).finish()
    assert positions(FeedPolicy(max_share=Share(1, 10, "0.1")), 30, saved) == [200, 209, 219, 229]


def test_first_position() -> None:
    assert positions(FeedPolicy(max_share=WHOLE, first_position=3, max_per_page=1), 20) == [3]
    assert positions(FeedPolicy(max_share=WHOLE, first_position=20), 20) == []


def test_min_gap_counts_organic_items() -> None:
    assert positions(FeedPolicy(max_share=HALF, max_burst=9, min_gap=4), 15) == [1, 6, 11, 16]


def test_min_gap_reaches_over_pages() -> None:
    policy = FeedPolicy(max_share=WHOLE, min_gap=4)
    track = fill(policy, 1).finish()
    assert track.last == 0
    assert positions(policy, 5, track) == [5]


@pytest.mark.parametrize(("per_page", "limit", "ads"), [(2, 40, 2), (40, 3, 3), (0, 40, 0), (40, 0, 0)])
def test_max_per_page_and_the_ask(per_page: int, limit: int, ads: int) -> None:
    assert len(positions(FeedPolicy(max_share=WHOLE, max_per_page=per_page), 20, limit=limit)) == ads


def test_no_ad_stands_last() -> None:
    assert positions(FeedPolicy(max_share=WHOLE, max_burst=40), 0) == []
    assert positions(FeedPolicy(max_share=HALF), 1) == []
    assert positions(FeedPolicy(max_share=HALF), 2) == [1]
    assert positions(FeedPolicy(), 16) == []
    assert positions(FeedPolicy(), 17) == [16]


def test_nothing_for_sale() -> None:
    assert positions(FeedPolicy(max_share=Share(0, 1, "0")), 200) == []
    assert positions(FeedPolicy(max_share=HALF, max_burst=0), 200) == []


def test_advertisers_keep_their_distance() -> None:
    policy = FeedPolicy(max_share=HALF, max_burst=9, advertiser_gap=4)
    layout = Layout(policy, Track(), 20, 40)
    assert layout.next_open() == 1
    layout.place(7)
    assert layout.next_open() == 3
    assert not layout.admits(7) and layout.admits(8)
    assert layout.opens_later(7)
    layout.skip()
    assert layout.next_open() == 4
    layout.skip()
    assert layout.next_open() == 5
    assert not layout.admits(7)
    layout.skip()
    assert layout.next_open() == 6
    assert layout.admits(7)


def test_skipping_to_where_the_first_may_stand_passes_over_nobody() -> None:
    policy = FeedPolicy(max_share=HALF, max_burst=9, advertiser_gap=4)
    layout = Layout(policy, Track(), 9, 40)
    layout.next_open()
    layout.place(7)
    assert layout.next_open() == 3
    assert (layout.free_from(7), layout.free_from(8)) == (6, 0)
    layout.skip_to(layout.free_from(7))
    assert layout.next_open() == 6 and layout.admits(7)
    layout.skip_to(0)
    assert layout.next_open() == 7
    layout.skip_to(10**9)
    assert layout.next_open() is None
    assert (layout.finish().organic, layout.next) == (9, 10)


def test_labels_exclude_both_ways() -> None:
    policy = FeedPolicy(max_share=WHOLE, max_burst=9, advertiser_gap=2)
    layout = Layout(policy, Track(), 20, 40)
    layout.next_open()
    layout.place(1, ("wine",), ("cars",))
    layout.next_open()
    assert not layout.admits(2, ("cars",))
    assert not layout.admits(2, (), frozenset({"wine"}))
    assert layout.admits(2, ("wine",), ("loans",))
    with pytest.raises(ValueError, match="may not stand"):
        layout.place(2, ("cars",))


def test_nothing_opens_later_than_the_page() -> None:
    policy = FeedPolicy(max_share=HALF, max_burst=9, advertiser_gap=10)
    layout = Layout(policy, Track(), 5, 2)
    assert layout.next_open() == 1
    layout.place(7)
    assert layout.next_open() == 3
    assert not layout.opens_later(7)
    assert layout.opens_later(8)
    layout.skip()
    for position in (4, 5):
        assert layout.next_open() == position
        layout.skip()
    assert layout.next_open() is None
    layout.finish()
    assert layout.next == 6


@pytest.mark.parametrize(("gap", "later"), [(5, True), (6, False)])
def test_the_furthest_place_of_a_page(gap: int, later: bool) -> None:
    """Two other ads and all organic items but one may stand before it: 2 A, 3 A, 4 and 5 organic, 6."""
    policy = FeedPolicy(max_share=WHOLE, max_burst=99, advertiser_gap=gap)
    track = Track().followed([Placed(0, 7)], 1, gap)
    layout = Layout(policy, track, 3, 3)
    for position in (2, 3):
        assert layout.next_open() == position
        assert layout.opens_later(7) is later
        layout.place(100 + position)
    for position in (4, 5):
        assert layout.next_open() == position
        layout.skip()
    assert layout.next_open() == 6
    assert layout.admits(7) is later


@given(
    organic=st.integers(0, 40), gap=st.integers(0, 30), skips=st.lists(st.booleans(), max_size=80),
    limit=st.integers(1, 40), burst=st.integers(1, 5),
)  # fmt: skip
def test_who_may_stand_later_was_told_so(
    organic: int, gap: int, skips: list[bool], limit: int, burst: int
) -> None:
    """Wherever advertiser 1 is admitted, ``opens_later`` said yes at every open position before."""
    layout = Layout(FeedPolicy(max_share=HALF, max_burst=burst, advertiser_gap=gap), Track(), organic, limit)
    refused_for_good = False
    for turn, skip in enumerate(skips):
        if layout.next_open() is None:
            break
        assert not (layout.admits(1) and refused_for_good)
        refused_for_good = refused_for_good or not layout.opens_later(1)
        if skip:
            layout.skip()
        else:
            layout.place(1 if layout.admits(1) and turn % 2 else 100 + turn)
            refused_for_good = refused_for_good and layout.placed[-1].advertiser != 1


def test_asking_twice_is_asking_once_and_nothing_is_placed_unasked() -> None:
    layout = Layout(FeedPolicy(), Track(), 20, 40)
    for call in (layout.skip, lambda: layout.place(1), lambda: layout.admits(1)):
        with pytest.raises(ValueError, match="next_open"):
            call()
    assert layout.next_open() == layout.next_open() == 16
    layout.skip()
    with pytest.raises(ValueError, match="next_open"):
        layout.skip()


def test_finish_is_final() -> None:
    layout = fill(FeedPolicy(max_share=HALF), 10)
    assert layout.finish() == layout.finish()
    assert layout.next_open() is None


def test_an_ad_is_remembered_exactly_as_long_as_it_can_matter() -> None:
    """Ad at 3, page ends before 8: the first position behind it that advertiser 7 may take is 3 + gap + 1."""
    for gap, kept in ((4, 0), (5, 1)):
        track = Track().followed([Placed(3, 7)], 7, gap)
        assert (track.next, len(track.recent), track.forgotten) == (8, kept, -1 if kept else 3)
        layout = Layout(FeedPolicy(max_share=WHOLE, max_burst=9, advertiser_gap=gap), track, 5, 1)
        assert layout.next_open() == 8
        assert layout.admits(7) is (not kept) and layout.admits(8)


def test_a_longer_gap_is_kept_from_ads_already_forgotten() -> None:
    """Under a gap of 2 the ad at 4 was forgotten; a gap of 30 must still be kept from it."""
    short = FeedPolicy(max_share=Share(1, 5, "0.2"), advertiser_gap=2)
    track = fill(short, 6).finish()
    assert (track.last, track.next, track.forgotten, track.recent) == (4, 7, 4, ())
    assert positions(msgspec.structs.replace(short, advertiser_gap=30), 40, track)[0] == 35


def test_a_stricter_share_waits_until_the_whole_is_lawful() -> None:
    track = fill(FeedPolicy(max_share=HALF), 10).finish()
    assert track.sponsored == 9 and track.next == 19
    strict = FeedPolicy(max_share=Share(1, 10, "0.1"))
    assert positions(strict, 90, track)[0] == 99


@given(
    gaps=st.lists(st.integers(1, 40), max_size=120),
    num=st.integers(1, 100),
    den=st.integers(100, 1000),
    cut=st.integers(1, 20),
)
def test_the_hull_knows_the_anchor_of_every_share(gaps: list[int], num: int, den: int, cut: int) -> None:
    """Exact while it has few corners, however the ads came in; at most smaller beyond."""
    track, at, ads = Track(), -1, []
    for begin in range(0, len(gaps), cut):
        placed = []
        for gap in gaps[begin : begin + cut]:
            at += gap
            placed.append(Placed(at, 1))
        organic = at + 2 - track.next - len(placed)
        track = track.followed(placed, organic, 0)
        at = track.next - 1
        ads += [ad.position for ad in placed]
    share = Share(num, den, "")
    exact = min((i * den - num * s for i, s in enumerate(ads, 1)), default=None)
    assert track.anchor(share) == exact
    assert track.sponsored == len(ads)


def test_a_hull_of_many_corners_is_cut_on_the_safe_side() -> None:
    """Ads ever denser: every one a corner. At most the bound is kept, and no anchor is too great."""
    steps = [100 * n for n in range(80, 0, -1)]
    ads = [sum(steps[: n + 1]) for n in range(len(steps))]
    track = Track()
    for position in ads:
        track = track.followed([Placed(position, 1)], position - track.next + 1, 0)
        assert len(track.hull) <= limits.FEED_HULL_POINTS
    for num in range(1, 100):
        exact = min(i * 10_000 - num * s for i, s in enumerate(ads, 1))
        kept = track.anchor(Share(num, 10_000, ""))
        assert kept is not None
        assert exact - 10 * 10_000 <= kept <= exact


def test_shortening_makes_it_stricter() -> None:
    policy = FeedPolicy(max_share=HALF, max_burst=9, advertiser_gap=50)
    track = fill(policy, 10).finish()
    assert len(track.recent) == 9 and track.forgotten == -1
    short = track.shortened(4)
    assert [ad.position for ad in short.recent] == [ad.position for ad in track.recent[-4:]]
    assert short.forgotten == track.recent[4].position
    assert track.shortened(9) is track
    assert positions(policy, 200, short)[0] == short.forgotten + 51


def test_a_track_is_small_and_survives_encoding() -> None:
    policy = FeedPolicy(advertiser_gap=30)
    track = Track()
    for _ in range(50):
        track = fill(policy, 20, track).finish()
    encoded = msgspec.msgpack.encode(track)
    assert msgspec.msgpack.decode(encoded, type=Track) == track
    assert len(encoded) < 64
