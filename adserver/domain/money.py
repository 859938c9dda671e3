"""Money: integers only.

Prices and budgets are written as decimal strings, kept in *micros* (10**-6 of a currency unit) where
people see them and counted in *nanos* (10**-9) in the books, because a CPM price of p micros costs
exactly p nanos an impression.
"""

import re
from typing import Final

from adserver.domain import limits

MICROS: Final = 1_000_000
NANOS_PER_MICRO: Final = 1000
WHOLE_PPM: Final = 1_000_000
"""All of it, in parts per million."""

_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,9})(?:\.([0-9]{1,6}))?\Z", re.ASCII)


def parse_amount(text: str) -> int:
    """``"4.20"`` -> 4_200_000 micros. Raises ValueError, saying what would be right."""
    match = _AMOUNT.match(text)
    if match is None:
        raise ValueError('an amount is a decimal string of at most 6 places, such as "4.20"')
    whole, places = match.groups(default="")
    micros = int(whole) * MICROS + int(places.ljust(6, "0"))
    if micros > limits.AMOUNT_MICROS_MAX:
        raise ValueError(f"an amount is at most {format_micros(limits.AMOUNT_MICROS_MAX)}")
    return micros


def format_micros(micros: int) -> str:
    """4_200_000 -> ``"4.20"``: at least two places, no more than needed."""
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    places = f"{micros % MICROS:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{micros // MICROS}.{places}"


def format_nanos(amount: int) -> str:
    """4_200_000 -> ``"0.0042"``: like ``format_micros``, of the books' unit."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    places = f"{amount % 1_000_000_000:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{amount // 1_000_000_000}.{places}"


def part(nanos: int, share_ppm: int) -> int:
    """So many parts per million of an amount, rounded down."""
    return nanos * share_ppm // WHOLE_PPM


def nanos(micros: int) -> int:
    """The books' unit of an amount."""
    return micros * NANOS_PER_MICRO


def floor_micros(amount_nanos: int) -> int:
    """What people see of an amount of the books: rounded down."""
    return amount_nanos // NANOS_PER_MICRO
