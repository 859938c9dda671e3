"""Deals: what an exchange's publisher agreed with buyers beforehand (OpenRTB 2.6, 3.2.11 and 3.2.12).

A line item that includes deals in its targeting serves where one of them is offered, and buys under it: the
deal's floor stands in the place of the open auction's. In a private market nobody else may buy.
"""

from typing import Final

from msgspec import Struct

from adserver.domain.targeting import Clause, Targeting

DIMENSION: Final = "deals"


class Deal(Struct, frozen=True):
    """``floor_micros``: of a thousand impressions."""

    id: str
    floor_micros: int


class Market(Struct, frozen=True):
    """What is offered at one placement of a request. ``private``: to buyers with a deal alone."""

    deals: tuple[Deal, ...] = ()
    private: bool = False


OPEN: Final = Market()


def included(targeting: Targeting) -> frozenset[str]:
    """The deals a line item wants to buy under."""
    clause = targeting.clauses.get(DIMENSION, _NONE)
    return frozenset((*clause.any, *clause.all))


def taken(targeting: Targeting, market: Market) -> Deal | None:
    """The deal a line item buys under: of those it includes the one of the lowest floor, of equal ones the
    first. None: it buys in the open market."""
    if not market.deals or DIMENSION not in targeting.clauses:
        return None
    mine = included(targeting)
    offered = (deal for deal in market.deals if deal.id in mine)
    return min(offered, key=lambda deal: deal.floor_micros, default=None)


_NONE: Final = Clause()
