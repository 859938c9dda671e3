"""Feed accounts: whose page it is, what is kept, and when it goes."""

import sys
import tracemalloc

import msgspec
import pytest

from adserver.domain import ids
from adserver.domain.decision import Ad, Decision, FeedPage, Origin, Slot
from adserver.domain.feeds import Ahead, Answered, Placed, Standing, Track
from adserver.domain.inventory import FeedPolicy
from adserver.domain.records import Decided
from adserver.domain.request import FeedAsk
from adserver.services.receipts import Receipts
from adserver.state.feeds import FeedAccounts

NOW = 1_800_000_000_000
IDLE = 4 * 3600_000
ANNA, BEN = b"a" * 16, b"b" * 16
RECEIPTS = Receipts(b"k" * 32)


def ask(page: int, account: bytes = ANNA, receipt: str | None = None) -> FeedAsk:
    return FeedAsk("main", page, 20, account, receipt)


def origin_of(decision: Decision) -> Origin:
    return Origin(decision.request_id, decision.key_id, 5)


def answer(
    feeds: FeedAccounts, page: int, account: bytes = ANNA, now_ms: int = NOW, receipt: str | None = None,
    idle_ms: int = IDLE, live: bool = True,
) -> tuple[Answered, Decided]:  # fmt: skip
    """Decide the page with one ad of 20 items, and commit it."""
    standing = feeds.turn(ask(page, account, receipt), now_ms, RECEIPTS.standing)
    assert isinstance(standing, Standing)
    start = standing.track.next
    placed = [Placed(start + 16, 7)]
    track = standing.track.followed(placed, 20, 0)
    feed = FeedPage(account, "main", page, start, track.next, 20, 1, continued=standing.continued)
    policy = FeedPolicy(account_idle_ms=idle_ms)
    text = RECEIPTS.issue(feed, "lumen/news-feed", policy, placed, track, standing.receipt, now_ms)
    feed = msgspec.structs.replace(feed, receipt=text)
    slot = Slot(3, "news-feed", (Ad(1, 11, 12, 4_200_000, 4_200_000, 4_200_000, start + 16),), feed=feed)
    decision = Decision(ids.mint(now_ms, hash((account, page)), 0), 1, 1, (slot,), key_id=2)
    answered = Answered(slot, origin_of(decision))
    if live:
        feeds.commit(answered, track, now_ms, idle_ms)
    return answered, Decided(decision)


def test_an_unknown_account_expects_page_0() -> None:
    feeds = FeedAccounts()
    assert feeds.turn(ask(0), NOW) == Standing()
    for page in (1, 5, 2**31 - 1):
        with pytest.raises(Ahead) as ahead:
            feeds.turn(ask(page), NOW)
        assert ahead.value.expected_page == 0
    assert len(feeds) == 0


def test_pages_follow_and_are_answered_again() -> None:
    feeds = FeedAccounts()
    pages = [answer(feeds, n)[0] for n in range(3)]
    for n, page in enumerate(pages):
        assert feeds.turn(ask(n), NOW) == page
        assert feeds.answered(ANNA, n, NOW) == page
    assert feeds.answered(ANNA, 3, NOW) is None
    with pytest.raises(Ahead) as ahead:
        feeds.turn(ask(4), NOW)
    assert ahead.value.expected_page == 3
    standing = feeds.turn(ask(3), NOW)
    assert isinstance(standing, Standing)
    assert (standing.track.next, standing.track.sponsored, standing.continued) == (63, 3, False)
    assert pages[2].slot.feed is not None and standing.receipt == pages[2].slot.feed.receipt


def test_accounts_are_apart() -> None:
    feeds = FeedAccounts()
    answer(feeds, 0)
    answer(feeds, 1)
    answer(feeds, 0, BEN)
    assert len(feeds) == 2
    with pytest.raises(Ahead):
        feeds.turn(ask(2, BEN), NOW)


