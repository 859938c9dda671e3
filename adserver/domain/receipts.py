"""What a feed receipt says. ``services.receipts`` signs and checks it; state reads its own pages' receipts
at start-up, which is why the account's track travels in it and nothing else has to be journalled.

Text: base64url without padding of MessagePack followed by the MAC; exactly one spelling each.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import msgspec
from msgspec import Struct

from adserver.domain import limits
from adserver.domain.feeds import Track
from adserver.domain.inventory import FeedPolicy, Share

VERSION: Final = 1
MAC_BYTES: Final = 16

_SPELLING: Final = re.compile(r"[A-Za-z0-9_-]+\Z", re.ASCII)


class BadReceipt(ValueError):
    """Not a receipt of ours."""


class Rules(Struct, frozen=True, array_like=True):
    """The policy a page was decided under, so a receipt can be audited after the policy was edited."""

    num: int
    den: int
    max_share: str
    head_start: int
    max_burst: int
    first_position: int
    min_gap: int
    advertiser_gap: int
    max_per_page: int
    account_idle_ms: int

    @classmethod
    def of(cls, policy: FeedPolicy) -> "Rules":
        share: Share = policy.max_share
        return cls(
            share.num, share.den, share.text, policy.head_start, policy.max_burst, policy.first_position,
            policy.min_gap, policy.advertiser_gap, policy.max_per_page, policy.account_idle_ms,
        )  # fmt: skip


class Receipt(Struct, frozen=True, array_like=True):
    """One page. ``placement`` is the full id; ``ads`` are (position, advertiser serial) in order;
    ``track`` is what the page left behind; ``previous`` the MAC of the page before (empty for page 0)."""

    version: int
    account: bytes
    placement: str
    feed_id: str
    page: int
    start: int
    rules: Rules
    ads: tuple[tuple[int, int], ...]
    track: Track
    previous: bytes
    decided_ms: int

    @property
    def next(self) -> int:
        return self.track.next

    @property
    def sponsored(self) -> int:
        return len(self.ads)

    @property
    def organic(self) -> int:
        return self.track.next - self.start - len(self.ads)


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Receipt)


def packed(receipt: Receipt) -> bytes:
    """What is signed."""
    return _ENCODER.encode(receipt)


def unpacked(signed: bytes) -> Receipt:
    """Raises BadReceipt."""
    try:
        return _DECODER.decode(signed)
    except msgspec.MsgspecError as error:
        raise BadReceipt("a receipt of another version") from error


def spelled(signed: bytes, mac: bytes) -> str:
    return urlsafe_b64encode(signed + mac).decode("ascii").rstrip("=")


def parted(text: str) -> tuple[bytes, bytes]:
    """The text's (signed bytes, MAC), unchecked. Raises BadReceipt for what ``spelled`` does not write."""
    if len(text) > limits.RECEIPT_CHARS or len(text) % 4 == 1 or not _SPELLING.match(text):
        raise BadReceipt("not the spelling of a receipt")
    raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    signed, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
    if not signed or spelled(signed, mac) != text:
        raise BadReceipt("not the spelling of a receipt")
    return signed, mac


def mac_of(text: str) -> bytes:
    """The MAC of a receipt's text; empty for no receipt."""
    return parted(text)[1] if text else b""


def read(text: str) -> Receipt:
    """A receipt from a trusted place: its MAC is not checked. Raises BadReceipt."""
    return unpacked(parted(text)[0])
