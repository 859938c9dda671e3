"""Who pays for a line item, and who is paid for a placement, as the terms in the journal tell it."""

from msgspec import Struct

from adserver.domain.records import LineItemTerms
from adserver.ledger.guards import Guards


class Payer(Struct, frozen=True):
    """Who pays for a line item; ``since``: (revision, instant) of the terms that say so."""

    campaign: int
    advertiser: int
    currency: str
    since: tuple[int, int]


def payer_of(terms: LineItemTerms) -> Payer:
    return Payer(terms.campaign, terms.advertiser, terms.currency, (terms.revision, terms.at_ms))


class Payee(Struct, frozen=True):
    """Whose placement it is, and what of a bill is theirs; the rest is the operator's."""

    publisher: int
    share_ppm: int


class Parties(Struct):
    """What the books know of line items and placements: serial -> payer, serial -> payee."""

    payers: dict[int, Payer]
    payees: dict[int, Payee]
    guards: Guards
