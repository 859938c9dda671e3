"""What a run comes to, as tables: every cell a text, every row in a fixed order, so that one configuration
gives the same bytes. Money in units of its currency; a plan is in its line item's own unit."""

import csv
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from msgspec import Struct

from adserver.domain import money
from adserver.domain.books import LineItemTotals
from adserver.domain.campaign import Campaign, FrequencyCap, LineItem
from adserver.engine import localtime
from adserver.simulation.record import BUCKET, BUCKETS, Standing
from adserver.simulation.run import Found
from adserver.simulation.traffic import hours

Row = tuple[str, ...]

_EPOCH: Final = date(1970, 1, 1)
_COUNTED: Final = ("impressions", "viewable", "clicks", "conversions")
_HOURLY: Final = (
    "decisions", "lost", "placements", "filled", "ads", "impression", "viewable", "click", "release",
    "conversion",
)  # fmt: skip
_UNITS: Final = (("d", 86_400_000), ("h", 3600_000), ("m", 60_000), ("s", 1000))


class Day(Struct, frozen=True):
    """A line item at the end of a day of its campaign: of a daily budget that day, else all since its flight
    began. ``unit``: a currency (nanos), or what is counted. ``done`` is what the ledger says. ``number``: the
    day, since 1970; it ended at ``until_ms``."""

    campaign: Campaign
    item: LineItem
    number: int
    until_ms: int
    unit: str
    planned: int
    done: int
    held: int
    today: LineItemTotals

    @property
    def day(self) -> str:
        return (_EPOCH + timedelta(days=self.number)).isoformat()

    @property
    def is_daily(self) -> bool:
        return self.item.budget.daily_nanos is not None

    @property
    def ratio(self) -> float:
        return self.done / self.planned if self.planned else 0.0


