"""The driver's own books: quiet while the laws hold, and heard as soon as one is broken."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver.demo import exchange
from adserver.demo.audit import audit, law_of, print_verdicts
from adserver.demo.capbook import CapBook
from adserver.demo.feedbook import FeedBook, Page
from adserver.demo.score import Score
from adserver.demo.spendbook import SpendBook
from adserver.domain import ids
from adserver.domain.campaign import Advertiser, Budget, Campaign, FrequencyCap, LineItem, Pricing
from adserver.domain.catalogue import Catalogue
from adserver.domain.decision import EventKind
from adserver.domain.inventory import FeedPolicy, Placement, Publisher, Share
from adserver.domain.targeting import Targeting
from adserver.ledger.journal import Journal
from adserver.ledger.writer import LedgerWriter

NOW_MS = 1_780_000_000_000
HOUR_MS = 3600_000


def world(
    policy: FeedPolicy | None = None, caps: tuple[FrequencyCap, ...] = (), budget: Budget | None = None
) -> Catalogue:
    feed = Placement("feed", "lumen", 1, "feed", ("native",), feed=policy or FeedPolicy())
    item = LineItem(
        "li", "acme/spring/li", 1, "auction", Pricing("cpm", 4_000_000), (), Targeting(),
        frequency_caps=caps, budget=budget or Budget(),
    )  # fmt: skip
    sibling = LineItem("other", "acme/spring/other", 2, "auction", Pricing("cpm", 1), (), Targeting())
    return Catalogue(
        1,
        (Advertiser("acme", 1),),
        (Campaign("spring", "acme", 1, "EUR", "Europe/Paris", (item, sibling)),),
        (Publisher("lumen", 1, "EUR", placements=(feed,)),),
    )


def page(number: int, start: int, end: int, *positions: int, advertiser: str = "acme") -> Page:
    return Page(number, start, end, tuple((at, f"{advertiser}{at}", f"e{at}") for at in positions))


# -- law 1 ---------------------------------------------------------------------------------------


def told(policy: FeedPolicy, *pages: Page) -> list[str]:
    heard: list[str] = []
    book = FeedBook(world(policy), heard.append)
    account = book.account("lumen/feed", "main", "s-1", "lumen:u-1")
    for one in pages:
        book.take(account, one)
    return heard


SIX = FeedPolicy(max_share=Share(6, 100, "0.06"))


def test_the_first_ad_may_stand_at_the_seventeenth_place_and_no_sooner() -> None:
    assert told(SIX, page(0, 0, 21, 16)) == []
    assert "1 sponsored in the first 16 items" in told(SIX, page(0, 0, 21, 15))[0]


def test_prefixes_are_counted_over_pages() -> None:
    assert told(SIX, page(0, 0, 21, 16), page(1, 21, 40, 33)) == []
    assert "2 sponsored in the first 33 items" in told(SIX, page(0, 0, 21, 16), page(1, 21, 40, 32))[0]


def test_a_head_start_is_allowed_for() -> None:
    early = FeedPolicy(max_share=Share(5, 100, "0.05"), head_start=10)
    assert told(early, page(0, 0, 12, 9)) == []
    assert told(early, page(0, 0, 12, 8)) != []


@pytest.mark.parametrize(
    ("policy", "offence"),
    [
        (FeedPolicy(max_share=Share(1, 2, "0.5"), first_position=4), "first_position"),
        (FeedPolicy(max_share=Share(1, 2, "0.5"), min_gap=4, max_burst=9), "min_gap"),
        (FeedPolicy(max_share=Share(1, 2, "0.5"), max_per_page=1, max_burst=9), "at most 1"),
        (FeedPolicy(max_share=Share(1, 2, "0.5"), max_burst=0), "max_burst"),
    ],
)
def test_every_other_rule_of_the_policy_is_watched(policy: FeedPolicy, offence: str) -> None:
    heard = told(policy, page(0, 0, 10, 3, 5))
    assert any(offence in line for line in heard), heard


def test_two_of_one_advertiser_keep_their_distance() -> None:
    policy = FeedPolicy(max_share=Share(1, 2, "0.5"), advertiser_gap=5)
    same = Page(0, 0, 20, ((3, "acme", "a"), (8, "acme", "b")))
    other = Page(0, 0, 20, ((3, "acme", "a"), (8, "brume", "b")))
    assert any("advertiser_gap" in line for line in told(policy, same))
    assert told(policy, other) == []


def test_a_page_asked_again_must_be_the_same() -> None:
    assert told(SIX, page(0, 0, 21, 16), page(0, 0, 21, 16)) == []
    assert "something else" in told(SIX, page(0, 0, 21, 16), page(0, 0, 21))[0]


def test_a_page_that_does_not_follow_is_heard() -> None:
    assert "position 21 follows" in told(SIX, page(0, 0, 21, 16), page(1, 22, 40))[0]


@given(st.lists(st.integers(8, 25), min_size=1, max_size=12), st.integers(0, 3))
def test_the_busiest_lawful_feed_is_never_blamed_and_one_more_ad_always_is(
    counts: list[int], share: int
) -> None:
    """The books against a feed laid out here, by the rule's own words: an ad as soon as one is allowed."""
    policy = FeedPolicy(max_share=Share(5 + share, 100, "?"))
    positions, start, pages = list[int](), 0, []
    for number, organic in enumerate(counts):
        own, at, left = list[int](), start, organic
        while left:
            if policy.max_share.num * (at + 1) // policy.max_share.den > len(positions):
                own.append(at)
                positions.append(at)
            else:
                left -= 1
            at += 1
        pages.append(page(number, start, at, *own))
        start = at
    assert told(policy, *pages) == []
    last = pages[-1]
    extra = next(at for at in range(last.next - 1, -1, -1) if at not in positions)
    if extra >= last.start:
        more = tuple(sorted((*(ad[0] for ad in last.ads), extra)))
        assert told(policy, *pages[:-1], page(last.number, last.start, last.next, *more)) != []


