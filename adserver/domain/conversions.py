"""Conversions: as they are told and judged, and as the journal holds them (``records`` has other records)."""

from enum import StrEnum

from msgspec import Struct


class Fate(StrEnum):
    ATTRIBUTED = "attributed"
    UNATTRIBUTED = "unattributed"
    DUPLICATE = "duplicate"
    LATE = "late"
    INVALID = "invalid"


class Asked(Struct, frozen=True, array_like=True):
    """One that can be judged. ``id``: its advertiser's own, ``key``: see ``Converted``; ``people``:
    pseudonyms of whoever it may be."""

    id: str
    key: bytes
    happened_ms: int
    called: str = ""
    click: bytes | None = None
    people: tuple[bytes, ...] = ()
    value_micros: int = 0
    currency: str = ""


class Outcome(Struct, frozen=True, array_like=True):
    """``event_id``: of the event that it is where it is owed to an ad, by which it can be taken back.
    ``touch``: ``click`` or ``view``."""

    id: str
    fate: Fate
    message: str = ""
    campaign: str = ""
    touch: str = ""
    event_id: str = ""
    billed: bool = False


class Found(Struct, frozen=True, array_like=True):
    """What one process knows of one. ``seen``: it was told before; ``click``: when the click that is named
    happened, and until when it counts; ``last``: the rank (``attribution``) of the people's last touch."""

    seen: bool
    click: tuple[int, int] | None = None
    last: tuple[bool, int, bytes] | None = None


class Converted(Struct, frozen=True, array_like=True, tag=8):
    """What an advertiser told of, once per ``key``: a keyed hash (16 bytes) of the advertiser and its own id
    of it. ``happened_ms`` is the advertiser's clock (no earlier than the click it names, where that is
    a matter of clocks), ``at_ms`` ours; ``called`` its word for it (a purchase);
    ``value_micros``: what it was worth to it. ``touch``: the event id of the ad it is owed to, ``touched``:
    the kind of that ad's event; of one owed to nobody all from there on says nothing. ``billed_nanos`` to
    ``free_nanos`` as in ``Recorded``, all others are the ad's own."""

    key: bytes
    advertiser: int
    at_ms: int
    happened_ms: int
    called: str = ""
    value_micros: int = 0
    currency: str = ""
    touch: bytes | None = None
    touched: int = 0
    line_item: int = 0
    creative: int = 0
    placement: int = 0
    day: int = 0
    billed_nanos: int = 0
    unbilled: int = 0
    free_nanos: int = 0
    country: str = ""
    device: int = 0

    @property
    def event_id(self) -> bytes | None:
        """Of the event that it is where it is owed to an ad. Like any event's it begins with the time of the
        ad's decision, so days and rollups follow from it; the rest is the key's (80 bits)."""
        return None if self.touch is None else self.touch[:6] + self.key[:10]
