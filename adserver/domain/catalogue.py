"""The catalogue: everything owned, at one revision. What snapshots are compiled from."""

from collections.abc import Mapping

from msgspec import Struct

from adserver.domain.campaign import Advertiser, Campaign
from adserver.domain.exchange import ExchangeRates
from adserver.domain.inventory import Audience, Publisher


class Gone(Exception):
    """What the catalogue held at a revision cannot be told any more, or never could; the message says why."""


class Catalogue(Struct, frozen=True):
    """``members``: a person's pseudonym (16 bytes) -> the full ids of the audiences that hold it;
    ``digest``: of all it holds, so that two of the same digest are the same."""

    revision: int = 0
    advertisers: tuple[Advertiser, ...] = ()
    campaigns: tuple[Campaign, ...] = ()
    publishers: tuple[Publisher, ...] = ()
    audiences: tuple[Audience, ...] = ()
    members: Mapping[bytes, tuple[str, ...]] = {}
    rates: ExchangeRates | None = None
    digest: str = ""
