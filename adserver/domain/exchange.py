"""Exchange rates, as data with dates: by them a bid in one currency is compared with a floor, or another bid,
in another. Nothing is ever booked by them.

A table says what one unit of the base costs in each currency, in 10**-9. Of several the newest that is not of
a later day (UTC) than the decision counts, alone: rates of one day agree with each other. Where that is older
than ``max_age_days``, or knows one of the two currencies not, they cannot be compared.
"""

from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

RATE_PLACES: Final = 9
UNIT: Final = 10**RATE_PLACES
_DAY_MS: Final = 86_400_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RateTable(Struct, frozen=True, array_like=True):
    """Of a ``day`` (since 1970-01-01): currency -> units for one of the base, in 10**-9; the base too."""

    day: int
    rates: dict[str, int]


class ExchangeRates(Struct, frozen=True, array_like=True):
    """``tables``: by day, each once."""

    base: str
    max_age_days: int
    tables: tuple[RateTable, ...]

    def at(self, currency: str, day: int) -> "Exchange":
        """Into this currency, on a day."""
        number = bisect_right(self.tables, day, key=lambda table: table.day)
        table = self.tables[number - 1] if number else RateTable(-1, {})
        good = bool(number) and day - table.day <= self.max_age_days and currency in table.rates
        into = table.rates.get(currency, 0)
        rates = {name: (into, of) for name, of in sorted(table.rates.items()) if good and name != currency}
        return Exchange(currency, rates, day - self.max_age_days, table.day)


class Exchange(Struct, frozen=True):
    """What amounts of other currencies are worth in this one: (numerator, denominator) of each that is known.
    ``since``: rates of an earlier day do not count; ``day``: the table's, -1 where there is none."""

    currency: str
    rates: Mapping[str, tuple[int, int]]
    since: int
    day: int

    @property
    def currencies(self) -> tuple[str, ...]:
        """Those that can be compared, its own first."""
        return (self.currency, *self.rates)

    def worth(self, amount: int, currency: str) -> int:
        """An amount in this one, rounded down: against the bid. Of a currency that cannot be compared, as it
        is: nobody compares it."""
        rate = self.rates.get(currency)
        return amount if rate is None else amount * rate[0] // rate[1]

    def lack(self, currency: str) -> tuple[str, str]:
        """(what would be needed to compare with this currency, what there is)."""
        wanted = f"a rate of {currency} in {self.currency} of {day_text(self.since)} or later"
        if self.day < 0:
            return wanted, "none"
        known = self.day < self.since
        return wanted, f"rates of {day_text(self.day)}" + ("" if known else ", without it")


class Exchanges:
    """Of one publisher's currency, day by day: the last day's is kept."""

    def __init__(self, rates: ExchangeRates, currency: str) -> None:
        self._rates = rates
        self._currency = currency
        self._last: tuple[int, Exchange] | None = None

    def at(self, now_ms: int) -> Exchange:
        day = now_ms // _DAY_MS
        last = self._last
        if last is None or last[0] != day:
            last = self._last = day, self._rates.at(self._currency, day)
        return last[1]


def day_text(day: int) -> str:
    """2026-06-01."""
    return (_EPOCH + timedelta(days=day)).date().isoformat()
