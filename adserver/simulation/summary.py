"""The run on a page."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from adserver.domain import money
from adserver.simulation import referees
from adserver.simulation.referees import NEAR
from adserver.simulation.run import Found
from adserver.simulation.tables import Day, days
from adserver.simulation.traffic import hours

_SHOWN: Final = 15


def to_markdown(found: Found) -> str:
    """How fast it ran is not in it: the page is the same for the same configuration."""
    return (
        "\n".join([*_traffic(found), *_referees(found), *_paced(found), *_feeds(found), *_laws(found)]) + "\n"
    )


def _traffic(found: Found) -> Iterator[str]:
    config, play = found.config, found.play
    counts = sum(play.record.hours.values(), Counter[str]())
    forecast = sum(hour.forecast for hour in hours(config))
    revenue: Counter[str] = Counter()
    free: Counter[str] = Counter()
    for (serial, day), totals in found.days.items():
        if day == -1:
            revenue[found.items[serial][0].currency] += totals.billed_nanos
            free[found.items[serial][0].currency] += totals.free_nanos
    yield f"# {config.days} simulated days, seed {config.seed}"
    yield ""
    asked, lost = counts["decisions"], counts["lost"]
    yield f"- Asked: {asked:,} decisions of {forecast:,.0f} forecast; {lost:,} more met nobody."
    yield (
        f"- Filled: {counts['filled']:,} of {counts['placements']:,} placements "
        f"({_share(counts['filled'], counts['placements'])}) with {counts['ads']:,} ads."
    )
    yield (
        f"- Events: {counts['impression']:,} impressions, {counts['viewable']:,} viewable, "
        f"{counts['click']:,} clicks, {counts['conversion']:,} conversions; "
        f"{counts['release']:,} ads given back."
    )
    for currency, nanos in sorted(revenue.items()):
        yield f"- Billed: {_money(nanos)} {currency}; free beyond budgets: {_money(free[currency])}."
    reasons = [(-count, name[8:]) for name, count in counts.items() if name.startswith("no_fill ")]
    told = ", ".join(f"{name} {-count:,}" for count, name in sorted(reasons))
    yield f"- Why placements stayed short: {told or 'none did'}."


def _referees(found: Found) -> Iterator[str]:
    yield ""
    yield "## Referees"
    yield ""
    yield "| what | bound | here | verdict |"
    yield "|---|---|---|---|"
    for one in referees.verdicts(found):
        yield f"| {one.what} | {one.bound} | {one.figure} | {one.told} |"


def _paced(found: Found) -> Iterator[str]:
    paced = [day for day in days(found) if day.item.pacing != "asap"]
    if not paced:
        return
    near = sum(abs(day.ratio - 1) <= NEAR for day in paced)
    over = sum(day.ratio > 1 + NEAR for day in paced)
    yield ""
    yield "## Pacing"
    yield ""
    kept = f"{near:,} of {len(paced):,} days of line items ended within {NEAR:.0%} of their plan"
    yield f"{kept}, {over:,} further above it. Those furthest from it:"
    yield ""
    yield "| line item | day | planned | done | ratio |"
    yield "|---|---|--:|--:|--:|"
    for day in sorted(paced, key=lambda one: (-abs(one.ratio - 1), one.item.full_id, one.day))[:_SHOWN]:
        planned, done = (_planned(day, amount) for amount in (day.planned, day.done))
        yield f"| {day.item.full_id} | {day.day} | {planned} | {done} | {day.ratio:.3f} |"


def _planned(day: Day, amount: int) -> str:
    return f"{_money(amount)} {day.unit}" if day.unit == day.campaign.currency else f"{amount:,} {day.unit}"


def _feeds(found: Found) -> Iterator[str]:
    placements: dict[str, Counter[str]] = {}
    for (placement, _), counts in sorted(found.play.record.feeds.items()):
        placements.setdefault(placement, Counter()).update(counts)
    if not placements:
        return
    yield ""
    yield "## Feeds"
    yield ""
    yield "| placement | items | sponsored | share | of what the cap allows |"
    yield "|---|--:|--:|--:|--:|"
    for name, counts in placements.items():
        sponsored = counts["sponsored"]
        share, allowed = _share(sponsored, counts["items"]), _share(sponsored, counts["allowed"])
        yield f"| {name} | {counts['items']:,} | {sponsored:,} | {share} | {allowed} |"


def _laws(found: Found) -> Iterator[str]:
    play = found.play
    yield ""
    yield "## Laws"
    yield ""
    yield "From the answers:"
    yield ""
    checked = {
        1: f"{play.feeds.items:,} items of feeds, at every prefix",
        2: f"{play.caps.exposures:,} exposures, in sliding windows",
        3: f"{play.spend.events:,} billed events, at every level",
    }
    for law, what in checked.items():
        yield f"- Law {law}: {what}: {len(play.offences[law])} offences."
    yield ""
    yield f"From the journal: {'; '.join(found.audit)}."
    for line in found.offences[:_SHOWN]:
        yield f"- **Offence**: {line}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def _money(nanos: int) -> str:
    """Whole cents, as on a statement: what is less is cut off."""
    micros = money.floor_micros(nanos)
    return f"{micros // money.MICROS:,}.{micros % money.MICROS // 10_000:02d}"
