"""The auction among line items of several currencies: sources of each, by what they are worth here.

Within a currency the order by score is the order by worth, since rounding a multiple down keeps it (equal at
most becomes what was not). So each currency's sources (``auction``) stay as they are and only what they say
is converted: scores exactly, bounds as numbers that may be too high and never too low. Where there are no
rates, nothing of this is asked.
"""

from collections.abc import Iterable
from typing import Final

from adserver.domain.exchange import Exchange
from adserver.engine.auction import NOTHING, Scored, Source

_SLACK: Final = 1e-9


class Converted:
    """A source whose scores are in another ``currency``."""

    def __init__(self, source: Source, exchange: Exchange, currency: str) -> None:
        into, of = exchange.rates[currency]
        self._source = source
        self._exchange = exchange
        self._currency = currency
        self._ratio = into / of

    @property
    def bound(self) -> float:
        bound = self._source.bound
        return NOTHING if bound < 0 else bound * self._ratio * (1 + _SLACK)

    def read(self, least: float) -> Iterable[Scored]:
        lowest = max(least, 0.0) / self._ratio * (1 - _SLACK)
        for score, positions in self._source.read(lowest):
            yield self._exchange.worth(score, self._currency), positions


def converted(sources: Iterable[Source], exchange: Exchange, currency: str) -> list[Source]:
    if currency == exchange.currency:
        return list(sources)
    return [Converted(source, exchange, currency) for source in sources]
