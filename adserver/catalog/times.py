"""Durations, flights and dayparts: what people write about time, as milliseconds and hours.

Local times become instants here, once, by the zone's rules. A time that a clock change skips (02:30 on
the night clocks go forward) is read with the offset before the change, which is the instant one would
have reached by waiting; a time that occurs twice means the first occurrence as a start and the second as
an end, so a flight never loses the repeated hour. A date-only end means through that day: the next
midnight. Start inclusive, end exclusive.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, partial
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from adserver.catalog.fields import Fields, as_text
from adserver.catalog.findings import choices, shown, suggestion
from adserver.domain import limits
from adserver.domain.campaign import Attribution, Flight

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_UNITS: Final = {"s": 1000, "m": 60_000, "h": 3600_000, "d": 86_400_000}

_DURATION: Final = re.compile(r"([1-9][0-9]{0,8})([smhd])\Z", re.ASCII)
_MOMENT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)([Zz]|[+-][0-9]{2}:[0-9]{2})?)?\Z",
    re.ASCII,
)
_HOURS: Final = re.compile(r"([0-9]{1,2})(?:-([0-9]{1,2}))?\Z", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def duration_ms(text: str) -> int:
    """``"15m"`` -> 900 000. Raises ValueError, saying what would be right."""
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(
            f"{shown(text)} is not a duration; it is a number and s, m, h or d, such as 30s or 15m"
        )
    return int(match[1]) * _UNITS[match[2]]


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def check_zone(text: str) -> str:
    """The name of a time zone; ValueError for anything else, paths included."""
    if text not in _zones():
        hint = suggestion(text, _zones())
        raise ValueError(f'{shown(text)} is not a time zone; it is a name such as "Europe/Paris"{hint}')
    return text


def instant_ms(text: str, zone: str, is_end: bool) -> int:
    """A local date or time (or one with its own offset) as milliseconds since the epoch."""
    match = _MOMENT.match(text)
    if match is None:
        raise ValueError(
            f"{shown(text)} is not a date or time; write 2026-06-01 or 2026-06-01T09:00 (and an offset)"
        )
    try:
        day = date.fromisoformat(match[1])
        if match[2] is None:
            local = datetime.combine(day + timedelta(days=1) if is_end else day, time.min)
        else:
            local = datetime.combine(day, time.fromisoformat(match[2]))
        zoned = _zoned(local, zone, match[3], is_end)
        return (zoned - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{shown(text)} is not a date or time of the calendar: {error}") from error


def _zoned(local: datetime, zone: str, offset: str | None, is_end: bool) -> datetime:
    if offset is None:
        placed = local.replace(tzinfo=ZoneInfo(zone))
        repeated = placed.utcoffset() != placed.replace(fold=1).utcoffset() and _exists(placed)
        return placed.replace(fold=1) if is_end and repeated else placed
    return datetime.fromisoformat(local.isoformat() + ("+00:00" if offset in "Zz" else offset))


def _exists(placed: datetime) -> bool:
    """False for a local time that a clock change skips."""
    there = placed.astimezone(UTC).astimezone(placed.tzinfo)
    return there.replace(tzinfo=None) == placed.replace(tzinfo=None)


def read_flight(fields: Fields, zone: str) -> Flight:
    """The field ``flight``; both ends may be left open."""
    inner = fields.mapping("flight")
    if inner is None:
        return Flight()
    start = inner.convert("start", None, lambda text: instant_ms(text, zone, is_end=False))
    end = inner.convert("end", None, lambda text: instant_ms(text, zone, is_end=True))
    inner.done()
    if start is not None and end is not None and end <= start:
        inner.add("end", "is not after the start; a flight's start is inclusive, its end exclusive")
    return Flight(start, end)


def read_dayparts(fields: Fields) -> frozenset[int] | None:
    """The field ``dayparts``: hours of the week, 0 = Monday 00:00 to 01:00, local to the campaign; None
    without the field. Hours that wrap midnight belong to the day they start."""
    if not fields.present("dayparts"):
        return None
    week: set[int] = set()
    for part in fields.mappings("dayparts", most=7 * 24, least=1):
        days = _days(part)
        hours = _hours(part)
        part.done()
        week.update((day * 24 + hour) % 168 for day in days for hour in hours)
    return frozenset(week)


def _days(part: Fields) -> list[int]:
    if not part.present("days"):
        return list(range(7))
    return [DAYS.index(day) for day in part.values("days", _day, most=7, least=1)]


def _day(text: str) -> str:
    if text not in DAYS:
        raise ValueError(f"{shown(text)} is not a day; it is {choices(DAYS)}{suggestion(text, DAYS)}")
    return text


def _hours(part: Fields) -> set[int]:
    """Hours counted from the midnight that begins the day: 22-02 is 22, 23, 24, 25."""
    value = part.take("hours")
    if value is None:
        return set(range(24))
    listed = value if isinstance(value, list) else [value]
    if not listed:
        part.add("hours", "is an empty list; leave the field out, or give it an entry")
    found: set[int] = set()
    for place, item in enumerate(listed):
        try:
            found.update(_span(item))
        except ValueError as error:
            part.add(f"hours[{place}]" if isinstance(value, list) else "hours", str(error))
    return found


def _span(value: object) -> range:
    """``"07-10"`` is 7, 8, 9; a lone hour, ``"07"`` or 7, is that hour."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else as_text(value)
    match = _HOURS.match(text)
    if match is None:
        raise ValueError(f'{shown(text)} is not a span of hours; write "07-10" or "22-02"')
    start = int(match[1])
    end = int(match[2]) if match[2] is not None else start + 1
    if start > 23 or end > 24:
        raise ValueError(f"{shown(text)} is not a span of hours; they run from 00 to 24")
    if start == end:
        raise ValueError(f'{shown(text)} is no hour at all; a whole day is "00-24"')
    return range(start, end if end > start else end + 24)


def check_cap_window(text: str) -> int:
    """The ``per`` of a frequency cap in ms, ``session`` excepted."""
    if text == "lifetime":
        raise ValueError("a cap counts over a window of at most 90d; lifetime is not one")
    per = duration_ms(text)
    if per > limits.CAP_PER_MS_MAX:
        raise ValueError(f"{shown(text)} is too long; a cap counts over at most 90d")
    return per


def read_attribution(fields: Fields) -> Attribution:
    """The field ``attribution``: how long a click and a view may be what a conversion is owed to."""
    inner = fields.mapping("attribution")
    if inner is None:
        return Attribution()
    found = Attribution(
        inner.convert("click", limits.CLICK_WINDOW_MS, partial(_window, limits.CLICK_WINDOW_MS_MAX)),
        inner.convert("view", limits.VIEW_WINDOW_MS, partial(_window, limits.VIEW_WINDOW_MS_MAX)),
    )
    inner.done()
    return found


def _window(most_ms: int, text: str) -> int:
    window_ms = 0 if text == "0s" else duration_ms(text)
    if window_ms > most_ms:
        raise ValueError(f"{shown(text)} is too long; at most {most_ms // _UNITS['d']}d, and 0s for never")
    return window_ms