# -- law 2 ---------------------------------------------------------------------------------------


def ad(line_item: str = "li", creative: str = "c", number: int = 1, at_ms: int = NOW_MS) -> dict[str, Any]:
    expires = datetime.fromtimestamp((at_ms + 900_000) / 1000, UTC).isoformat()
    return {
        "event_id": ids.encode(ids.mint(NOW_MS, 7, number)),
        "advertiser": "acme",
        "campaign": "spring",
        "line_item": line_item,
        "creative": {"id": creative},
        "expires_at": expires,
        "price": {"clearing_micros": 4000},
    }


class Capped:
    """A cap book and what it told."""

    def __init__(self, *caps: FrequencyCap) -> None:
        self.heard: list[str] = []
        self.book = CapBook(world(caps=caps), self.heard.append)

    def see(self, at_ms: int, who: str | None = "lumen:u-1", session: str = "s-1", **named: str) -> Any:
        return self.book.take(ad(**named, at_ms=at_ms), who, session, at_ms, at_ms + 1)


TWICE = FrequencyCap(2, HOUR_MS)


def test_the_third_of_two_is_heard() -> None:
    capped = Capped(TWICE)
    for step in range(3):
        assert capped.heard == []
        capped.see(NOW_MS + 10 * step)
    assert len(capped.heard) == 1 and capped.book.full == 1


def test_what_was_given_back_does_not_count() -> None:
    capped = Capped(TWICE)
    capped.see(NOW_MS).given_back = True
    capped.see(NOW_MS + 10)
    capped.see(NOW_MS + 20)
    assert capped.heard == []


def test_what_was_shown_before_the_window_does_not_count() -> None:
    capped = Capped(TWICE)
    for _ in range(2):
        capped.see(NOW_MS).shown_ms = NOW_MS + 100
    capped.see(NOW_MS + HOUR_MS + 200)
    assert capped.heard == []
    capped.see(NOW_MS + HOUR_MS + 300)
    capped.see(NOW_MS + HOUR_MS + 400)
    assert len(capped.heard) == 1


def test_answers_that_crossed_on_the_way_blame_nobody() -> None:
    """Three asked for before any was answered: a client cannot know which came first."""
    capped = Capped(TWICE)
    for _ in range(3):
        capped.book.take(ad(), "lumen:u-1", "s-1", NOW_MS, NOW_MS + 50)
    assert capped.heard == []


def test_people_and_sessions_are_counted_apart() -> None:
    capped = Capped(FrequencyCap(1, HOUR_MS), FrequencyCap(2, HOUR_MS, session=True))
    capped.see(NOW_MS, "lumen:u-1", "s-1")
    capped.see(NOW_MS + 10, "lumen:u-2", "s-1")
    assert capped.heard == []
    capped.see(NOW_MS + 20, "lumen:u-3", "s-1")
    assert len(capped.heard) == 1  # the session has had its two


