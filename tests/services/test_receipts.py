"""Receipts: what is signed, what may be continued, and which offence an audit names."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver.domain import limits, receipts
from adserver.domain.decision import FeedPage
from adserver.domain.feeds import Placed, Standing, Track
from adserver.domain.inventory import FeedPolicy, Share
from adserver.domain.receipts import BadReceipt
from adserver.domain.request import FeedAsk
from adserver.engine.feed import Layout
from adserver.services.receipts import Receipts, _mac

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


def body(*feeds: Any, **changed: Any) -> dict[str, Any]:
    wires = [feed.wire() if isinstance(feed, Page) else feed for feed in feeds]
    return {"publisher": "lumen", "placement": "news-feed", "feeds": wires} | changed


def offence(*feeds: Any, **changed: Any) -> tuple[int, int | None, int | None, str]:
    verdict = OURS.verify(body(*feeds, **changed))
    assert verdict["valid"] is False
    told = verdict["offence"]
    assert verdict["checked"] == told["index"] and told["message"]
    return told["index"], told["page"], told["position"], told["rule"]


# -- signing -------------------------------------------------------------------------------------


def test_a_receipt_tells_what_was_signed() -> None:
    first, second = session(2)
    opened = OURS.open(second.receipt)
    assert (opened.account, opened.placement, opened.feed_id, opened.page) == (ANNA, PLACEMENT, "main", 1)
    assert (opened.start, opened.next, opened.organic, opened.sponsored) == (21, 42, 20, 1)
    assert opened.ads == ((33, 1033),)
    assert opened.track == second.track and opened.rules.max_share == "0.06"
    assert opened.previous == receipts.mac_of(first.receipt) and OURS.open(first.receipt).previous == b""
    assert opened.decided_ms == NOW + 1


def test_signing_is_a_function_of_its_arguments() -> None:
    assert session(3) == session(3)


def test_a_receipt_is_short() -> None:
    pages = session(30, FeedPolicy(advertiser_gap=30))
    assert max(len(each.receipt) for each in pages) < 250


@given(st.text(max_size=300))
def test_no_text_but_ours_opens(text: str) -> None:
    with pytest.raises(BadReceipt):
        OURS.open(text)


@given(at=st.integers(0, 10**6), letter=st.sampled_from("Aa0-_Zz9=+/\n é"))
def test_no_letter_can_be_changed_or_added(at: int, letter: str) -> None:
    text = session(1)[0].receipt
    at %= len(text)
    for forged in (text[:at] + letter + text[at + 1 :], text[:at] + letter + text[at:], text[:at]):
        if forged != text:
            with pytest.raises(BadReceipt):
                OURS.open(forged)


def test_a_text_has_one_spelling() -> None:
    """The last letter of a base64 text may hold bits that decode to nothing: they must be zero."""
    policies = [FeedPolicy(max_share=Share(6, 100, "0.06" + "0" * n)) for n in range(3)]
    texts = [page([], policy=policy).receipt for policy in policies]
    assert {len(text) % 4 for text in texts} == {0, 2, 3}
    for text in texts:
        assert OURS.open(text)
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
            if letter != text[-1]:
                with pytest.raises(BadReceipt):
                    OURS.open(text[:-1] + letter)
        with pytest.raises(BadReceipt):
            OURS.open(text + "=" * (-len(text) % 4 or 4))


def test_keys() -> None:
    text = session(1)[0].receipt
    assert Receipts(b"n" * 32, KEY).open(text) == OURS.open(text)
    with pytest.raises(BadReceipt, match="not signed"):
        Receipts(b"n" * 32).open(text)


def test_a_signed_receipt_of_another_version_is_refused() -> None:
    signed = msgspec.msgpack.encode(["no", "receipt"])
    text = receipts.spelled(signed, _mac(KEY, signed))
    with pytest.raises(BadReceipt, match="version"):
        OURS.open(text)


def test_the_text_is_bounded_and_what_is_cut_makes_the_law_stricter() -> None:
    label = "l" * 60
    policy = FeedPolicy(max_share=Share(1, 1, "1"), max_burst=100, advertiser_gap=10_000)
    placed = [Placed(n, n, (f"{label}{n}",), (f"{label}x{n}",)) for n in range(40)]
    before, pages = None, []
    for number in range(10):
        shifted = [msgspec.structs.replace(ad, position=ad.position + 60 * number) for ad in placed]
        before = page(shifted, 20, number, policy, before)
        pages.append(before)
    assert all(len(each.receipt) <= limits.RECEIPT_CHARS for each in pages)
    cut = OURS.open(pages[-1].receipt).track
    everywhere = [60 * number + n for number in range(10) for n in range(40)]
    kept = len(cut.recent)
    assert 0 < kept < 400 and cut.forgotten == everywhere[-kept - 1]
    layout = Layout(policy, cut, 200, 40)
    assert layout.next_open() is None


@pytest.mark.parametrize("over", [0, 1])
def test_a_longer_text_is_not_even_read(over: int) -> None:
    opened = OURS.open(session(1)[0].receipt)
    spare = limits.RECEIPT_CHARS // 4 * 3 - receipts.MAC_BYTES - len(receipts.packed(opened)) - 2
    signed = receipts.packed(msgspec.structs.replace(opened, feed_id="main" + "x" * (spare + over)))
    text = receipts.spelled(signed, _mac(KEY, signed))
    assert (len(text) > limits.RECEIPT_CHARS) is bool(over)
    if over:
        with pytest.raises(BadReceipt, match="spelling"):
            OURS.open(text)
    else:
        assert OURS.open(text).feed_id.endswith("x")


# -- continuing ----------------------------------------------------------------------------------


def ask(number: int, receipt: str | None, account: bytes = ANNA, feed_id: str = "main") -> FeedAsk:
    return FeedAsk(feed_id, number, 20, account, receipt)


def test_only_the_account_goes_on_and_only_with_the_next_page() -> None:
    text = session(3)[2].receipt
    assert OURS.standing(ask(3, text)) == Standing(session(3)[2].track, text, continued=True)
    for wrong in (
        ask(2, text), ask(4, text), ask(0, text), ask(3, text, BEN), ask(3, text, feed_id="other"),
        ask(3, None), ask(3, ""), ask(3, text[:-1]), ask(3, "AAAA" + text[4:]),
    ):  # fmt: skip
        assert OURS.standing(wrong) is None


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