def test_reading_leaves_no_trace() -> None:
    feeds = FeedAccounts()
    answer(feeds, 0)
    before = feeds.dump()
    later = NOW + IDLE
    feeds.turn(ask(0), later)
    feeds.turn(ask(1), later)
    answer(feeds, 1, live=False, now_ms=later)
    answer(feeds, 0, BEN, live=False, now_ms=later)
    assert feeds.dump() == before


def test_idle_time_is_counted_from_the_last_answer() -> None:
    feeds = FeedAccounts()
    answer(feeds, 0)
    assert feeds.find(ANNA, NOW + IDLE) is not None
    assert feeds.find(ANNA, NOW + IDLE + 1) is None
    assert feeds.answered(ANNA, 0, NOW + IDLE) is not None
    feeds.touch(ANNA, NOW + IDLE)
    assert feeds.find(ANNA, NOW + 2 * IDLE) is not None
    feeds.touch(ANNA, NOW + 2 * IDLE)
    assert feeds.find(ANNA, NOW + 3 * IDLE) is not None
    feeds.touch(ANNA, NOW + 3 * IDLE + 1)
    assert feeds.find(ANNA, NOW + 3 * IDLE + 1) is None


def test_an_expired_account_begins_anew_or_goes_on_with_its_receipt() -> None:
    feeds = FeedAccounts()
    first = answer(feeds, 0)[0].slot.feed
    assert first is not None
    later = NOW + IDLE + 1
    with pytest.raises(Ahead) as ahead:
        feeds.turn(ask(1), later)
    assert ahead.value.expected_page == 0
    went_on = feeds.turn(ask(1, receipt=first.receipt), later, RECEIPTS.standing)
    assert isinstance(went_on, Standing) and went_on.continued and went_on.track.next == 21
    assert feeds.turn(ask(0, receipt=first.receipt), later, RECEIPTS.standing) == Standing()
    anew = answer(feeds, 0, now_ms=later)[0]
    assert feeds.turn(ask(0), later) == anew


def test_a_live_account_knows_better_than_any_receipt() -> None:
    """Receipts of an earlier life would set it back, page after page, each time to a fresh share."""
    feeds = FeedAccounts()
    earlier = [answer(feeds, page)[0].slot.feed for page in range(3)]
    later = NOW + 5 * 3_600_000
    answer(feeds, 0, now_ms=later)
    for page in earlier:
        assert page is not None
        with pytest.raises(Ahead) as ahead:
            feeds.turn(ask(page.page + 2, receipt=page.receipt), later, RECEIPTS.standing)
        assert ahead.value.expected_page == 1


def test_a_receipt_never_takes_an_account_back() -> None:
    feeds = FeedAccounts()
    page_0 = answer(feeds, 0)[0].slot.feed
    page_1 = answer(feeds, 1)[0]
    assert page_0 is not None
    assert feeds.turn(ask(1, receipt=page_0.receipt), NOW, RECEIPTS.standing) == page_1


def test_receipts_are_opened_only_where_state_does_not_know() -> None:
    feeds = FeedAccounts()
    answer(feeds, 0)
    answer(feeds, 1)

    def never(_: FeedAsk) -> Standing | None:
        raise AssertionError("opened")

    for page in (0, 1, 2):
        feeds.turn(ask(page), NOW, never)


def test_a_page_out_of_turn_is_not_committed() -> None:
    feeds = FeedAccounts()
    page_0 = answer(feeds, 0)[0]
    before = feeds.dump()
    with pytest.raises(ValueError, match="page 0 committed where page 1 is next"):
        feeds.commit(page_0, Track(), NOW, IDLE)
    with pytest.raises(ValueError, match="not a slot of a feed"):
        feeds.commit(Answered(Slot(1, "home-top"), page_0.origin), Track(), NOW, IDLE)
    assert feeds.dump() == before


def test_the_journal_alone_restores_everything() -> None:
    feeds, restored = FeedAccounts(), FeedAccounts()
    records = [answer(feeds, n, who, NOW + n)[1] for n in range(3) for who in (ANNA, BEN)]
    records.append(answer(feeds, 0, ANNA, NOW + IDLE + 3)[1])
    for record in records:
        restored.restore(record, origin_of)
    assert restored.dump() == feeds.dump()
    with pytest.raises(Ahead):
        restored.turn(ask(3), NOW + IDLE + 3)