@pytest.mark.parametrize(
    ("scope", "second", "blamed"),
    [
        ("campaign", {"line_item": "other"}, True),
        ("advertiser", {"line_item": "other"}, True),
        ("line_item", {"line_item": "other"}, False),
        ("creative", {"creative": "d"}, False),
        ("creative", {"creative": "c"}, True),
    ],
)
def test_a_cap_binds_all_that_is_in_its_scope(scope: Any, second: dict[str, str], blamed: bool) -> None:
    capped = Capped(FrequencyCap(1, HOUR_MS, scope))
    capped.see(NOW_MS)
    capped.see(NOW_MS + 10, **second)
    assert bool(capped.heard) is blamed


# -- laws 3 and 4 --------------------------------------------------------------------------------


def test_spending_over_a_budget_is_heard_and_so_is_an_event_accepted_twice() -> None:
    overspent: list[str] = []
    twice: list[str] = []
    book = SpendBook(world(budget=Budget(8_000_000, None)), overspent.append, twice.append)
    for number in (1, 2):
        book.count(book.owed(ad(number=number)), EventKind.IMPRESSION, True)
    book.count(book.owed(ad(number=2)), EventKind.VIEWABLE, False)
    assert (overspent, twice) == ([], [])
    book.count(book.owed(ad(number=3)), EventKind.IMPRESSION, True)
    assert len(overspent) == 1 and "line_item acme/spring/li, lifetime" in overspent[0]
    book.count(book.owed(ad(number=3)), EventKind.IMPRESSION, False)
    assert len(twice) == 1


def test_differences_are_put_under_their_law() -> None:
    assert law_of("feed news-feed/main page 0 of X: ad 1 at position 2: before first_position 3") == 1
    assert law_of("event X: the cap line_item:1 allows 2 (impression) in 1 ms, and 2 counted already") == 2
    assert law_of("event X impression: campaign:3 lifetime billed 5 of 4 nanos") == 3
    assert law_of("budget campaign:3, day -1: 5 nanos billed of 4 in the ledger") == 3
    assert law_of("event X impression: missing in the ledger, the journal says (1,)") == 4
    assert law_of("journal damaged: somewhere") == 4


# -- the audit -----------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """The folder of a server that served nothing."""
    Journal(tmp_path / "journal", 1 << 20).close()
    LedgerWriter(tmp_path / "ledger.sqlite").close()
    return tmp_path


def graded(folder: Path, score: Score) -> dict[int, bool]:
    return {verdict.law: verdict.passed for verdict in audit(folder, score)}


FINE = {1: True, 2: True, 3: True, 4: True}


def test_where_nothing_was_served_nothing_is_wrong(served: Path) -> None:
    assert graded(served, Score(world())) == FINE


def test_an_acknowledged_event_that_the_ledger_does_not_hold_fails_law_4(served: Path) -> None:
    score = Score(world())
    score.spend.count(score.spend.owed(ad()), EventKind.IMPRESSION, True)
    assert graded(served, score) == {**FINE, 4: False}
    anonymous = Score(world())
    anonymous.spend.count(None, EventKind.IMPRESSION, True)
    assert graded(served, anonymous) == {**FINE, 4: False}


@pytest.mark.parametrize("law", [1, 2, 3])
def test_what_the_driver_saw_fails_its_law(served: Path, law: int) -> None:
    score = Score(world())
    score.offences[law].append("seen")
    assert graded(served, score) == {**FINE, law: False}


def test_what_verify_finds_is_told_too(served: Path) -> None:
    (served / "ledger.sqlite").unlink()
    LedgerWriter(served / "ledger.sqlite").close()
    segment = next(path for path in (served / "journal").iterdir() if path.stat().st_size > 4096)
    with segment.open("r+b") as file:
        file.write(b"not a journal")
    lines: list[str] = []
    verdicts = audit(served, Score(world()))
    assert not print_verdicts(verdicts, lines.append)
    assert any(line.startswith("FAIL  law 4") for line in lines) and any(
        "! on disk: " in line for line in lines
    )


# -- what is packaged ----------------------------------------------------------------------------


def test_the_packaged_requests_can_be_read_and_are_our_own() -> None:
    requests = exchange.read(exchange.OWN)
    assert len(requests) >= 30
    assert all(request["id"] and request["imp"] for request in requests)
    assert all(
        request.get("site", {"domain": "x.example"})["domain"].endswith(".example") for request in requests
    )
