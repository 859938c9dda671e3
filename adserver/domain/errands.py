"""What one worker brings to another: events of ads that the other decided, that such be taken back,
conversions, and what is asked for again."""

from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct

from adserver.domain.conversions import Asked
from adserver.domain.told import Told
from adserver.domain.verdicts import Verdict

_ENCODE: Final = msgspec.msgpack.Encoder().encode


class Shown(Struct, frozen=True, array_like=True, tag=1):
    """A plain call on the URL of an impression, and the address it came from."""

    told: Told
    ip: str


class Happened(Struct, frozen=True, array_like=True, tag=2):
    """Any other event: its token, what kind it is of, the call that told it (as ``Call`` says it). ``peek``:
    nothing is to be counted."""

    token: str
    kind: int
    peek: bool
    user_agent: str
    ip: str
    method: str
    prefetch: bool
    publisher_key: str | None
    batched: bool


class Conveyed(Struct, frozen=True, array_like=True, tag=3):
    """Conversions whose keys name the other: it is to settle them. Said: an ``Outcome`` each."""

    advertiser: int
    asked: list[Asked]


class Sought(Struct, frozen=True, array_like=True, tag=4):
    """What does the other know of these? Said: ``Found`` each. ``ticket``: of who asks for one of them
    later may nothing be kept but with the later one's."""

    ticket: bytes
    advertiser: int
    asked: list[Asked]


class Owed(Struct, frozen=True, array_like=True, tag=5):
    """Conversions owed to ads of the other, which is to keep them. Said: an ``Outcome`` each."""

    ticket: bytes
    advertiser: int
    asked: list[Asked]


class Reversing(Struct, frozen=True, array_like=True, tag=6):
    """Events of ads of the other that are to be taken back, by id. Said: an ``Invalidated`` each, and of
    conversions owed to them."""

    event_ids: list[str]
    reason: str


GIVEN: Final = b"given"
NOBODYS: Final = b"nobody's"
UNSURE: Final = b"unsure"


class Repeated(Struct, frozen=True, array_like=True, tag=7):
    """Something the other minted, under this id, is asked for again: a ``page`` of the feed account ``key``,
    or (None) the answer to the request's id ``key``. Was it given to anybody? Said: GIVEN, NOBODYS (and it
    never will be) or UNSURE. ``kept_ms``: for how long who gave it knows that at least; ``digest``: of what
    it was, for one id may have come to several things, all but one of them taken back."""

    minted: bytes
    key: bytes
    page: int | None
    kept_ms: int
    digest: bytes


def digest_of(given: Struct) -> bytes:
    """The same wherever it was kept in the meantime."""
    return blake2b(_ENCODE(given), digest_size=16).digest()


Event = Shown | Happened
Conversion = Conveyed | Sought | Owed
Errand = Event | Conversion | Reversing | Repeated


class Brought(Struct, frozen=True, array_like=True):
    """Some errands, and the number that their verdicts are to name."""

    number: int
    errands: list[Errand]


class Answered(Struct, frozen=True, array_like=True):
    """The verdicts, in order, all durable. ``said``: what is said beside them (of conversions: as
    MessagePack), by place."""

    number: int
    verdicts: list[Verdict]
    said: dict[int, bytes] = {}
