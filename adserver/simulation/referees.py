"""What a run must come to beside the laws, each with its figure, its bound and a verdict. What needs another
run or knowledge of all traffic is judged by ``loadtests.optimum``.

A line item's day had *enough traffic* where it was held back, by its plan or by its budget, at half of the
hours' ends or more: then it could have had more than it was to have. A plan is kept where less than one event
is missing. Guarantees go before paces: a day above its plan because the line item hurried on it
(``engine.allocation``), or the day before, is not judged, and told.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from adserver.engine import localtime, ranking
from adserver.engine.rates import CLICKS, CONVERSIONS, PER_MILLION, VIEWABLE
from adserver.simulation.run import Found
from adserver.simulation.tables import Day, days

NEAR: Final = 0.02
"""A day that ends so near its plan has kept it."""
_UNSPENT: Final = 0.01
_FREE: Final = 0.01
_SHARE: Final = 0.95
_LIKELY: Final = {
    "impressions": PER_MILLION,
    "viewable": VIEWABLE.prior,
    "clicks": CLICKS.prior,
    "conversions": CONVERSIONS.prior,
}
"""Of so many impressions."""


class Verdict(Struct, frozen=True):
    """``kept``: None where the run says nothing about it."""

    what: str
    bound: str
    figure: str
    kept: bool | None

    @property
    def told(self) -> str:
        return "-" if self.kept is None else "kept" if self.kept else "NOT KEPT"


def verdicts(found: Found) -> list[Verdict]:
    return [judge(found) for judge in _JUDGES]


def _paced(found: Found) -> Verdict:
    paced = [day for day in _enough(found) if day.item.pacing != "asap"]
    ahead = _ahead(found)
    judged = [day for day in paced if (day.item.serial, day.number) not in ahead]
    near = sum(abs(_ratio(day) - 1) <= NEAR for day in judged)
    figure = f"{near:,} of {len(judged):,} days of line items; {len(paced) - len(judged):,} more hurried"
    return Verdict("Paced days end near their plan", f"within {NEAR:.0%}", figure, _all(near, judged))


def _unspent(found: Found) -> Verdict:
    judged = [day for day in _enough(found) if _ends(found, day)]
    spent = sum(_ratio(day) >= 1 - _UNSPENT for day in judged)
    left = sum(max(1 - _ratio(day), 0) for day in judged) / (len(judged) or 1)
    figure = f"{spent:,} of {len(judged):,} budgets and goals; {left:.2%} in the mean"
    return Verdict("Unspent, with enough traffic", f"<= {_UNSPENT:.0%}", figure, _all(spent, judged))


def _over_budget(found: Found) -> Verdict:
    offences = len(found.play.offences[3])
    return Verdict("Billed above a budget", "never", f"{offences} times", not offences)


def _free(found: Found) -> Verdict:
    """Of each currency, what was delivered beyond budgets against what was billed."""
    billed, free = Counter[str](), Counter[str]()
    for (serial, day), totals in found.days.items():
        if day == -1:
            currency = found.items[serial][0].currency
            billed[currency] += totals.billed_nanos
            free[currency] += totals.free_nanos
    shares = {currency: free[currency] / nanos for currency, nanos in sorted(billed.items()) if nanos}
    figure = ", ".join(f"{share:.2%} of {currency}" for currency, share in shares.items()) or "nothing billed"
    kept = all(share <= _FREE for share in shares.values()) if shares else None
    return Verdict("Free over-delivery", f"<= {_FREE:.0%} of billed", figure, kept)


def _share(found: Found) -> Verdict:
    """Places that were open and stayed empty for lack of demand are not counted against it. Nor those that
    keepers of a pace let pass, where they spent all of it elsewhere: a budget is had once. What they did not
    spend in the end was lost there."""
    counts, lacking = sum(found.play.record.feeds.values(), Counter[str]()), found.play.record.lacking
    sponsored, allowed = counts["sponsored"], counts["allowed"]
    elsewhere = max(lacking["paced"] - _let_pass(found), 0)
    might = max(sponsored, allowed - lacking["demand"] - elsewhere)
    figure = f"{_percent(sponsored, might)} ({_percent(sponsored, allowed)} of all the cap allows)"
    kept = sponsored >= _SHARE * might if allowed else None
    return Verdict(
        "Sponsored share of feeds", f">= {_SHARE:.0%} of the cap where demand allows", figure, kept
    )


def _let_pass(found: Found) -> int:
    """Impressions that line items which were held back did without in the end."""
    _, held = _looks(found)
    last = {day.item.serial: day.number for day in days(found)}
    ends = [day for day in days(found) if day.is_daily or day.number == last[day.item.serial]]
    return sum(_missing(day) for day in ends if held[day.item.serial, day.number])


def _missing(day: Day) -> int:
    """What its plan wanted and had not by the end, in impressions."""
    left, pricing = max(day.planned - day.done, 0), day.item.pricing
    if day.unit == day.campaign.currency:
        return left // (ranking.likely_nanos(pricing.model, pricing.amount_micros) or 1)
    return left * PER_MILLION // _LIKELY[day.unit]


_JUDGES: Final[tuple[Callable[[Found], Verdict], ...]] = (_paced, _unspent, _over_budget, _free, _share)


# -- enough traffic --------------------------------------------------------------------------------


def _enough(found: Found) -> Iterator[Day]:
    """Days of line items that could have had more."""
    looks, held = _looks(found)
    for day in days(found):
        upto = [day.number] if day.is_daily else range(day.number + 1)
        keys = [(day.item.serial, number) for number in upto]
        whole = sum(looks[key] for key in keys)
        if day.planned and whole and 2 * sum(held[key] for key in keys) >= whole:
            yield day


def _looks(found: Found) -> tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]]:
    """Of line items and days: the ends of hours, and at how many of them they were held back."""
    looks, held = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for standing in found.play.record.hourly:
        zone = found.items[standing.line_item][0].timezone
        key = standing.line_item, localtime.day(zone, standing.at_ms)
        looks[key] += 1
        held[key] += standing.held_back
    return looks, held


def _ahead(found: Found) -> set[tuple[int, int]]:
    """Line items and days that ended above their plan for the sake of the guarantee."""
    hurried = {
        (standing.line_item, localtime.day(found.items[standing.line_item][0].timezone, standing.at_ms))
        for standing in found.play.record.hourly
        if standing.hurries
    }
    ahead: set[tuple[int, int]] = set()
    for day in sorted(days(found), key=lambda one: one.number):
        key, before = (day.item.serial, day.number), (day.item.serial, day.number - 1)
        if _ratio(day) > 1 + NEAR and (key in hurried or before in ahead):
            ahead.add(key)
    return ahead


def _ends(found: Found, day: Day) -> bool:
    """Whether a budget or goal ends with this day: that of a day, or a flight's."""
    end_ms = day.item.flight.end_ms
    return day.is_daily or (end_ms is not None and end_ms <= day.until_ms)


def _ratio(day: Day) -> float:
    """Done of what was planned: whole where less than one event lies between."""
    pricing = day.item.pricing
    counts = day.unit != day.campaign.currency
    unit = 1 if counts else ranking.price_nanos(pricing.model, pricing.amount_micros)
    return 1.0 if abs(day.done - day.planned) <= unit else day.ratio


def _all(kept: int, judged: list[Day]) -> bool | None:
    return kept == len(judged) if judged else None


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "-"
