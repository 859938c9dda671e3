"""Who pays for a line item, and who is paid for a placement, as the terms in the journal tell it."""

from msgspec import Struct
from sqlalchemy import Connection, select

from adserver.domain import money
from adserver.domain.records import LineItemTerms
from adserver.ledger import crediting, schema
from adserver.ledger.guards import Guards, Limit, levels


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


class Outline(Struct, frozen=True):
    """Where the bills of a line item and day go: who owes them, their month, and their budgets, as (account,
    day). ``fixed``: the guards of these, where they are the same at every instant."""

    debit: str
    month: int
    budgets: tuple[tuple[str, int], ...]
    fixed: list[int | None] | None


class Parties(Struct):
    """What the books know of line items and placements: serial -> payer, serial -> payee; ``outlines``:
    (line item, day) -> what was found out of these, until more is learned."""

    payers: dict[int, Payer]
    payees: dict[int, Payee]
    guards: Guards
    outlines: dict[tuple[int, int], Outline]


def read_parties(connection: Connection) -> Parties:
    """All that the ledger knows."""
    items, placements = schema.LINE_ITEMS.c, schema.PLACEMENTS.c
    parties = Parties({}, {}, Guards(), {})
    found = select(
        items.serial, items.campaign, items.advertiser, items.currency, items.revision, items.at_ms
    )
    for serial, campaign, advertiser, currency, *since in connection.execute(found):
        parties.payers[serial] = Payer(campaign, advertiser, currency, (since[0], since[1]))
        for account in levels(serial, campaign, advertiser):
            parties.guards.know(account, since[0])
    owners = select(placements.serial, placements.publisher, placements.share_ppm)
    for serial, publisher, share_ppm in connection.execute(owners):
        parties.payees[serial] = Payee(publisher, share_ppm)
    history = schema.BUDGET_LIMITS.c
    ordered = select(history.account, history.period, history.at_ms, history.limit_nanos)
    for row in connection.execute(ordered.order_by(history.number)):
        parties.guards.restore(Limit(*row))
    for advertiser, currency, micros in crediting.paid_in(connection):
        parties.guards.wallets.pay_in(advertiser, currency, money.nanos(micros))
    return parties
