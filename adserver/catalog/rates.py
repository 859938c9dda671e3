"""The document of exchange rates: ``rates.yaml``, or ``PUT /v1/rates``.

base: EUR
max_age: 7d
rates:
  2026-06-01: {USD: "1.0842", GBP: "0.8431"}
"""

import re
from datetime import date
from typing import Final

from adserver.catalog.fields import Fields, as_text
from adserver.catalog.findings import shown
from adserver.catalog.terms import check_currency
from adserver.catalog.times import duration_ms
from adserver.domain import limits
from adserver.domain.exchange import RATE_PLACES, UNIT, ExchangeRates, RateTable

_RATE: Final = re.compile(rf"(0|[1-9][0-9]{{0,8}})(?:\.([0-9]{{1,{RATE_PLACES}}}))?\Z", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", re.ASCII)
_DAY_MS: Final = 86_400_000
_DEFAULT_MS: Final = 7 * _DAY_MS
_EPOCH: Final = date(1970, 1, 1).toordinal()


def read_rates(fields: Fields) -> ExchangeRates:
    base = fields.convert("base", "", check_currency, required="it is a currency such as EUR")
    age_ms = fields.convert("max_age", _DEFAULT_MS, duration_ms)
    if age_ms % _DAY_MS or age_ms > limits.RATES_AGE_DAYS_MAX * _DAY_MS:
        fields.add("max_age", f"is not whole days, such as 7d, and at most {limits.RATES_AGE_DAYS_MAX}d")
    tables = _tables(fields, base)
    fields.done()
    return ExchangeRates(base, age_ms // _DAY_MS, tables)


def _tables(fields: Fields, base: str) -> tuple[RateTable, ...]:
    needed = 'it says by date what the base costs, such as 2026-06-01: {USD: "1.0842"}'
    inner = fields.mapping("rates", required=needed)
    if inner is None:
        return ()
    days = list(inner.values_given())
    if len(days) > limits.RATES_DATES:
        fields.add("rates", f"has {len(days)} dates; at most {limits.RATES_DATES}")
        days = days[: limits.RATES_DATES]
    found = []
    for text in days:
        table = inner.mapping(text)
        day = _day(text)
        if day is None:
            inner.add(text, f"{shown(text)} is not a date, such as 2026-06-01")
        if table is not None and day is not None:
            found.append(RateTable(day, _table(table, base)))
    return tuple(sorted(found, key=lambda table: table.day))


def _day(text: str) -> int | None:
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH if _DATE.match(text) else None
    except ValueError:
        return None


def _table(fields: Fields, base: str) -> dict[str, int]:
    rates = {base: UNIT}
    for name in fields.values_given():
        value = fields.take(name)
        try:
            check_currency(name)
            if name == base:
                raise ValueError("is the base itself; leave it out")
            rates[name] = parse_rate(as_text(value))
        except ValueError as error:
            fields.add(name, str(error))
    return rates


def parse_rate(text: str) -> int:
    """``"1.0842"`` -> 1_084_200_000. Raises ValueError."""
    match = _RATE.match(text)
    rate = 0 if match is None else int(match[1]) * UNIT + int((match[2] or "").ljust(RATE_PLACES, "0"))
    if rate == 0:
        raise ValueError(
            f"{shown(text)} is not a rate; it is a decimal above 0 of at most {RATE_PLACES} places, in quotes"
        )
    return rate
