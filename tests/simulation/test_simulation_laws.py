"""The simulation's own books: quiet while the laws hold, and heard as soon as one is broken."""

from typing import Any

from adserver.domain.campaign import Budget, Campaign, FrequencyCap, LineItem, Pricing
from adserver.domain.catalogue import Catalogue
from adserver.domain.targeting import Targeting
from adserver.simulation.laws import CapBook, SpendBook

HOUR_MS = 3600_000
NOW_MS = 1_780_000_000_000


def world(*caps: FrequencyCap, budget: Budget = Budget(), whole: Budget = Budget()) -> Catalogue:  # noqa: B008 - frozen
    item = LineItem(
        "li", "acme/spring/li", 1, "auction", Pricing("cpm", 4_000_000), (), Targeting(),
        frequency_caps=caps, budget=budget,
    )  # fmt: skip
    campaign = Campaign("spring", "acme", 1, "EUR", "Europe/Paris", (item,), budget=whole)
    return Catalogue(1, (), (campaign,), ())


def ad(creative: str = "c", micros: int = 4000, item: str = "li") -> dict[str, Any]:
    owner = {"advertiser": "acme", "campaign": "spring", "line_item": item}
    return {**owner, "creative": {"id": creative}, "price": {"clearing_micros": micros}}


class Books:
    def __init__(self, *caps: FrequencyCap) -> None:
        self.heard: list[str] = []
        self.book = CapBook(world(*caps), self.heard.append)

    def take(self, at_ms: int, **more: Any) -> Any:
        told = {"person": "u", "session": "s", "creative": "c", "item": "li", **more}
        given = ad(told["creative"], item=told["item"])
        return self.book.take(
            given, told["person"], told["session"], NOW_MS + at_ms, NOW_MS + at_ms + 900_000
        )


def test_one_more_than_the_cap_is_heard() -> None:
    books = Books(FrequencyCap(2, HOUR_MS))
    books.take(0)
    books.take(1)
    assert books.heard == []
    books.take(2)
    assert len(books.heard) == 1 and "cap 2" in books.heard[0]
    books.take(3, person="somebody else")
    assert len(books.heard) == 1


def test_the_window_is_half_open() -> None:
    """Confirmed in (t - per, t]: an impression counts for exactly ``per``."""
    for after_ms, offences in ((HOUR_MS - 1, 1), (HOUR_MS, 0)):
        books = Books(FrequencyCap(1, HOUR_MS))
        books.take(0).shown_ms = NOW_MS + 5
        books.take(5 + after_ms)
        assert len(books.heard) == offences, after_ms


def test_what_was_not_shown_counts_until_it_is_over_or_given_back() -> None:
    books = Books(FrequencyCap(1, HOUR_MS))
    books.take(0)
    books.take(900_001)
    assert books.heard == []
    books = Books(FrequencyCap(1, HOUR_MS))
    books.take(0).given_back = True
    books.take(1)
    assert books.heard == []


def test_scopes_and_sessions() -> None:
    wide = Books(FrequencyCap(1, HOUR_MS, scope="campaign"))
    wide.take(0)
    wide.take(1, item="other")
    assert len(wide.heard) == 1
    creative = Books(FrequencyCap(1, HOUR_MS, scope="creative"))
    creative.take(0)
    creative.take(1, creative="d")
    assert creative.heard == []
    session = Books(FrequencyCap(1, HOUR_MS, session=True))
    session.take(0)
    session.take(1, session="t")
    assert session.heard == []
    session.take(2)
    assert len(session.heard) == 1


def test_somebody_known_by_the_session_alone_is_not_counted_twice() -> None:
    books = Books(FrequencyCap(2, HOUR_MS), FrequencyCap(2, HOUR_MS, session=True))
    books.take(0, person="s")
    books.take(1, person="s")
    assert books.heard == []
    books.take(2, person="s")
    assert len(books.heard) == 2


def test_peaks_are_the_most_at_once() -> None:
    books = Books(FrequencyCap(3, HOUR_MS))
    books.take(0).shown_ms = NOW_MS
    books.take(1).shown_ms = NOW_MS + 1
    books.take(2 * HOUR_MS)
    books.take(2 * HOUR_MS, person="v")
    assert list(books.book.peaks().values()) == [{2: 1, 1: 1}]


def test_a_budget_overspent_at_any_level_is_heard() -> None:
    for budget, whole, events in (
        (Budget(lifetime_nanos=8_000_000), Budget(), 2),
        (Budget(), Budget(daily_nanos=4_000_000), 1),
    ):
        heard: list[str] = []
        book = SpendBook(world(budget=budget, whole=whole), heard.append)
        owed = book.owed(ad(), NOW_MS)
        for _ in range(events):
            book.bill(owed)
        assert heard == [] and book.events == events
        book.bill(owed)
        assert len(heard) == 1 and "of " in heard[0]


def test_days_are_the_campaigns() -> None:
    heard: list[str] = []
    book = SpendBook(world(budget=Budget(daily_nanos=4_000_000)), heard.append)
    for day in range(3):
        book.bill(book.owed(ad(), NOW_MS + day * 24 * HOUR_MS))
    assert heard == [] and book.billed[("line_item", "acme/spring/li"), -1] == 12_000_000
