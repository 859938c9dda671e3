"""Rows that could point at a person are told together, as one.

By country, device, placement or hour, or of a part of a day, a row may be about one reader. So of such a
report, rows about fewer people than a minimum are taken out and told as one sum (a currency each), and with
them the row about the fewest of the others: the sum of a single row would be that row. The report's totals
are whole so. Where there are no others, the sum is what the days were in all, which may be told; of a part of
a day it is a row like any other, so its numbers are not told if it is about few (``reporting``).

That protects the rows of one report. It does not protect against whoever compares reports of times or scopes
that overlap, for which numbers would have to be blurred; and not against operators, who have the ledger.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from msgspec import Struct

from adserver.domain.reports import Figures

Row = TypeVar("Row")


class Withheld(Struct, frozen=True):
    """So many ``rows``, added up; ``figures`` has no key, and no people."""

    rows: int
    figures: Figures


def withhold(
    rows: list[Row], figures_of: Callable[[Row], Figures], least: int
) -> tuple[list[Row], list[Withheld]]:
    """(the rows to be told, what is withheld, a sum for each currency)."""
    few: dict[str, list[Row]] = {}
    for row in rows:
        if figures_of(row).crowd < least:
            few.setdefault(figures_of(row).currency, []).append(row)
    for currency, held in few.items():
        gone = {id(row) for row in held}
        others = [row for row in rows if figures_of(row).currency == currency and id(row) not in gone]
        if others:
            held.append(min(others, key=lambda row: figures_of(row).crowd))
    gone = {id(row) for held in few.values() for row in held}
    told = [row for row in rows if id(row) not in gone]
    return told, [_sum(currency, map(figures_of, held)) for currency, held in sorted(few.items())]


def _sum(currency: str, held: Iterable[Figures]) -> Withheld:
    total, count = Figures((), currency), 0
    for figures in held:
        count += 1
        for name in SUMMED:
            setattr(total, name, getattr(total, name) + getattr(figures, name))
    return Withheld(count, total)


SUMMED = tuple(
    name
    for name in Figures.__struct_fields__
    if name not in ("key", "currency", "people", "kept", "frequency")
)
