"""Money that operators book for advertisers: deposits, credits and make-goods.

A *deposit* was paid in ahead; a *credit* makes good for what should not have been billed, a *make-good* for
what should have been delivered: both come off the next statement and are borne by the operator. Who pays
ahead (``PREPAID``) is billed no more than all of them together.
"""

from hashlib import blake2b
from typing import Final, Literal

from msgspec import Struct

Kind = Literal["deposit", "credit", "make_good"]
KINDS: Final = ("deposit", "credit", "make_good")
PREPAID: Final = "prepaid"
"""The period of a budget that is what was paid in: all of these, whenever they were booked."""


class Credit(Struct, frozen=True):
    """``id``: the operator's own, of this advertiser's."""

    id: str
    kind: str
    currency: str
    amount_micros: int
    at_ms: int
    reason: str


def entry_id(advertiser: int, credit: str) -> bytes:
    """What the entry of a credit has in the place of an event's id."""
    return blake2b(f"{advertiser}/{credit}".encode(), digest_size=16).digest()


def accounts(kind: str, advertiser: int, currency: str) -> tuple[str, str]:
    """(debit, credit)."""
    if kind == "deposit":
        return f"cash:{currency}", f"wallet:{advertiser}:{currency}"
    return f"operator:{currency}", f"credit:{advertiser}:{currency}"
