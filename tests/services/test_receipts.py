"""Receipts: what is signed, and what may be continued."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from signed_pages import ANNA, BEN, KEY, NOW, OURS, PLACEMENT, page, session

from adserver.domain import limits, receipts
from adserver.domain.feeds import Placed, Standing
from adserver.domain.inventory import FeedPolicy, Share
from adserver.domain.receipts import BadReceipt
from adserver.domain.request import FeedAsk
from adserver.engine.feed import Layout
from adserver.services.receipts import Receipts, _mac

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