def write(found: Found, folder: Path) -> list[str]:
    """The names of the files written. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (head, rows) in TABLES.items():
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(head)
            writer.writerows(rows(found))
    return list(TABLES)


# -- line items ------------------------------------------------------------------------------------


def days(found: Found) -> list[Day]:
    """Every planned line item and day that lies wholly in the run."""
    told = []
    for standing in found.play.record.daily:
        campaign, item = found.items[standing.line_item]
        number, start_ms, end_ms = localtime.day_span(campaign.timezone, standing.at_ms)
        if start_ms >= found.config.start_ms:
            told.append(_day(found, campaign, item, standing, (number, end_ms)))
    return sorted(told, key=lambda day: (day.item.full_id, day.day))


def _day(found: Found, campaign: Campaign, item: LineItem, standing: Standing, when: tuple[int, int]) -> Day:
    number, until_ms = when
    unit, today = unit_of(campaign, item), found.days.get((item.serial, number), LineItemTotals(item.serial))
    counted = unit if unit in _COUNTED else "billed_nanos"
    done = getattr(today, counted)
    if item.budget.daily_nanos is None:
        past = (
            totals
            for (serial, day), totals in found.days.items()
            if serial == item.serial and 0 <= day < number
        )
        done += sum(getattr(totals, counted) for totals in past)
    return Day(campaign, item, number, until_ms, unit, standing.planned, done, standing.held_nanos, today)


def unit_of(campaign: Campaign, item: LineItem) -> str:
    """What its plan counts (``services.plans``): a currency or a kind of event."""
    goal = item.goal
    counts = goal is not None and goal.kind in _COUNTED and item.budget.daily_nanos is None
    return goal.kind if goal is not None and counts else campaign.currency


def _days(found: Found) -> Iterator[Row]:
    for day in days(found):
        amounts = (_amount(amount, day.unit) for amount in (day.planned, day.done))
        item, today = day.item, day.today
        yield (
            item.full_id, item.priority, item.pacing, day.day, day.unit, *amounts, f"{day.ratio:.4f}",
            _money(day.held), str(today.impressions), str(today.viewable), str(today.clicks),
            _money(today.billed_nanos), _money(today.free_nanos), day.campaign.currency,
        )  # fmt: skip


def _hours(found: Found) -> Iterator[Row]:
    hourly = found.play.record.hourly
    for standing in sorted(hourly, key=lambda one: (one.at_ms, found.items[one.line_item][1].full_id)):
        campaign, item = found.items[standing.line_item]
        unit = unit_of(campaign, item)
        yield (
            _instant(standing.at_ms + 1), item.full_id, unit, _amount(standing.planned, unit),
            _amount(standing.done, unit), _money(standing.billed_nanos), _money(standing.held_nanos),
        )  # fmt: skip


def _whole(found: Found) -> Iterator[Row]:
    """Each line item over the whole run."""
    for serial, (campaign, item) in sorted(found.items.items(), key=lambda known: known[1][1].full_id):
        totals = found.days.get((serial, -1), LineItemTotals(serial))
        counts = (totals.impressions, totals.viewable, totals.clicks, totals.expired)
        amounts = _money(totals.billed_nanos), _money(totals.free_nanos), campaign.currency
        yield item.full_id, item.priority, item.pacing, *map(str, counts), *amounts


# -- people and feeds ------------------------------------------------------------------------------


def _frequency(found: Found) -> Iterator[Row]:
    """How many people saw a cap stand at most at so many, ever."""
    peaks = found.play.caps.peaks()
    for named, cap in sorted(peaks, key=lambda known: (known[0], _cap(known[1]))):
        people = peaks[named, cap]
        for number in range(1, max(people) + 1):
            yield (*named, *_cap(cap), str(number), str(people[number]))


def _cap(cap: FrequencyCap) -> tuple[str, str, str]:
    return str(cap.limit), duration(cap.per_ms), "session" if cap.session else "person"


def _feeds(found: Found) -> Iterator[Row]:
    for (placement, bucket), counts in sorted(found.play.record.feeds.items()):
        items, sponsored, allowed = counts["items"], counts["sponsored"], counts["allowed"]
        last = "" if bucket == BUCKETS - 1 else str((bucket + 1) * BUCKET)
        yield (
            placement, str(bucket * BUCKET), last, str(items), str(sponsored), str(allowed),
            f"{sponsored / items:.4f}", f"{sponsored / allowed:.4f}" if allowed else "",
        )  # fmt: skip


# -- all of it -------------------------------------------------------------------------------------


def _traffic(found: Found) -> Iterator[Row]:
    for hour in hours(found.config):
        counts = found.play.record.hours[hour.start_ms]
        reasons = sorted((name[8:], count) for name, count in counts.items() if name.startswith("no_fill "))
        yield (
            _instant(hour.start_ms), f"{hour.forecast:.2f}", f"{hour.actual:.2f}",
            *(str(counts[name]) for name in _HOURLY), " ".join(f"{name}:{count}" for name, count in reasons),
        )  # fmt: skip


def _laws(found: Found) -> Iterator[Row]:
    play = found.play
    checked = {1: play.feeds.items, 2: play.caps.exposures, 3: play.spend.events}
    what = {1: "items of feeds", 2: "exposures", 3: "billed events"}
    for law, offences in play.offences.items():
        yield str(law), what[law], str(checked[law]), str(len(offences))
    yield "audit", "journal against ledger and laws", "1", str(len(found.differences))


TABLES: Final[dict[str, tuple[Row, Callable[[Found], Iterator[Row]]]]] = {
    "days.csv": (
        (
            "line_item", "priority", "pacing", "day", "unit", "planned", "done", "ratio", "held",
            "impressions", "viewable", "clicks", "billed", "free", "currency",
        ),
        _days,
    ),
    "hours.csv": (("until", "line_item", "unit", "planned", "done", "billed", "held"), _hours),
    "line_items.csv": (
        (
            "line_item", "priority", "pacing", "impressions", "viewable", "clicks", "expired", "billed",
            "free", "currency",
        ),
        _whole,
    ),
    "frequency.csv": (("scope", "name", "limit", "per", "of", "exposures", "people"), _frequency),
    "feeds.csv": (
        ("placement", "from", "to", "items", "sponsored", "allowed", "share", "of_allowed"),
        _feeds,
    ),
    "traffic.csv": (("from", "forecast", "expected", *_HOURLY, "no_fill"), _traffic),
    "laws.csv": (("law", "of", "checked", "offences"), _laws),
}  # fmt: skip
"""File -> its columns and rows."""


def _amount(amount: int, unit: str) -> str:
    return str(amount) if unit in _COUNTED else _money(amount)


def _money(nanos: int) -> str:
    return money.format_micros(money.floor_micros(nanos))


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(ms: int) -> str:
    for letter, unit in _UNITS:
        if ms % unit == 0:
            return f"{ms // unit}{letter}"
    return f"{ms}ms"