def test_a_checkpoint_and_the_records_behind_it_restore_everything() -> None:
    feeds, restored = FeedAccounts(), FeedAccounts()
    answer(feeds, 0)
    answer(feeds, 0, BEN)
    restored.load(feeds.dump())
    restored.restore(answer(feeds, 1, now_ms=NOW + 5)[1], origin_of)
    assert restored.dump() == feeds.dump()


def test_a_continued_page_restores_with_its_whole_past() -> None:
    feeds, lost, restored = FeedAccounts(), FeedAccounts(), FeedAccounts()
    page_0 = answer(feeds, 0)[0].slot.feed
    assert page_0 is not None
    restored.restore(answer(lost, 1, receipt=page_0.receipt)[1], origin_of)
    assert restored.dump() == lost.dump()
    standing = restored.turn(ask(2), NOW)
    assert isinstance(standing, Standing) and standing.track.next == 42


def test_a_journalled_repeat_only_touches() -> None:
    feeds = FeedAccounts()
    page_0, _ = answer(feeds, 0)
    again = msgspec.structs.replace(page_0.slot, repeated=page_0.origin)
    plain = Slot(1, "home-top")
    feeds.restore(Decided(Decision(ids.mint(NOW + IDLE, 1, 0), 1, 1, (plain, again))), origin_of)
    assert feeds.find(ANNA, NOW + 2 * IDLE) is not None
    assert feeds.turn(ask(0), NOW) == page_0


@pytest.mark.parametrize("dumped", [b"", b"\xc0", msgspec.msgpack.encode((99, []))])
def test_a_foreign_dump_is_refused(dumped: bytes) -> None:
    with pytest.raises(ValueError, match="dump"):
        FeedAccounts().load(dumped)


def test_sweeping_drops_the_idle_and_nobody_else() -> None:
    feeds = FeedAccounts()
    for n in range(300):
        answer(feeds, 0, n.to_bytes(16, "big"), NOW + 1000 * n, idle_ms=IDLE if n % 3 else 30 * 86_400_000)
    now = NOW + IDLE + 150_500 + 60_000
    feeds.touch((1).to_bytes(16, "big"), NOW + IDLE)
    live = {n for n in range(300) if feeds.find(n.to_bytes(16, "big"), now) is not None}
    looked = 0
    while (swept := feeds.sweep(now, most=7)) == 7:
        looked += swept
    assert looked <= 300
    kept = {n for n in range(300) if n.to_bytes(16, "big") in feeds._accounts}
    assert live <= kept
    assert len(kept - live) <= 60, "who went idle within the last minute may still be here"
    assert 1 in kept and 2 not in kept
    feeds.sweep(NOW + 31 * 86_400_000)
    assert len(feeds) == 0 and feeds.sweep(NOW + 90 * 86_400_000) == 0


def test_an_account_that_comes_back_is_scheduled_once() -> None:
    feeds = FeedAccounts()
    for life in range(50):
        answer(feeds, 0, now_ms=NOW + life * (IDLE + 1))
    assert sum(map(len, feeds._due.values())) == 1
    assert feeds.sweep(NOW + 60 * IDLE) + feeds.sweep(NOW + 60 * IDLE) >= 1
    feeds.sweep(NOW + 60 * IDLE)
    assert len(feeds) == 0


def test_an_account_takes_as_many_bytes_as_stated() -> None:
    """0.8 KB with one page of one ad, 0.4 KB for each further page, all containers included."""
    tracemalloc.start()
    try:
        feeds = FeedAccounts()
        sizes = []
        for page in range(3):
            for n in range(1000):
                answer(feeds, page, n.to_bytes(16, "big"))
            sizes.append(tracemalloc.get_traced_memory()[0] / 1000)
    finally:
        tracemalloc.stop()
    print("bytes per account with 1, 2, 3 pages:", sizes, file=sys.stderr)
    assert sizes[0] < 1000 and sizes[2] - sizes[1] < 500
